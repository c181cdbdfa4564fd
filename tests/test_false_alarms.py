"""Poisson bounds against printed tables and against the Poisson sum itself."""

import math

import pytest

from model_build.false_alarms import counted, hours_needed, interval, upper


@pytest.mark.parametrize(
    # Garwood 1936, as in any table of exact Poisson limits.
    ("count", "bound"),
    [(0, 3.00), (1, 4.74), (2, 6.30), (3, 7.75), (5, 10.51)],
)
def test_the_one_sided_bound_is_the_tables(count: int, bound: float) -> None:
    assert upper(count, 0.95) == pytest.approx(bound, abs=0.005)


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.69), (1, 0.03, 5.57), (2, 0.24, 7.22)]
)
def test_the_two_sided_interval_is_the_tables(count: int, low: float, high: float) -> None:
    assert interval(count) == pytest.approx((low, high), abs=0.005)


@pytest.mark.parametrize("count", [0, 4, 56])
def test_at_its_bound_so_few_alarms_come_once_in_twenty(count: int) -> None:
    mean = upper(count, 0.95)
    chance = sum(math.exp(-mean) * mean**n / math.factorial(n) for n in range(count + 1))
    assert chance == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("budget", "hours"), [(10, 7.2), (1, 71.9), (1 / 7, 503.3)])
def test_a_budget_needs_its_hours_without_an_alarm(budget: float, hours: float) -> None:
    assert hours_needed(budget) == pytest.approx(hours, abs=0.05)
    assert counted(0, hours + 0.1, budget).proven
    assert not counted(0, hours - 0.1, budget).proven
    assert not counted(1, hours + 0.1, budget).proven


def test_rates_are_an_hour_and_the_bound_a_day() -> None:
    found = counted(2, 4.0, 100.0)
    assert found.per_hour == 0.5
    assert (found.low_per_hour, found.high_per_hour) == pytest.approx((0.06, 1.81), abs=0.005)
    assert found.bound_per_day == pytest.approx(24 * 6.30 / 4, abs=0.05)
    assert found.proven
