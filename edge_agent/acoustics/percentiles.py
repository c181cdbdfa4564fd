"""Levels exceeded for a share of the time, from histograms that can be merged.

A histogram counts levels by tenths of a decibel, as integers: minutes merged give the same hour as
their samples do, in any order, bit for bit. L_N is the highest bin that at least N % of the samples
reach; nothing is interpolated. Binning costs at most 0.05 dB.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from edge_agent.acoustics.weighting import Float


def histogram(levels_db: Float) -> dict[int, int]:
    """How often each tenth of a decibel occurs, rounded half up; levels (n,) must be finite."""
    tenths = np.floor(10 * levels_db + 0.5).astype(np.int64)
    return dict(Counter(tenths.tolist()))


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The histogram of all that went into these."""
    counts: Counter[int] = Counter()
    for one in histograms:
        counts.update(one)
    return dict(counts)


def exceeded(counts: Mapping[int, int], percent: int) -> float:
    """The level, dB, that is reached `percent` % (1 to 100) of the time.

    Raises:
        ValueError: The histogram is empty.
    """
    # In whole numbers: the share needed is rounded up to whole samples.
    needed = -(-percent * sum(counts.values()) // 100)
    reached = 0
    for tenth in sorted(counts, reverse=True):
        reached += counts[tenth]
        if reached >= needed:
            return tenth / 10
    raise ValueError("a histogram of nothing has no percentiles")
