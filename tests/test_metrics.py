"""Figures of merit against counts by hand, and against a slow definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build import metrics

# Truth in rows: five cats (four found), three dogs (one found), no horse, one horse guessed.
COUNTS = np.array([[4, 1, 0], [1, 1, 1], [0, 0, 0]])


def test_confusion_counts_truth_in_rows() -> None:
    truth = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    guess = np.array([0, 0, 0, 0, 1, 0, 1, 2])
    assert metrics.confusion(truth, guess, 3).tolist() == COUNTS.tolist()


def test_accuracy_is_the_share_on_the_diagonal() -> None:
    assert metrics.accuracy(COUNTS) == 5 / 8


def test_nothing_counted_has_no_accuracy() -> None:
    assert math.isnan(metrics.accuracy(np.zeros((2, 2), np.int64)))


def test_a_class_that_never_occurs_has_no_recall() -> None:
    assert metrics.recall(COUNTS) == pytest.approx([4 / 5, 1 / 3, np.nan], nan_ok=True)


def test_precision_counts_wrong_guesses_and_is_unknown_without_any() -> None:
    assert metrics.precision(COUNTS) == pytest.approx([4 / 5, 1 / 2, 0.0])
    assert math.isnan(metrics.precision(np.array([[1, 0], [1, 0]]))[1])


def test_macro_f1_leaves_out_the_class_that_never_occurs() -> None:
    # F1 of cats is 2*4 / (5+5), of dogs 2*1 / (3+2).
    assert metrics.macro(metrics.f1(COUNTS)) == pytest.approx((0.8 + 0.4) / 2)


def test_a_class_never_found_scores_zero_and_counts() -> None:
    assert metrics.f1(np.array([[2, 0], [2, 0]])).tolist() == [pytest.approx(2 / 3), 0.0]


def test_the_mean_of_nothing_is_unknown() -> None:
    assert math.isnan(metrics.macro(np.array([np.nan, np.nan])))


@pytest.mark.parametrize(
    ("truth", "guess", "why"),
    [([0], [0, 1], r"\(n,\) each"), ([2], [0], "truth holds 2"), ([0], [-1], "guess holds -1")],
)
def test_what_is_no_class_is_refused(truth: list[int], guess: list[int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        metrics.confusion(np.array(truth), np.array(guess), 2)


def test_average_precision_of_a_ranking_by_hand() -> None:
    # Positives at ranks 1, 3 and 4: precision there is 1/1, 2/3 and 3/4.
    positive = np.array([True, False, True, True, False])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert metrics.average_precision(positive, scores) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_equal_scores_rank_together_whatever_their_order() -> None:
    # All three tie: one threshold, with precision 1/3 for its one positive.
    for positive in ([True, False, False], [False, False, True]):
        found = metrics.average_precision(np.array(positive), np.zeros(3))
        assert found == pytest.approx(1 / 3)


def test_without_a_positive_there_is_no_average_precision() -> None:
    assert math.isnan(metrics.average_precision(np.array([False]), np.array([0.5])))
    assert math.isnan(metrics.average_precision(np.zeros(0, bool), np.zeros(0)))


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="a score is NaN"):
        metrics.average_precision(np.array([True]), np.array([np.nan]))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30).filter(
        lambda rows: any(positive for positive, _ in rows)
    )
)
def test_average_precision_equals_its_definition(rows: list[tuple[bool, int]]) -> None:
    expected, recall_before = 0.0, 0.0
    for threshold in sorted({score for _, score in rows}, reverse=True):
        taken = [positive for positive, score in rows if score >= threshold]
        recall = sum(taken) / sum(positive for positive, _ in rows)
        expected += (recall - recall_before) * sum(taken) / len(taken)
        recall_before = recall
    positive = np.array([row[0] for row in rows])
    scores = np.array([row[1] for row in rows], np.float64)
    # Thirty sums of doubles below 1.
    assert metrics.average_precision(positive, scores) == pytest.approx(expected, abs=1e-12)


def test_the_weighted_mean_counts_each_class_by_its_clips() -> None:
    counts = np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]])
    assert metrics.weighted(np.array([0.8, 0.4, np.nan]), counts) == pytest.approx(0.7)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=300))
def test_bins_hold_every_score_once_and_the_error_is_that_of_the_definition(
    pairs: list[tuple[bool, float]],
) -> None:
    positive = np.array([there for there, _ in pairs])
    scores = np.array([score for _, score in pairs])
    bins = metrics.reliability(positive, scores)
    assert sum(one.n for one in bins) == len(pairs)
    wanted = 0.0
    for number in range(15):
        inside = [(there, score) for there, score in pairs if min(int(score * 15), 14) == number]
        if inside:
            score = sum(score for _, score in inside) / len(inside)
            share = sum(there for there, _ in inside) / len(inside)
            wanted += len(inside) / len(pairs) * abs(score - share)
    assert metrics.calibration_error(bins) == pytest.approx(wanted, abs=1e-9)
