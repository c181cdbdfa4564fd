"""Clips that are the same sound: the same samples, or nearly, at another level, place or quality.

A clip's *trace* is its log-mel levels. Two clips are nearly the same when at some shift their
traces go up and down together over at least half of the shorter one, once each band's own mean and
each frame's own mean are taken away: level and colour fall out, and so does that every bang begins
at once and dies away; what remains is the grain of a recording, which no other shares. Comparing
all pairs so would take hours, so candidates are found by what a clip holds on the whole.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames
from edge_agent.records import Samples

Doubles: TypeAlias = npt.NDArray[np.float64]

TRACE = FrontendSettings(n_fft=4096, win_length=4096, hop=640, n_mels=32)
"""Frames every 40 ms. The window is long against that, so that a copy which begins half a frame
later still has the same grain: with one of 64 ms its agreement falls to 0.5."""
# A recording's own hiss, or that of eight bits, would be told apart; what is further below the
# clip's loudest is not looked at.
_RANGE_DB = 40.0
_LEAST_FRAMES = 8
LEAST_S = (TRACE.n_fft + (_LEAST_FRAMES - 1) * TRACE.hop) / TRACE.rate
"""What is shorter is like nothing."""
_NEIGHBOURS = 20

NEAR = 0.9
"""564 of 576 clips of ESC-50 agree so with their own 8-bit copy (docs/decisions.md)."""


class Pair(msgspec.Struct, frozen=True):
    """Two clips by their index, and how well their traces agree, -1 to 1."""

    one: int
    other: int
    agreement: float


def trace(samples: Samples, frames: Frames) -> Samples:
    """A clip's log-mel levels, (frames, bands), no lower than 40 dB below the loudest.

    Args:
        samples: (n,), at `TRACE.rate`.
        frames: By `TRACE`.
    """
    levels = frames.batch(samples)
    if not len(levels):
        return levels
    return np.asarray(np.maximum(levels, levels.max() - np.float32(_RANGE_DB)))


def near(traces: Sequence[Samples], least: float = NEAR) -> list[Pair]:
    """Pairs whose traces agree by `least` or more, in the order of their indices."""
    pairs = [
        Pair(one, other, agreement(traces[one], traces[other])) for one, other in candidates(traces)
    ]
    return [pair for pair in pairs if pair.agreement >= least]


def candidates(traces: Sequence[Samples]) -> list[tuple[int, int]]:
    """Pairs that are among each other's nearest by mean spectrum and its spread, one < other."""
    long_enough = [i for i, one in enumerate(traces) if len(one) >= _LEAST_FRAMES]
    if len(long_enough) < 2:
        return []
    about = np.stack([_whole(traces[i]) for i in long_enough])
    about = (about - about.mean(axis=0)) / (about.std(axis=0) + 1e-9)
    found: set[tuple[int, int]] = set()
    squares = np.square(about).sum(axis=1)
    for row, own in enumerate(about):
        away = squares - 2 * about @ own
        away[row] = np.inf
        nearest = np.argpartition(away, min(_NEIGHBOURS, len(away) - 1) - 1)[:_NEIGHBOURS]
        for other in nearest:
            if other != row:
                one, two = sorted((long_enough[row], long_enough[int(other)]))
                found.add((one, two))
    return sorted(found)


def agreement(one: Samples, other: Samples) -> float:
    """Correlation of two traces at the shift where it is highest, -1 to 1.

    At each shift every band is taken around its own mean over the common frames, which are at
    least half of the shorter trace and eight.
    """
    shorter = min(len(one), len(other))
    least = max(_LEAST_FRAMES, -(-shorter // 2))
    if shorter < least:
        return 0.0
    a, b = _without_envelope(one), _without_envelope(other)
    size = len(a) + len(b)
    # Element `shift` of the circular product is the sum over a[t + shift] * b[t].
    spectrum = np.fft.rfft(a, size, axis=0) * np.conj(np.fft.rfft(b, size, axis=0))
    products = np.fft.irfft(spectrum, size, axis=0)
    shifts = np.arange(-(len(b) - least), len(a) - least + 1)
    first = np.maximum(shifts, 0)
    last = np.minimum(shifts + len(b), len(a))
    common = (last - first)[:, None]
    sum_a, sum_aa = _over(a, first, last)
    sum_b, sum_bb = _over(b, first - shifts, last - shifts)
    together = (products[shifts] - sum_a * sum_b / common).sum(axis=1)
    own = (sum_aa - sum_a * sum_a / common).sum(axis=1)
    others = (sum_bb - sum_b * sum_b / common).sum(axis=1)
    # Below this a trace is flat: a tone or silence, of which nothing can be said.
    flat = np.minimum(own, others) < 1.0 * common[:, 0]
    found = np.where(flat, 0.0, together / np.sqrt(np.maximum(own * others, 1e-9)))
    return float(found.max())


def groups(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Clips that hang together by pairs, each group and all of them in order."""
    leader: dict[int, int] = {}

    def lead(one: int) -> int:
        while leader.setdefault(one, one) != one:
            one = leader[one]
        return one

    for one, other in pairs:
        low, high = sorted((lead(one), lead(other)))
        leader[high] = low
    members: dict[int, list[int]] = {}
    for one in sorted(leader):
        members.setdefault(lead(one), []).append(one)
    return [tuple(of) for of in members.values()]


def _whole(levels: Samples) -> Doubles:
    """What a clip holds on the whole: mean spectrum around its mean, and spread, (2 * bands,)."""
    mean = levels.mean(axis=0, dtype=np.float64)
    return np.concatenate((mean - mean.mean(), levels.std(axis=0, dtype=np.float64)))


def _without_envelope(levels: Samples) -> Doubles:
    """Levels around each frame's own mean."""
    rows = levels.astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows


def _over(
    levels: Doubles, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
) -> Iterator[Doubles]:
    """Sums of levels and of their squares from `first` to before `last`, (shifts, bands) each."""
    for values in (levels, np.square(levels)):
        running = np.vstack([np.zeros(levels.shape[1]), np.cumsum(values, axis=0)])
        yield running[last] - running[first]
