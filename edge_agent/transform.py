"""Windows of sound to log-mel rows or MFCCs: the mathematics of the front end, and its tables.

Frames come in tiles, and a frame's row in its tile never changes: a matrix product rounds a row by
its place among the rows, and on some processors an FFT does too. In the FFT a tile fills whole
groups of four rows, the widest group that numpy computes at once; what is left over is zeros.
"""

import math
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.records import Samples

Doubles: TypeAlias = npt.NDArray[np.float64]
Reals: TypeAlias = npt.NDArray[np.float32 | np.float64]
Complexes: TypeAlias = npt.NDArray[np.complex64 | np.complex128]
Real: TypeAlias = type[np.float32] | type[np.float64]
_Band: TypeAlias = tuple[slice, slice, Reals]

NUMPY_2 = int(np.__version__.split(".")[0]) >= 2
"""From this version on, numpy has an FFT in float32 and takes the array to write into."""

_FFT_ROWS = 4
# Measured from 8 to 64: 16 fill a vector register, and wider groups weigh too many zeros.
_BANDS_AT_ONCE = 16
_DB_PER_NEPER = 10.0 / math.log(10.0)

DELTA_REACH = 4
"""Frames to either side that a slope is fitted to: nine in all, librosa's default width."""


class Engine:
    """Workspaces for a number of tiles, and the steps from windows of samples to features.

    Args:
        settings: The transform.
        mode: Float64 or float32 inside.
        tiles: How many `run` can take at once.
    """

    def __init__(
        self, settings: FrontendSettings, mode: Literal["exact", "fast"], tiles: int
    ) -> None:
        real: Real = np.float32 if mode == "fast" else np.float64
        tile = settings.patch_hop
        rows = -(-tile // _FFT_ROWS) * _FFT_ROWS
        bins = settings.n_fft // 2 + 1
        bands = _banded(mel_weights(settings) * settings.n_fft**2, real)
        windowed = np.zeros((tiles, rows, settings.n_fft), real)
        spectra = np.zeros((tiles, rows, bins), np.result_type(real, np.complex64))
        levels = np.zeros((tiles, rows, settings.n_mels), real)
        self._tile = tile
        # A window for every row: where shapes or types differ, numpy computes by way of buffers
        # that it makes anew on every call.
        window = np.tile(hann(settings).astype(real), (tiles, rows, 1))
        self._offset = settings.floor == "offset"
        self._floor = real(settings.floor_value)
        self._scale = real(_DB_PER_NEPER)
        self._cosines: Reals | None = None
        if settings.kind != "logmel":
            self._cosines = cosines(settings).T.astype(real, order="C")
        self._views = [
            _Views(windowed[:n], window[:n], spectra[:n], levels[:n], bands, tile)
            for n in range(1, tiles + 1)
        ]

    def run(self, windows: Samples, out: Reals) -> None:
        """Compute (tiles, tile, n_fft) samples into (tiles * tile, values) features."""
        views = self._views[len(windows) - 1]
        levels = views.levels
        np.copyto(views.heard, windows)
        np.multiply(views.windowed, views.window, out=views.windowed)
        rfft_into(views.windowed, views.spectra)
        np.square(views.power, out=views.power)
        for power, weights, bands in views.products:
            np.matmul(power, weights, out=bands)
        if self._offset:
            np.add(levels, self._floor, out=levels)
        else:
            np.maximum(levels, self._floor, out=levels)
        np.log(levels, out=levels)
        shaped = out.reshape(len(windows), self._tile, -1)
        if self._cosines is None:
            np.multiply(views.kept, self._scale, out=shaped, casting="same_kind")
        else:
            np.multiply(levels, self._scale, out=levels)
            np.matmul(views.kept, self._cosines, out=shaped, casting="same_kind")


class _Views:
    """Parts of the workspaces for one number of tiles, cut once: cutting costs as much as using."""

    def __init__(
        self,
        windowed: Reals,
        window: Reals,
        spectra: Complexes,
        levels: Reals,
        bands: list[_Band],
        tile: int,
    ) -> None:
        self.windowed = windowed
        self.window = window
        self.heard = windowed[:, :tile]
        self.spectra = spectra
        # Real and imaginary parts side by side.
        self.power: Reals = spectra.view(windowed.dtype)
        self.products = [
            (self.power[:, :, columns], weights, levels[:, :, rows])
            for columns, rows, weights in bands
        ]
        self.levels = levels
        self.kept = levels[:, :tile]


def rfft_into(windowed: Reals, spectra: Complexes) -> None:
    """The spectrum over the last axis, divided by its length, at the inputs' precision."""
    # Any other norm than "forward" makes numpy compute float32 in float64 and cast twice, since
    # the scale of the default one is an integer. For powers of two the factor 1/n is exact.
    if NUMPY_2:
        # numpy's stub knows complex128 alone.
        np.fft.rfft(windowed, norm="forward", out=spectra)  # type: ignore[arg-type]
    else:
        spectra[...] = np.fft.rfft(windowed, norm="forward")


def summary(frames: Samples, kind: str) -> Samples:
    """What `kind` makes of a patch of frames, (patch, values)."""
    if kind in {"logmel", "mfcc"}:
        return frames
    rows = frames.astype(np.float64)
    mean: Doubles = rows.mean(axis=0)
    if kind == "mfcc_mean":
        return np.asarray(mean, np.float32)
    std = np.sqrt(np.square(rows - mean).mean(axis=0))
    dynamics = np.sqrt(np.square(slopes(rows)).mean(axis=0))
    return np.concatenate((mean, std, dynamics)).astype(np.float32)


def slopes(rows: Doubles) -> Doubles:
    """Slope per frame by regression over nine frames, where all nine exist."""
    inner = len(rows) - 2 * DELTA_REACH
    total: Doubles = np.zeros((inner, rows.shape[1]))
    for n in range(1, DELTA_REACH + 1):
        ahead = rows[DELTA_REACH + n : DELTA_REACH + n + inner]
        behind = rows[DELTA_REACH - n : DELTA_REACH - n + inner]
        total += n * (ahead - behind)
    return total / (2 * sum(n * n for n in range(1, DELTA_REACH + 1)))


def hann(settings: FrontendSettings) -> Doubles:
    """Periodic Hann of `win_length`, with zeros at both sides up to (n_fft,)."""
    length = settings.win_length
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    before = (settings.n_fft - length) // 2
    return np.pad(window, (before, settings.n_fft - length - before))


def mel_weights(settings: FrontendSettings) -> Doubles:
    """Triangles over the FFT's bins, (n_mels, n_fft // 2 + 1)."""
    to_mel, to_hz = (_htk_mel, _htk_hz) if settings.scale == "htk" else (_slaney_mel, _slaney_hz)
    low, high = to_mel(np.array([settings.fmin, settings.fmax]))
    edges = to_hz(np.linspace(low, high, settings.n_mels + 2))[:, None]
    bins = np.arange(settings.n_fft // 2 + 1) * (settings.rate / settings.n_fft)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return weights * (2.0 / (upper - lower)) if settings.norm == "slaney" else weights


def _htk_mel(hz: Doubles) -> Doubles:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _htk_hz(mel: Doubles) -> Doubles:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _slaney_mel(hz: Doubles) -> Doubles:
    above = 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / math.log(6.4)
    return np.where(hz < 1000.0, hz * 0.015, above)


def _slaney_hz(mel: Doubles) -> Doubles:
    above = 1000.0 * np.exp(math.log(6.4) / 27.0 * (np.maximum(mel, 15.0) - 15.0))
    return np.where(mel < 15.0, mel / 0.015, above)


def _banded(weights: Doubles, real: Real) -> list[_Band]:
    """Groups of bands, each with the columns of squared parts that it weighs.

    Real and imaginary parts stand side by side, so every weight stands twice and the product adds
    the two squares.
    """
    groups: list[_Band] = []
    for first in range(0, len(weights), _BANDS_AT_ONCE):
        some = weights[first : first + _BANDS_AT_ONCE]
        used = np.flatnonzero(some.max(axis=0))
        low, high = int(used[0]), int(used[-1]) + 1
        twice = np.repeat(some[:, low:high].T, 2, axis=0)
        columns, bands = slice(2 * low, 2 * high), slice(first, first + len(some))
        groups.append((columns, bands, twice.astype(real, order="C")))
    return groups


def cosines(settings: FrontendSettings) -> Doubles:
    """DCT-II, orthonormal, with the lifter in it: (n_mfcc, n_mels)."""
    k = np.arange(settings.n_mfcc)[:, None]
    b = np.arange(settings.n_mels)
    rows = math.sqrt(2.0 / settings.n_mels) * np.cos(
        np.pi * k * (2 * b + 1) / (2 * settings.n_mels)
    )
    rows[0] *= math.sqrt(0.5)
    if settings.lifter:
        rows *= 1.0 + settings.lifter / 2.0 * np.sin(np.pi * (k + 1) / settings.lifter)
    return rows
