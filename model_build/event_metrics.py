"""How well told events match the true ones, and how long after an onset one is told.

Event-based F1 as sed_eval defines it (Mesaros, Heittola, Virtanen 2016): a told event is right when
its label is, its onset is within 500 ms of the true one and, unless the label is impulsive, its
offset within 500 ms or half the true length, whichever is more; each event counts once, in the
largest possible matching. The usual onset collar of 200 ms is less than the agent's patches, a
second long and four a second, can place.

The delay runs from a true onset to the moment when the start of an event of that label was told;
it is taken where the told onset lies within the true event, give or take the collar, so that an
event with a late onset or a wrong end still has its delay.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from model_build.detection import Span
from model_build.streams import TrueEvent

COLLAR_S = 0.5
LENGTH_SHARE = 0.5

Pairs = tuple[tuple[int, int], ...]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a label: true ones, told ones, and told ones that are right."""

    true: int
    told: int
    right: int

    @property
    def precision(self) -> float | None:
        """Share of told events that are right; None when none was told."""
        return self.right / self.told if self.told else None

    @property
    def recall(self) -> float | None:
        """Share of true events that were found; None when there is none."""
        return self.right / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two; None where there is no true event."""
        return 2 * self.right / (self.true + self.told) if self.true else None


def matched(truth: Sequence[TrueEvent], told: Sequence[Span], *, impulsive: bool) -> Pairs:
    """Pairs of indices (true, told) of right events of one label in one stream.

    Args:
        truth: True events of the label.
        told: Events of the label as told.
        impulsive: Only onsets are compared.
    """
    if not truth or not told:
        return ()
    fits = np.zeros((len(truth), len(told)), np.int8)
    for row, true in enumerate(truth):
        allowed_s = max(COLLAR_S, LENGTH_SHARE * (true.offset_s - true.onset_s))
        for column, span in enumerate(told):
            onset = abs(span.onset_s - true.onset_s) <= COLLAR_S
            offset = impulsive or abs(span.offset_s - true.offset_s) <= allowed_s
            fits[row, column] = onset and offset
    partner = maximum_bipartite_matching(csr_array(fits), perm_type="column")
    return tuple((row, int(column)) for row, column in enumerate(partner) if column >= 0)


def delays_s(truth: Sequence[TrueEvent], told: Sequence[Span]) -> tuple[float | None, ...]:
    """For each true event of one label how long after its onset it was told; None if it was not."""
    left = sorted(told, key=lambda span: span.onset_s)
    delays: list[float | None] = []
    for true in truth:
        first, last = true.onset_s - COLLAR_S, true.offset_s + COLLAR_S
        found = next((span for span in left if first <= span.onset_s <= last), None)
        if found is not None:
            left.remove(found)
        delays.append(None if found is None else found.told_s - true.onset_s)
    return tuple(delays)


def summed(parts: Iterable[Counts]) -> Counts:
    """Counts over several streams."""
    true = told = right = 0
    for part in parts:
        true, told, right = true + part.true, told + part.told, right + part.right
    return Counts(true=true, told=told, right=right)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Interpolated percentile; None of nothing."""
    ordered: npt.NDArray[np.float64] = np.array(values, np.float64)
    return float(np.percentile(ordered, percent)) if ordered.size else None
