"""What happens to sound before a device recognises it: level, noise, microphone, clipping, room.

Each condition takes a whole stream at 48 kHz and says how much of it there is by one value. The
first value of each is the mildest.
"""

from collections.abc import Callable

import msgspec
import numpy as np
from scipy.signal import firwin2, oaconvolve

from edge_agent.records import Samples
from model_build.audible import RATE

Apply = Callable[[Samples, float, np.random.Generator], Samples]

# As a cheap capsule in a housing: little bass, a resonance of its hole, no treble. Hz and dB.
_CHEAP_HZ = (20.0, 60.0, 125.0, 250.0, 500.0, 1000.0, 2500.0, 4000.0, 6000.0, 8000.0, 24000.0)
_CHEAP_DB = (-40.0, -24.0, -14.0, -6.0, -1.0, 0.0, 3.0, 9.0, 2.0, -8.0, -30.0)
_TAPS = 8193
_FULL_SCALE = 32768.0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A way in which sound suffers."""

    id: str
    title: str
    """What the value is, with its unit."""
    values: tuple[float, ...]
    apply: Apply


def converted(samples: Samples) -> Samples:
    """As a 16-bit converter gives it: what is beyond full scale is cut off."""
    steps = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    rounded: Samples = (steps / _FULL_SCALE).astype(np.float32)
    return rounded


def at_level(samples: Samples, peak_dbfs: float, _: np.random.Generator) -> Samples:
    """The highest peak at a level."""
    return _scaled(samples, 10 ** (peak_dbfs / 20))


def in_noise(samples: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """White noise, so far below the RMS of the whole."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    noise = rng.standard_normal(samples.size, np.float32) * np.float32(rms / 10 ** (snr_db / 20))
    noisy: Samples = samples + noise
    return noisy


def through_cheap_microphone(samples: Samples, share: float, _: np.random.Generator) -> Samples:
    """A share of the response in decibels, 0 to 1 or more; no delay."""
    hz = np.linspace(0, RATE / 2, _TAPS)
    response_db = share * np.interp(np.log(np.maximum(hz, 1.0)), np.log(_CHEAP_HZ), _CHEAP_DB)
    taps = firwin2(_TAPS, hz, 10 ** (response_db / 20), fs=RATE)
    heard: Samples = oaconvolve(samples, taps, mode="same").astype(np.float32)
    return heard


def clipped(samples: Samples, drive_db: float, _: np.random.Generator) -> Samples:
    """The highest peak so far beyond full scale."""
    return _scaled(samples, 10 ** (drive_db / 20))


def in_room(samples: Samples, t60_s: float, rng: np.random.Generator) -> Samples:
    """Reverberation as strong as the direct sound: noise that has lost 60 dB after `t60_s`.

    Polack 1988 describes the late part of a room's response so.
    """
    t_s = np.arange(round(t60_s * RATE)) / RATE
    tail = rng.standard_normal(t_s.size) * 10 ** (-3 * t_s / t60_s)
    tail /= np.sqrt(np.square(tail).sum())
    tail[0] += 1
    heard: Samples = oaconvolve(samples, tail)[: samples.size].astype(np.float32)
    return heard


CONDITIONS = (
    Condition(
        id="level",
        title="peak of the scene, dBFS",
        values=(0.0, -10.0, -20.0, -30.0, -40.0),
        apply=at_level,
    ),
    Condition(
        id="noise",
        title="scene over added white noise, dB",
        values=(30.0, 20.0, 10.0, 0.0, -10.0),
        apply=in_noise,
    ),
    Condition(
        id="microphone",
        title="share of a cheap microphone's response",
        values=(0.0, 0.25, 0.5, 0.75, 1.0),
        apply=through_cheap_microphone,
    ),
    Condition(
        id="clipping",
        title="peak beyond full scale, dB",
        values=(0.0, 6.0, 12.0, 18.0, 24.0),
        apply=clipped,
    ),
    Condition(
        id="reverberation",
        title="reverberation time T60, s",
        values=(0.1, 0.3, 0.6, 1.0, 2.0),
        apply=in_room,
    ),
)


def _scaled(samples: Samples, peak: float) -> Samples:
    highest = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(peak / highest) if highest else samples
