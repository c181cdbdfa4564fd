"""Frames of a recording to blocks at 48 kHz: mono, 0.25 s, with gaps where samples are bad."""

from collections import deque
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.capture.overloads import Overloads
from edge_agent.records import Samples
from edge_agent.resample import Resampler

RATE = 48000
"""Hz, of the blocks."""
LIMIT = 100.0
"""Full scale is 1: what is beyond 40 dB over it is damage, and would lift a mean for minutes."""
_BLOCK_SAMPLES = RATE // 4

Frames: TypeAlias = npt.NDArray[np.float32]
"""(n, channels), full scale 1.0."""
Places: TypeAlias = npt.NDArray[np.int64]


class Cutter:
    """Frames at a recording's own rate to blocks at 48 kHz, with gaps where samples are bad.

    Sound between two gaps is resampled by itself: a filter must not ring across a hole. The first
    sample after a gap lies at the next whole sample of the 48 kHz grid.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._read = 0
        self._in_gap = False
        self._next = 0
        self._missed = 0
        self._resampler: Resampler | None = None
        self._overloads = Overloads(rate, RATE) if rate != RATE or channels > 1 else None
        self._rest: list[Samples] = []
        self._rest_samples = 0
        self.ready: deque[tuple[int, int, Samples, Places | None]] = deque()
        """(first, missed, samples, overloads) of blocks not yet handed out."""
        self.bad_samples = 0

    def push(self, frames: Frames) -> None:
        """Take the next frames of the recording, of any number."""
        bad = bad_frames(frames)
        borders = np.flatnonzero(np.diff(bad)) + 1
        mono = mixed_down(np.where(bad[:, np.newaxis], np.float32(0.0), frames))
        for begin, end in _runs(borders.tolist(), len(frames)):
            if bad[begin]:
                self._lose(end - begin)
            else:
                if self._overloads is not None:
                    self._overloads.push(frames[begin:end])
                self._keep(mono[begin:end], self._read + begin)
        self._read += len(frames)

    def finish(self) -> bool:
        """Cut what is left into a last block; False if nothing was."""
        self._close_stretch()
        return bool(self.ready)

    def _lose(self, samples: int) -> None:
        self._close_stretch()
        self._in_gap = True
        self.bad_samples += samples

    def _keep(self, mono: Samples, position: int) -> None:
        if self._in_gap:
            self._in_gap = False
            # At least one: a gap that falls between two output samples is still a gap.
            start = max(self._next + 1, -(-position * RATE // self._rate))
            self._missed = start - self._next
            self._next = start
        if self._rate == RATE:
            self._gather(mono)
        else:
            if self._resampler is None:
                self._resampler = Resampler(self._rate, RATE)
            self._gather(self._resampler.push(mono))

    def _close_stretch(self) -> None:
        if self._resampler is not None:
            self._gather(self._resampler.flush())
            self._resampler = None
        if self._rest_samples:
            self._emit(np.concatenate(self._rest))
            self._rest, self._rest_samples = [], 0
        if self._overloads is not None:
            self._overloads.reset()

    def _gather(self, samples: Samples) -> None:
        self._rest.append(samples)
        self._rest_samples += len(samples)
        if self._rest_samples < _BLOCK_SAMPLES:
            return
        joined = np.concatenate(self._rest)
        whole = len(joined) // _BLOCK_SAMPLES * _BLOCK_SAMPLES
        for at in range(0, whole, _BLOCK_SAMPLES):
            self._emit(joined[at : at + _BLOCK_SAMPLES])
        self._rest, self._rest_samples = [joined[whole:]], len(joined) - whole

    def _emit(self, samples: Samples) -> None:
        overloads = None if self._overloads is None else self._overloads.take(len(samples))
        self.ready.append((self._next, self._missed, samples, overloads))
        self._next += len(samples)
        self._missed = 0


def bad_frames(frames: Frames) -> npt.NDArray[np.bool_]:
    """Which frames, (n,), are no sound in some channel: not finite, or beyond `LIMIT`."""
    sound: npt.NDArray[np.bool_] = np.abs(frames) <= LIMIT
    bad: npt.NDArray[np.bool_] = np.logical_not(np.logical_and.reduce(sound, axis=1))
    return bad


def mixed_down(frames: Frames) -> Samples:
    """One channel, (n,): the mean of all."""
    # In float64 the mean of equal channels is exactly that channel, however many there are.
    mono: Samples = frames.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mono


def _runs(borders: list[int], length: int) -> list[tuple[int, int]]:
    return list(pairwise([0, *borders, length]))
