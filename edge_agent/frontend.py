"""One transform from samples to features, for training and for the street.

A frame is `n_fft` samples under a periodic Hann window; its power spectrum is weighed into mel
bands, and the logarithm of those bands is a row of features (log-mel), or their cosine transform
is (MFCC). Frames start at the first sample and never reach beyond the last: nothing is centred,
nothing is padded. A patch is what a network sees: a run of frames, or statistics of one.

The bytes of a frame depend on its samples and on its index in the stream, never on how the stream
was cut: frames are computed in tiles of `patch_hop` rows counted from the first sample.
"""

import hashlib
import json
import math
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.records import Samples
from edge_agent.transform import (
    DELTA_REACH,
    NUMPY_2,
    Doubles,
    Engine,
    Reals,
    cosines,
    mel_weights,
    summary,
)

Mode: TypeAlias = Literal["auto", "exact", "fast"]

_FLOAT32 = np.dtype(np.float32)
# Enough for a second of sound beside what was left over: one call instead of two.
_STREAM_TILES = 6
_BATCH_TILES = 20


class Patch(msgspec.Struct, frozen=True):
    """What a network sees of one stretch of sound."""

    first: int
    """Index of its first sample in the stream, counted from the last reset."""
    features: Samples
    """Standardised and clipped: (patch, values) for frames, (values,) for statistics."""


class Frames:
    """Log-mel frames in dB, or MFCCs where the settings ask for them, float32.

    Args:
        settings: The transform; `patch_hop` is the tile by which a stream is computed.
        mode: `exact` computes in float64, `fast` in float32; `auto` is `fast` where numpy's FFT
            can (version 2 and up).
    """

    def __init__(self, settings: FrontendSettings, mode: Mode = "auto") -> None:
        check(settings, device=False)
        if mode == "auto":
            mode = "fast" if NUMPY_2 else "exact"
        if mode == "fast" and not NUMPY_2:
            raise ValueError(
                f"mode fast needs numpy 2, this is {np.__version__}: its FFT is float64"
            )
        self.mode: Literal["exact", "fast"] = mode
        self.values = settings.n_mels if settings.kind == "logmel" else settings.n_mfcc
        self._settings = settings
        self._tile = settings.patch_hop
        self._step = settings.patch_hop * settings.hop
        self._overlap = settings.n_fft - settings.hop
        self._need = self._overlap + self._step
        self._buffer = np.zeros(self._overlap + _STREAM_TILES * self._step, np.float32)
        self._fill = 0
        self._nothing = np.empty((0, self.values), np.float32)
        self._engine = Engine(settings, self.mode, _STREAM_TILES)
        self._batch_engine: Engine | None = None
        self._windows = self._framed(self._buffer, _STREAM_TILES)

    def batch(self, samples: Samples) -> Samples:
        """All frames of a whole signal, (frames, values); a trailing part of a frame is dropped."""
        out = np.empty((self._count(samples.size), self.values), np.float32)
        self._fill_batch(samples, out)
        return out

    def batch_double(self, samples: Samples) -> Doubles:
        """As `batch`, without rounding the result of `exact` to float32."""
        out = np.empty((self._count(samples.size), self.values), np.float64)
        self._fill_batch(samples, out)
        return out

    def push(self, samples: Samples) -> Samples:
        """Take the next samples; give the frames of the tiles they complete, often none."""
        _require_samples(samples)
        end = self._fill + samples.size
        if end >= self._need:
            return self._whole_tiles(samples)
        self._buffer[self._fill : end] = samples
        self._fill = end
        return self._nothing

    def flush(self) -> Samples:
        """The frames of the last tile that the stream still held, then start anew."""
        frames = self._count(self._fill)
        out = np.empty((self._tile, self.values), np.float32)
        if frames:
            self._buffer[self._fill : self._need] = 0.0
            self._engine.run(self._windows[:1], out)
        self.reset()
        return out[:frames]

    def reset(self) -> None:
        """Forget the stream: the next sample is the first of a new grid."""
        self._fill = 0

    def _count(self, samples: int) -> int:
        if samples < self._settings.n_fft:
            return 0
        return 1 + (samples - self._settings.n_fft) // self._settings.hop

    def _framed(self, samples: Samples, tiles: int) -> Samples:
        stride = samples.itemsize
        return np.lib.stride_tricks.as_strided(
            samples,
            (tiles, self._tile, self._settings.n_fft),
            (self._step * stride, self._settings.hop * stride, stride),
            writeable=False,
        )

    def _whole_tiles(self, samples: Samples) -> Samples:
        tiles = (self._fill + samples.size - self._overlap) // self._step
        out = np.empty((tiles * self._tile, self.values), np.float32)
        taken = done = 0
        while True:
            piece = samples[taken : taken + self._buffer.size - self._fill]
            self._buffer[self._fill : self._fill + piece.size] = piece
            self._fill += piece.size
            taken += piece.size
            ready = (self._fill - self._overlap) // self._step
            if ready <= 0:
                return out
            rows = ready * self._tile
            self._engine.run(self._windows[:ready], out[done : done + rows])
            done += rows
            used = ready * self._step
            self._buffer[: self._fill - used] = self._buffer[used : self._fill]
            self._fill -= used

    def _fill_batch(self, samples: Samples, out: Reals) -> None:
        _require_samples(samples)
        if self._batch_engine is None:
            self._batch_engine = Engine(self._settings, self.mode, _BATCH_TILES)
        whole = len(out) // self._tile
        windows = self._framed(samples, whole)
        for start in range(0, whole, _BATCH_TILES):
            some = windows[start : start + _BATCH_TILES]
            first = start * self._tile
            self._batch_engine.run(some, out[first : first + len(some) * self._tile])
        rest = len(out) - whole * self._tile
        if rest:
            tail = np.zeros(self._need, np.float32)
            left = samples[whole * self._step :][: self._need]
            tail[: left.size] = left
            last = np.empty((self._tile, self.values), out.dtype)
            self._batch_engine.run(self._framed(tail, 1), last)
            out[whole * self._tile :] = last[:rest]


class Patches:
    """Frames cut into patches, summed up where the kind asks it, standardised and clipped.

    Args:
        settings: The transform, with the constants of standardisation.
        mode: As for `Frames`.
    """

    def __init__(self, settings: FrontendSettings, mode: Mode = "auto") -> None:
        self._frames = Frames(settings, mode)
        self.mode = self._frames.mode
        self.shape = _shape(settings)
        self.span = settings.n_fft + (settings.patch - 1) * settings.hop
        self.hop = settings.patch_hop * settings.hop
        self._settings = settings
        self._mean = np.array(settings.mean, np.float32)
        self._std = np.array(settings.std, np.float32)
        self._clip = None if settings.clip is None else np.float32(settings.clip)
        self._held = np.empty((0, self._frames.values), np.float32)
        self._next = 0

    def push(self, samples: Samples) -> list[Patch]:
        """Take the next samples; give the patches they complete."""
        return self._cut(self._frames.push(samples))

    def flush(self) -> list[Patch]:
        """The patches that the last, partly filled tile completes, then start anew."""
        patches = self._cut(self._frames.flush())
        self.reset()
        return patches

    def reset(self) -> None:
        """Forget the stream: no patch will span what came before and what comes next."""
        self._frames.reset()
        self._held = self._held[:0]
        self._next = 0

    def batch(self, samples: Samples) -> Samples:
        """All patches of a whole signal, (patches, *shape)."""
        frames = self._frames.batch(samples)
        starts = range(0, len(frames) - self._settings.patch + 1, self._settings.patch_hop)
        out = np.empty((len(starts), *self.shape), np.float32)
        for features, start in zip(out, starts, strict=True):
            features[...] = self._features(frames[start : start + self._settings.patch])
        return out

    def _cut(self, frames: Samples) -> list[Patch]:
        if not len(frames):
            return []
        held = np.concatenate((self._held, frames))
        patches = []
        start = 0
        while start + self._settings.patch <= len(held):
            features = self._features(held[start : start + self._settings.patch])
            patches.append(Patch(self._next, features))
            self._next += self.hop
            start += self._settings.patch_hop
        self._held = held[start:].copy()
        return patches

    def _features(self, frames: Samples) -> Samples:
        values = summary(frames, self._settings.kind)
        features: Samples = np.subtract(values, self._mean)
        np.divide(features, self._std, out=features)
        if self._clip is not None:
            # Not np.clip: by way of three functions, each of them cold, it takes twice as long.
            np.maximum(features, -self._clip, out=features)
            np.minimum(features, self._clip, out=features)
        return features


def check(settings: FrontendSettings, *, device: bool = True) -> None:
    """Refuse settings that contradict each other.

    Args:
        settings: What to look at.
        device: Also refuse what a device must not use: bands that a constant offset leaks into.

    Raises:
        ValueError: Names the field, what it holds and what it may hold.
    """
    if settings.win_length > settings.n_fft:
        raise ValueError(f"win_length {settings.win_length} exceeds n_fft {settings.n_fft}")
    if settings.hop > settings.n_fft:
        raise ValueError(f"hop {settings.hop} exceeds n_fft {settings.n_fft}: samples go unheard")
    if not settings.fmin < settings.fmax <= settings.rate / 2:
        raise ValueError(
            f"fmin {settings.fmin} and fmax {settings.fmax} Hz must be in this order, "
            f"up to half the rate, {settings.rate / 2} Hz"
        )
    if settings.kind != "logmel" and settings.n_mfcc > settings.n_mels:
        raise ValueError(f"n_mfcc {settings.n_mfcc} exceeds n_mels {settings.n_mels}")
    if settings.kind == "mfcc_stats" and settings.patch <= 2 * DELTA_REACH:
        raise ValueError(f"patch {settings.patch} is too short for deltas: 9 frames at least")
    _check_constants(settings)
    empty = np.flatnonzero(mel_weights(settings).max(axis=1) == 0.0)
    if empty.size:
        raise ValueError(
            f"mel bands {empty.tolist()} hold no FFT bin: fewer n_mels than {settings.n_mels}, "
            f"a larger n_fft than {settings.n_fft}, or a higher fmin than {settings.fmin} Hz"
        )
    # The main lobe of a full-length window is two bins wide to either side and exactly zero at
    # the second; a window padded with zeros spreads that over more bins.
    full = settings.win_length == settings.n_fft
    lowest = settings.rate / settings.n_fft if full else 2 * settings.rate / settings.win_length
    if device and settings.fmin < lowest:
        raise ValueError(
            f"fmin {settings.fmin} Hz lets a constant offset into the lowest band: "
            f"{lowest:.4g} Hz at least"
        )


def fingerprint(settings: FrontendSettings) -> str:
    """SHA-256 of the settings' canonical JSON: what two sides must share to mean the same."""
    # Converting makes 50 and 50.0 one value, as it reads from a file.
    plain = msgspec.to_builtins(msgspec.convert(msgspec.to_builtins(settings), FrontendSettings))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def clip_features(
    samples: Samples,
    settings: FrontendSettings,
    *,
    center: bool = False,
    pad_mode: Literal["constant", "reflect"] = "constant",
    ref: float | Literal["max"] = 1.0,
    amin: float | None = None,
    top_db: float | None = None,
) -> Doubles:
    """Features that need the whole clip, as published protocols ask; never for a stream.

    Args:
        samples: (n,), the clip.
        settings: The transform; its standardisation is not applied.
        center: Let frame t be centred on sample `t * hop`, padding both ends by half a frame.
        pad_mode: What the padding holds.
        ref: Power that is 0 dB, or the loudest of the clip.
        amin: Least power, instead of the settings' floor.
        top_db: How far below the clip's loudest value everything is raised to.

    Returns:
        (frames, values): dB, or MFCCs of those dB.
    """
    if center:
        half = settings.n_fft // 2
        samples = np.pad(samples, half, mode=pad_mode)
    floor = {} if amin is None else {"floor": "amin", "floor_value": amin}
    levels = msgspec.structs.replace(settings, kind="logmel", **floor)
    db = Frames(levels, "exact").batch_double(samples)
    least = -math.inf if levels.floor == "offset" else 10.0 * math.log10(levels.floor_value)
    if ref == "max":
        db -= db.max(initial=least)
    else:
        db -= max(10.0 * math.log10(ref), least)
    if top_db is not None and db.size:
        np.maximum(db, db.max() - top_db, out=db)
    if settings.kind == "logmel":
        return db
    coefficients: Doubles = db @ cosines(settings).T
    return coefficients


def from_levels(levels: Samples, settings: FrontendSettings) -> Samples:
    """Features of log-mel patches (n, patch, n_mels) that were mixed as power: (n, *shape).

    For the laboratory, which mixes cached frames; standardisation and clip are the settings'.
    """
    frames = levels
    if settings.kind != "logmel":
        frames = (levels @ cosines(settings).T.astype(np.float32)).astype(np.float32)
    values = np.stack([summary(patch, settings.kind) for patch in frames])
    mean, std = np.array(settings.mean, np.float32), np.array(settings.std, np.float32)
    features: Samples = (values - mean) / std
    if settings.clip is not None:
        np.clip(features, -settings.clip, settings.clip, out=features)
    return features


def golden_signals(length: int = 16064) -> dict[str, Samples]:
    """Six signals by rules on integers, so that every machine has them without a recording.

    Args:
        length: Samples of each; the default is one patch of the default settings.
    """
    index = np.arange(length)
    sine = np.array(_SINE_64)
    # From 50 to 7500 Hz at 16 kHz, in 1/65536 of a table entry per sample.
    step = 13107 + 121 * index
    chirp = (np.cumsum(step) - step) >> 16
    signals = {
        "silence": np.zeros(length, np.int64),
        "noise": _congruential_noise(length),
        "tone": sine[index % 64],
        "chirp": sine[chirp % 64],
        "impulses": np.where(index % 4001 == 0, 32767, 0),
        "square": np.where(index // 37 % 2 == 0, 32767, -32767),
    }
    return {name: (signal / 32768.0).astype(np.float32) for name, signal in signals.items()}


def _require_samples(samples: Samples) -> None:
    if samples.dtype != _FLOAT32 or samples.ndim != 1 or not samples.flags.c_contiguous:
        raise TypeError(
            "samples must be one contiguous dimension of float32, not "
            f"{samples.dtype} {samples.shape} with strides {samples.strides}"
        )


def _shape(settings: FrontendSettings) -> tuple[int, ...]:
    if settings.kind == "logmel":
        return settings.patch, settings.n_mels
    if settings.kind == "mfcc":
        return settings.patch, settings.n_mfcc
    return (3 * settings.n_mfcc,) if settings.kind == "mfcc_stats" else (settings.n_mfcc,)


def _check_constants(settings: FrontendSettings) -> None:
    values = _shape(settings)[-1]
    if len(settings.mean) != len(settings.std) or len(settings.mean) not in {1, values}:
        raise ValueError(
            f"mean and std hold {len(settings.mean)} and {len(settings.std)} values: "
            f"one each, or {values} each"
        )


def _congruential_noise(length: int) -> npt.NDArray[np.int64]:
    state = 1
    values = []
    for _ in range(length):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state >> 16)
    top = np.array(values, np.uint16).astype(np.int16)
    return top.astype(np.int64) >> 4


# round(32767 * sin(2 pi i / 64)), written out so that no machine's sine is asked.
_QUARTER = (
    0, 3212, 6393, 9512, 12539, 15446, 18204, 20787,
    23170, 25329, 27245, 28898, 30273, 31356, 32137, 32609, 32767,
)  # fmt: skip
_HALF = _QUARTER[:-1] + _QUARTER[:0:-1]
_SINE_64 = _HALF + tuple(-value for value in _HALF)
