"""The audible part of a clip, with its onset and offset.

A recording often begins and ends with silence, so the file's first sample is no onset. Sound counts
as audible from the first to the last frame that is at most 20 dB below the clip's loudest one: at
an SNR of 0 dB, what is quieter drowns in the background.
"""

from pathlib import Path

import msgspec
import numpy as np

from edge_agent.errors import AudioError
from edge_agent.records import Samples
from model_build import features
from model_build.datasets import Clip, Skip

RATE = features.METER_RATE
"""Hz of all samples here: what the agent's pipeline takes."""
LONGEST_S = 5.0
"""Of an event; a longer sound is faded out there."""

_FRAME = RATE // 100
_DOWN_DB = 20.0
# A little is kept before and after, faded, for a hard cut would click like an impulse.
_BEFORE = RATE // 100
_AFTER = RATE // 20


class Sound(msgspec.Struct, frozen=True, kw_only=True):
    """Samples at 48 kHz, and where in them the sound is heard."""

    samples: Samples
    onset: int
    """Index of the first audible sample."""
    offset: int
    """Index after the last one."""

    @property
    def level_dbfs(self) -> float:
        """RMS from onset to offset."""
        return features.level_dbfs(self.samples[self.onset : self.offset])


def whole(clip: Clip, data: Path) -> Samples | Skip:
    """A clip as the device hears it, at the meter's rate; or why it cannot be used."""
    try:
        samples = features.heard(data / clip.path, RATE)
    except AudioError as error:
        return Skip(path=clip.path, reason=error.message)
    return samples if samples.size else Skip(path=clip.path, reason="holds no sound")


def cut(clip: Clip, data: Path) -> Sound | Skip:
    """A clip's audible part; or why it cannot be used."""
    samples = whole(clip, data)
    if isinstance(samples, Skip):
        return samples
    sound = audible(samples)
    if sound is None:
        reason = f"is nowhere louder than {features.SILENT_DBFS:g} dBFS"
        return Skip(path=clip.path, reason=reason)
    return sound


def audible(samples: Samples) -> Sound | None:
    """The part from onset to offset, with faded edges; None where there is only silence.

    Args:
        samples: (n,) at 48 kHz.
    """
    padded = np.pad(samples, (0, -samples.size % _FRAME)).reshape(-1, _FRAME)
    power = np.square(padded, dtype=np.float64).mean(axis=1)
    if not power.size or 10 * np.log10(power.max() + 1e-20) < features.SILENT_DBFS:
        return None
    loud = np.flatnonzero(power >= power.max() * 10 ** (-_DOWN_DB / 10))
    onset = int(loud[0]) * _FRAME
    offset = min((int(loud[-1]) + 1) * _FRAME, samples.size, onset + round(LONGEST_S * RATE))
    first, last = max(0, onset - _BEFORE), min(samples.size, offset + _AFTER)
    part = samples[first:last].copy()
    fade_in, fade_out = onset - first, last - offset
    part[:fade_in] *= np.linspace(0, 1, fade_in, endpoint=False, dtype=np.float32)
    part[part.size - fade_out :] *= np.linspace(1, 0, fade_out, dtype=np.float32)
    return Sound(samples=part, onset=onset - first, offset=offset - first)
