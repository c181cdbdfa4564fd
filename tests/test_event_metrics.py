"""Event F1 and delays, by hand and against sed_scores_eval."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.detection import Span
from model_build.event_metrics import COLLAR_S, LENGTH_SHARE, Counts, delays_s, matched, percentile
from model_build.psds import sed_scores_eval
from model_build.streams import TrueEvent

FRAME_S = 0.3
"""Not a divisor of the collar: no difference of times lies on its edge."""
FRAMES = 60


def true(onset_s: float, offset_s: float) -> TrueEvent:
    return TrueEvent(label="siren", onset_s=onset_s, offset_s=offset_s, snr_db=0.0, path="a")


def told(onset_s: float, offset_s: float, told_s: float = 0.0) -> Span:
    return Span(label="siren", onset_s=onset_s, offset_s=offset_s, told_s=told_s)


@pytest.mark.parametrize(
    ("span", "right"),
    [
        (told(10.0, 14.0), True),
        (told(9.6, 14.0), True),
        (told(9.4, 14.0), False),
        (told(10.6, 14.0), False),
        # Half of four seconds.
        (told(10.0, 15.9), True),
        (told(10.0, 16.1), False),
        (told(10.0, 11.9), False),
    ],
)
def test_onset_and_offset_have_their_collars(span: Span, right: bool) -> None:
    assert bool(matched([true(10.0, 14.0)], [span], impulsive=False)) is right


def test_of_an_impulse_only_the_onset_counts() -> None:
    assert matched([true(10.0, 10.1)], [told(10.2, 13.0)], impulsive=True) == ((0, 0),)
    assert matched([true(10.0, 10.1)], [told(10.2, 13.0)], impulsive=False) == ()


def test_each_event_counts_once_and_as_many_as_can() -> None:
    # The first true event fits both told ones, the second only the first: greedy finds one.
    truth = [true(10.0, 11.0), true(9.3, 10.6)]
    pairs = matched(truth, [told(9.7, 10.9), told(10.3, 11.2)], impulsive=False)
    assert sorted(pairs) == [(0, 1), (1, 0)]


def test_figures_without_events_are_unknown() -> None:
    nothing = Counts(true=0, told=0, right=0)
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)
    assert Counts(true=4, told=2, right=1).f1 == pytest.approx(2 * 0.5 * 0.25 / 0.75)


def test_a_delay_runs_from_the_true_onset_to_the_telling() -> None:
    truth = [true(10.0, 14.0), true(20.0, 22.0), true(30.0, 31.0)]
    spans = [told(10.2, 13.0, 11.0), told(13.9, 14.5, 15.0), told(21.9, 23.0, 23.5)]
    # The second span lies in the first event, which was told already; the third event was missed.
    *found, missed = delays_s(truth, spans)
    assert found == pytest.approx([1.0, 3.5])
    assert missed is None


def test_percentiles_of_nothing_are_unknown() -> None:
    assert percentile([], 50) is None
    assert percentile([1.0, 3.0], 50) == 2.0


def _runs(flags: list[bool]) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.array(flags, int), [0]])))
    return [(a * FRAME_S, b * FRAME_S) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _theirs(truth: list[tuple[float, float]], flags: list[bool], *, impulsive: bool) -> Any:
    """F1, precision and recall by the collar-based measure of sed_scores_eval."""
    package = sed_scores_eval()
    borders = np.arange(FRAMES + 1) * FRAME_S
    table = package.base_modules.scores.create_score_dataframe(
        np.array(flags, float)[:, None], borders, ["siren"]
    )
    with warnings.catch_warnings():
        # It divides 0 by 0 where nothing was told.
        warnings.simplefilter("ignore", RuntimeWarning)
        f1, precision, recall, counts = package.collar_based.fscore(
            {"scene": table},
            {"scene": [(*event, "siren") for event in truth]},
            0.5,
            onset_collar=COLLAR_S,
            # An impulse's offset may be anywhere.
            offset_collar=1000.0 if impulsive else COLLAR_S,
            offset_collar_rate=LENGTH_SHARE,
        )
    return f1["siren"], precision["siren"], recall["siren"], counts["siren"]


def _ours(truth: list[tuple[float, float]], flags: list[bool], *, impulsive: bool) -> Counts:
    spans = [told(*run) for run in _runs(flags)]
    events = [true(*event) for event in truth]
    pairs = matched(events, spans, impulsive=impulsive)
    return Counts(true=len(events), told=len(spans), right=len(pairs))


def _flags(*runs: tuple[int, int]) -> list[bool]:
    return [any(first <= frame < last for first, last in runs) for frame in range(FRAMES)]


@pytest.mark.parametrize("impulsive", [False, True])
def test_a_toy_scene_has_the_f1_of_sed_scores_eval(impulsive: bool) -> None:
    truth = [(1.0, 3.1), (5.0, 9.2), (12.1, 12.4)]
    flags = _flags((3, 10), (18, 21), (40, 45), (50, 52))
    ours = _ours(truth, flags, impulsive=impulsive)
    f1, precision, recall, _ = _theirs(truth, flags, impulsive=impulsive)
    # Of four told, the first is right; two more end wrongly, which an impulse may.
    assert (ours.right, ours.told) == ((3, 4) if impulsive else (1, 4))
    assert (ours.f1, ours.precision, ours.recall) == pytest.approx((f1, precision, recall))


@settings(max_examples=40)
@given(
    flags=st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES),
    onsets=st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True).map(sorted),
    lengths=st.lists(st.integers(1, 9), min_size=6, max_size=6),
    impulsive=st.booleans(),
)
def test_any_scene_has_the_counts_of_sed_scores_eval(
    flags: list[bool], onsets: list[int], lengths: list[int], impulsive: bool
) -> None:
    # A seventh of a frame aside, so that no time difference lies on a collar's edge.
    truth = [
        (onset * 0.4 + 0.05, onset * 0.4 + 0.05 + 0.1 * min(length, 3))
        for onset, length in zip(onsets, lengths, strict=False)
    ]
    ours = _ours(truth, flags, impulsive=impulsive)
    _, _, _, theirs = _theirs(truth, flags, impulsive=impulsive)
    assert ours.right == theirs["tps"]
    assert ours.told == theirs["tps"] + theirs["fps"]
