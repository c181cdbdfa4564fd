"""Figures of merit, each with its definition; numpy alone.

Truth and guess are class indices, 0 to classes - 1. A figure of a class that never occurs is not
zero but unknown, which is NaN here; means leave it out, so that an empty class cannot flatter or
punish.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Indices: TypeAlias = npt.NDArray[np.intp]
Counts: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

_BINS = 15


def confusion(truth: Indices, guess: Indices, classes: int) -> Counts:
    """How often truth (row) was taken for guess (column), (classes, classes).

    Raises:
        ValueError: The two differ in length, or hold something that is no class.
    """
    if truth.shape != guess.shape or truth.ndim != 1:
        raise ValueError(f"truth is {truth.shape}, guess is {guess.shape}: (n,) each is needed")
    for name, values in (("truth", truth), ("guess", guess)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} holds {values.min()} to {values.max()} of {classes} classes")
    pairs = np.bincount(truth * classes + guess, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def accuracy(counts: Counts) -> float:
    """Share of the confusion matrix on its diagonal; NaN when nothing was counted."""
    return float(_ratio(np.trace(counts), counts.sum()))


def recall(counts: Counts) -> Doubles:
    """Per class the share of its clips that were found; NaN where the class never occurs."""
    return _ratio(np.diag(counts), counts.sum(axis=1))


def precision(counts: Counts) -> Doubles:
    """Per class the share of its guesses that were right; NaN where it was never guessed."""
    return _ratio(np.diag(counts), counts.sum(axis=0))


def f1(counts: Counts) -> Doubles:
    """Per class 2 TP / (2 TP + FP + FN): 0 for one never found, NaN for one that never occurs.

    A class that does not occur but was guessed is NaN too: its wrong guesses already cost the
    classes that they were taken from.
    """
    hits = np.diag(counts)
    values = _ratio(2 * hits, counts.sum(axis=0) + counts.sum(axis=1))
    return np.where(counts.sum(axis=1) > 0, values, np.nan)


def macro(values: Doubles) -> float:
    """Mean over the classes that have a value; NaN when none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def weighted(values: Doubles, counts: Counts) -> float:
    """Mean over the classes, each with the weight of its clips; NaN when there is none."""
    clips = counts.sum(axis=1)
    return float(_ratio(np.nansum(values * clips), clips.sum()))


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of a narrow range, and how often they were right."""

    n: int
    score: float
    """Their mean."""
    share: float
    """Of them, those whose label was there."""


def reliability(positive: Flags, scores: npt.NDArray[np.floating]) -> tuple[Bin, ...]:
    """Scores against truth in 15 equal ranges of 0 to 1; a range without a score is left out.

    Args:
        positive: (n,), whether the label is there.
        scores: (n,), 0 to 1.
    """
    which = np.minimum((scores * _BINS).astype(np.intp), _BINS - 1)
    n = np.bincount(which, minlength=_BINS)
    sums = [np.bincount(which, values, _BINS) for values in (scores, positive)]
    return tuple(
        Bin(n=int(count), score=float(score / count), share=float(share / count))
        for count, score, share in zip(n, *sums, strict=True)
        if count
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: |score - share| over the bins, weighted by what is in them.

    Guo et al. 2017, "On calibration of modern neural networks", section 3.
    """
    away = sum(one.n * abs(one.score - one.share) for one in bins)
    return away / sum(one.n for one in bins)


def average_precision(positive: Flags, scores: npt.NDArray[np.floating]) -> float:
    """Area under precision over recall, stepwise: the mean, over positives, of the precision there.

    Equal scores are one threshold: what they hold is ranked together, so the order of the input
    does not matter. int8 scores tie often.

    Args:
        positive: (n,), whether the class is there.
        scores: (n,), higher for more certain.

    Returns:
        0 to 1; NaN without a positive.

    Raises:
        ValueError: The two differ in length, or a score is NaN.
    """
    if positive.shape != scores.shape or positive.ndim != 1:
        raise ValueError(f"{positive.shape} flags and {scores.shape} scores: (n,) each is needed")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    if not positive.any():
        return float("nan")
    found = np.cumsum(positive[order])[last_of_tie]
    gained = np.diff(found, prepend=0) / found[-1]
    return float(np.sum(gained * found / (last_of_tie + 1)))


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Doubles:
    """`part / whole`, NaN where the whole is 0."""
    numerator, denominator = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratio = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
