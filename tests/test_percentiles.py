"""Percentiles by hand, and histograms merged in every order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.acoustics.percentiles import exceeded, histogram, merged

PERCENTS = (5, 10, 50, 90, 95)


def test_a_constant_level_is_every_percentile() -> None:
    counts = histogram(np.full(480, 61.04))
    assert {exceeded(counts, percent) for percent in PERCENTS} == {61.0}


def test_a_ramp_is_exceeded_where_it_should_be() -> None:
    counts = histogram(np.linspace(40.0, 80.0, 28_800, endpoint=False))
    for percent, wanted_db in ((5, 78.0), (10, 76.0), (50, 60.0), (90, 44.0), (95, 42.0)):
        assert exceeded(counts, percent) == pytest.approx(wanted_db, abs=0.1)


def test_one_sample_is_every_percentile() -> None:
    assert exceeded(histogram(np.array([50.0])), 5) == 50.0
    assert exceeded(histogram(np.array([50.0])), 95) == 50.0


def test_the_share_is_counted_in_whole_samples() -> None:
    # 10 of 10: one sample reaches 10 %, and five reach 50 %.
    counts = histogram(np.arange(10, dtype=np.float64))
    assert (exceeded(counts, 10), exceeded(counts, 11), exceeded(counts, 50)) == (9.0, 8.0, 5.0)


def test_halves_are_rounded_up_below_zero_too() -> None:
    assert histogram(np.array([0.25, -0.25, -0.75])) == {3: 1, -2: 1, -7: 1}


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        exceeded({}, 50)


@given(
    cuts=st.lists(st.integers(1, 999), unique=True, max_size=20).map(sorted),
    order=st.randoms(use_true_random=False),
)
def test_merging_parts_in_any_order_gives_the_whole(cuts: list[int], order: object) -> None:
    levels = np.random.default_rng(7).uniform(-90, 10, 1000)
    parts = [histogram(part) for part in np.split(levels, cuts)]
    order.shuffle(parts)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    assert merged(parts) == histogram(levels)
    assert merged([merged(parts[:3]), merged(parts[3:])]) == histogram(levels)
