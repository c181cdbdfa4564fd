"""Patches for training, mixed and bent as power in the mel bands.

Sounds add as powers (their phases are unrelated), so a mixture needs no waveform: cached log-mel
frames are turned back to power, scaled, added, and taken to decibels again.
"""

import math
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.records import Samples
from model_build.features import Features

Power: TypeAlias = npt.NDArray[np.float32]

# A patch counts as the sound's when it is at most this far below the clip's loudest patch: dogs
# pause between barks, and a pause is no bark.
PAUSE_DB = 18.0
_TRIES = 4


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How far patches are bent; decibels, except where the name says otherwise."""

    snr: tuple[float, float] = (0.0, 25.0)
    """Event over bed, within the patch."""
    level: tuple[float, float] = (-45.0, -5.0)
    """Of the mixture, as the RMS of white noise of that level would read."""
    noise_floor: tuple[float, float] = (-60.0, -30.0)
    """Of the microphone, below the mixture: white noise under every clip, or a network learns that
    the hiss of an 8-bit set means background."""
    tilt: float = 4.0
    """Standard deviation over the whole band."""
    ripple: float = 2.0
    """Standard deviation of an equaliser's eight knots."""
    shift: int = 1
    """Bands that a patch moves up or down at most: another pitch."""
    masks: int = 1
    """Blanked stretches in either direction."""
    mask_bands: int = 8
    mask_frames: int = 8


class Drawer:
    """Draws power patches from cached frames.

    Args:
        frames: Log-mel frames of the clips.
        settings: Their transform.
    """

    def __init__(self, frames: Features, settings: FrontendSettings) -> None:
        self._frames = frames
        self._patch = settings.patch
        self._floor = settings.floor_value
        self._peaks = frames.rows.max(axis=1).astype(np.float32)
        bounds = zip(frames.starts[:-1], frames.starts[1:], strict=True)
        self._loudest = [float(self._peaks[first:last].max()) for first, last in bounds]

    def patch(self, clip: int, rng: np.random.Generator) -> tuple[Power, int]:
        """A loud patch of a clip, (patch, n_mels), and its first frame; short clips are looped.

        Args:
            clip: Index among the features' clips.
            rng: Who draws.
        """
        first, last = self._frames.starts[clip : clip + 2]
        rows = self._frames.rows[first:last]
        if len(rows) < self._patch:
            rows = np.resize(rows, (self._patch, rows.shape[1]))
        loudest = self._loudest[clip]
        best, best_peak = 0, -np.inf
        for _ in range(_TRIES):
            at = int(rng.integers(len(rows) - self._patch + 1))
            peak = self._peaks[first + at : first + min(at + self._patch, last - first)].max()
            if peak > best_peak:
                best, best_peak = at, peak
            if peak > loudest - PAUSE_DB:
                break
        return to_power(rows[best : best + self._patch].astype(np.float32), self._floor), best


def to_power(levels: Samples, floor: float) -> Power:
    """Power of log-mel levels; never negative."""
    power: Power = np.exp(levels * np.float32(math.log(10) / 10)) - np.float32(floor)
    return np.maximum(power, np.float32(0))


def to_levels(power: Power, floor: float) -> Samples:
    """Log-mel levels of a power."""
    levels: Samples = np.log(power + np.float32(floor)) * np.float32(10 / math.log(10))
    return levels


class Bench:
    """Bends and mixes power patches.

    Args:
        white: (n_mels,), mean power of white noise at 0 dBFS RMS.
        recipe: How far.
    """

    def __init__(self, white: Power, recipe: Recipe) -> None:
        self._white = white
        self._recipe = recipe

    def bent(self, power: Power, rng: np.random.Generator) -> Power:
        """A patch at another pitch, through another room's and microphone's equaliser."""
        bands = power.shape[1]
        step = int(rng.integers(-self._recipe.shift, self._recipe.shift + 1))
        power = power[:, np.clip(np.arange(bands) - step, 0, bands - 1)]
        x = np.linspace(-0.5, 0.5, bands)
        knots = rng.normal(0, self._recipe.ripple, 8)
        curve = rng.normal(0, self._recipe.tilt) * x + np.interp(
            x, np.linspace(-0.5, 0.5, 8), knots
        )
        bent: Power = power * (10 ** (curve / 10)).astype(np.float32)
        return bent

    def mixed(self, parts: list[Power], snrs_db: list[float], bed: Power) -> Power:
        """Parts over a bed, each at its signal-to-noise ratio."""
        reference = float(bed.sum())
        total = bed.copy()
        for part, snr_db in zip(parts, snrs_db, strict=True):
            own = float(part.sum())
            if own > 0 and reference > 0:
                total += part * np.float32(10 ** (snr_db / 10) * reference / own)
            elif own > 0:
                total += part
        return total

    def heard(self, power: Power, level_db: float, rng: np.random.Generator) -> Power:
        """A mixture at a level, over a microphone's white noise."""
        own = float(power.mean(axis=0).sum())
        if own > 0:
            power = power * np.float32(10 ** (level_db / 10) * float(self._white.sum()) / own)
        floor_db = level_db + rng.uniform(*self._recipe.noise_floor)
        # A band gathers some ten bins of noise: its power scatters by about a third. A true gamma
        # of that order takes five times as long to draw.
        scatter = np.exp(np.float32(0.32) * rng.standard_normal(power.shape, np.float32))
        return np.asarray(power + self._white * np.float32(10 ** (floor_db / 10)) * scatter)

    def masked(self, levels: Samples, rng: np.random.Generator) -> Samples:
        """A log-mel patch with stretches of bands and of time blanked (SpecAugment)."""
        levels = levels.copy()
        blank = levels.mean()
        frames, bands = levels.shape
        for _ in range(self._recipe.masks):
            width = int(rng.integers(self._recipe.mask_bands + 1))
            at = int(rng.integers(bands - width + 1))
            levels[:, at : at + width] = blank
            width = int(rng.integers(self._recipe.mask_frames + 1))
            at = int(rng.integers(frames - width + 1))
            levels[at : at + width] = blank
        return levels
