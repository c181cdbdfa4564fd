"""What a count of false alarms proves: exact Poisson bounds.

Alarms at a constant rate come as a Poisson count, whose exact (Garwood) bounds are quantiles of
chi-square. The two-sided interval is of 95 %; the bound on which `proven` rests is one-sided of
95 %: with no alarm in H hours it is 2.996 / H an hour, so that a budget of one a day takes 72 hours
of distinct sound.
"""

import msgspec
from scipy.stats import chi2

CONFIDENCE = 0.95


class Alarms(msgspec.Struct, frozen=True, kw_only=True):
    """False alarms on event-free sound."""

    count: int
    hours: float
    per_hour: float
    low_per_hour: float
    high_per_hour: float
    """Ends of the two-sided interval."""
    bound_per_day: float
    """One-sided."""
    budget_per_day: float
    proven: bool
    """The bound is within the budget."""


def counted(count: int, hours: float, budget_per_day: float) -> Alarms:
    """The figures of `count` alarms in so many hours of distinct sound."""
    low, high = interval(count)
    bound_per_day = 24 * upper(count, CONFIDENCE) / hours
    return Alarms(
        count=count,
        hours=hours,
        per_hour=count / hours,
        low_per_hour=low / hours,
        high_per_hour=high / hours,
        bound_per_day=bound_per_day,
        budget_per_day=budget_per_day,
        proven=bound_per_day <= budget_per_day,
    )


def interval(count: int) -> tuple[float, float]:
    """The exact two-sided interval of a Poisson mean."""
    tail = (1 - CONFIDENCE) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low, upper(count, 1 - tail)


def upper(count: int, confidence: float) -> float:
    """The exact one-sided upper bound of a Poisson mean."""
    return float(chi2.ppf(confidence, 2 * count + 2)) / 2


def hours_needed(budget_per_day: float) -> float:
    """Hours without a single alarm that prove a budget."""
    return 24 * upper(0, CONFIDENCE) / budget_per_day
