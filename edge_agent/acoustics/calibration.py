"""Is this tone a calibrator's, and what offset follows from it.

A sound calibrator (IEC 60942) holds a tone of known level on the microphone. Its level is taken
without frequency weighting, so that 250 Hz pistonphones serve as well, on the scale where the RMS
of a full-scale sine is 0 dBFS:

    offset_db = level_db - level_dbfs        L_dB = L_dBFS + offset_db

A tone that lets doubt arise is refused: an offset that is wrong makes every later reading wrong.
"""

import math

import msgspec
import numpy as np

from edge_agent.acoustics.weighting import Float
from edge_agent.records import Samples

SETTLE_S = 2.0
"""Left out at the beginning: the calibrator was just pressed on."""
TONE_S = 10.0

MOST_DETUNED = 0.02
"""Of the calibrator's frequency; more is another calibrator, or a wrong rate."""
MOST_SPREAD_DB = 0.2
"""Between any two of the blocks; more is a leak at the coupler, or wind."""
MOST_DRIFT_DB = 0.1
"""Between the first and the last third."""
LEAST_PURITY_DB = 20.0
"""Of the tone over all other sound, which would add 0.043 dB there and 0.135 dB at 15 dB."""
MOST_PEAK_DB = -1.0
"""Of the largest sample, re full scale."""
DEAD_DBFS = -80.0
MOST_CHANGE_DB = 3.0
"""Of an offset; more is a mistyped level (94 for 114) or a broken capsule."""

_BLOCK_S = 0.125
_SINE_DB = 10 * math.log10(2)
_LEAST_POWER = 1e-30
# Half of a third octave, IEC 61260-1:2014: G^(1/6) with G = 10^0.3.
_HALF_BAND = 10**0.05


class Tone(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a tone."""

    frequency_hz: float
    """Of the strongest line."""
    level_dbfs: float
    """Without frequency weighting, without the mean."""
    peak_db: float
    """Of the largest sample, re full scale."""
    spread_db: float
    """From the quietest to the loudest eighth of a second."""
    drift_db: float
    """From the first third to the last."""
    purity_db: float
    """Of the third octave around `frequency_hz` over everything else."""


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Why a tone is refused, and what to do."""

    message: str
    hint: str


def measured(samples: Samples, rate: int) -> Tone:
    """Measure a tone.

    Args:
        samples: (n,), `TONE_S` of it, full scale 1.0.
        rate: Hz.

    Raises:
        ValueError: There are less than three blocks of an eighth of a second.
    """
    raw = samples.astype(np.float64)
    sound = raw - raw.mean()
    blocks = _block_powers(sound, round(rate * _BLOCK_S))
    third = len(blocks) // 3
    if third == 0:
        raise ValueError(f"{len(samples)} samples are too few")
    frequency_hz, purity = _spectrum(sound, rate)
    return Tone(
        frequency_hz=frequency_hz,
        level_dbfs=_db(float(np.mean(np.square(sound)))) + _SINE_DB,
        peak_db=_db(float(np.abs(raw).max()) ** 2),
        spread_db=_db(float(blocks.max())) - _db(float(blocks.min())),
        drift_db=_db(float(blocks[-third:].mean())) - _db(float(blocks[:third].mean())),
        purity_db=_db(purity),
    )


def doubt_of(tone: Tone, frequency_hz: float) -> Doubt | None:
    """What speaks against the tone, the likeliest cause first; None: nothing.

    Args:
        tone: As measured.
        frequency_hz: What the calibrator gives.
    """
    if tone.level_dbfs < DEAD_DBFS:
        return Doubt(
            message=f"the microphone gives next to nothing: {tone.level_dbfs:.0f} dBFS",
            hint="Look at plug, mute, `channel` and whether the calibrator is on.",
        )
    if tone.peak_db > MOST_PEAK_DB:
        return Doubt(
            message=f"the tone comes within {-tone.peak_db:.1f} dB of full scale, and must stay "
            f"{-MOST_PEAK_DB:g} dB below",
            hint="Take the calibrator's lower level, or lower the input's gain and leave it so.",
        )
    if abs(tone.frequency_hz / frequency_hz - 1) > MOST_DETUNED:
        return Doubt(
            message=f"the strongest tone is at {tone.frequency_hz:.1f} Hz, "
            f"and the calibrator's is {frequency_hz:g} Hz",
            hint="Give --frequency as it stands on the calibrator; if it is right, `rate` is not.",
        )
    if tone.purity_db < LEAST_PURITY_DB:
        return Doubt(
            message=f"other sound is only {tone.purity_db:.1f} dB below the tone, and must be "
            f"{LEAST_PURITY_DB:g} dB below",
            hint="Press the calibrator on tightly, and wait until it is quiet around.",
        )
    if tone.spread_db > MOST_SPREAD_DB:
        return Doubt(
            message=f"the level varied by {tone.spread_db:.2f} dB, and may by {MOST_SPREAD_DB:g}",
            hint="Look for a leak at the coupler, wind, or a gain that sets itself; hold it still.",
        )
    if abs(tone.drift_db) > MOST_DRIFT_DB:
        return Doubt(
            message=f"the level drifted by {tone.drift_db:+.2f} dB, and may by {MOST_DRIFT_DB:g}",
            hint="Let calibrator and microphone take the same temperature; look at its battery.",
        )
    return None


def offset_of(tone: Tone, level_db: float, correction_db: float = 0.0) -> float:
    """What turns dBFS into dB SPL.

    Args:
        tone: As measured.
        level_db: Of the calibrator, dB SPL.
        correction_db: What the response's correction adds at the tone's frequency.
    """
    return level_db - (tone.level_dbfs + correction_db)


def doubt_of_change(offset_db: float, last_db: float, last_date: str) -> Doubt | None:
    """What speaks against an offset that differs from the one in force; None: nothing."""
    change_db = offset_db - last_db
    if abs(change_db) <= MOST_CHANGE_DB:
        return None
    return Doubt(
        message=f"the offset would be {offset_db:.2f} dB, {change_db:+.2f} dB from that of "
        f"{last_date}, {last_db:.2f} dB",
        hint="Look at the level (94 or 114 dB?), the gain and the capsule. If it is right: "
        "--force, with a --note that says why.",
    )


def _block_powers(sound: Float, length: int) -> Float:
    """Mean squares of the whole blocks, weighted so that parts of a cycle do not show."""
    count = len(sound) // length
    weights = np.hanning(length + 1)[:-1]
    blocks = np.square(sound[: count * length]).reshape(count, length)
    powers: Float = blocks @ (weights / weights.sum())
    return powers


def _spectrum(sound: Float, rate: int) -> tuple[float, float]:
    """Frequency of the strongest line (Hz), and its third octave's energy over the rest."""
    power = np.square(np.abs(np.fft.rfft(sound * np.hanning(len(sound) + 1)[:-1])))
    bin_hz = rate / len(sound)
    top = int(np.clip(np.argmax(power), 1, len(power) - 2))
    left, middle, right = np.log(np.maximum(power[top - 1 : top + 2], _LEAST_POWER))
    # A parabola through the logarithms: within a hundredth of a bin for this window.
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    frequency_hz = (top + float(shift)) * bin_hz
    frequencies = np.arange(len(power)) * bin_hz
    inside = (frequencies > frequency_hz / _HALF_BAND) & (frequencies < frequency_hz * _HALF_BAND)
    tone = float(power[inside].sum())
    return frequency_hz, tone / max(float(power[~inside].sum()), tone * 1e-12, _LEAST_POWER)


def _db(power: float) -> float:
    return 10 * math.log10(max(power, _LEAST_POWER))
