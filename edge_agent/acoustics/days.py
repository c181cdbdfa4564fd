"""Lday, Levening, Lnight and Lden of a local date, by Directive 2002/49/EC, Annex I.

    Lden = 10 lg[(12 10^(Lday/10) + 4 10^((Levening+5)/10) + 8 10^((Lnight+10)/10)) / 24]

Periods are cut by the wall clock of the place. A date runs from midnight to midnight, so its night
has two pieces, and where the clock changes it has 7 or 9 hours; each level is the mean over what
was heard of its period, and the weights stay the nominal hours, so that days of 23, 24 and 25 hours
compare. Over many days the energies of each period are averaged before they are combined, never the
daily Lden. What a clock that was not synchronised stamped belongs to no period.
"""

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TypeVar, get_args

import msgspec

from edge_agent.acoustics import tallies
from edge_agent.config import LdenConfig, Period
from edge_agent.records import LevelReading, Tally

PERIODS: tuple[Period, ...] = get_args(Period)
COMPLETE_SHARE = 0.95
"""A period is complete when this share of it was heard; our choice, no standard fixes one."""
_HOUR_S = 3600
_Key = TypeVar("_Key")


class PeriodLevel(msgspec.Struct, frozen=True, kw_only=True):
    """The mean level of one period of one or more dates."""

    level_dbfs: float | None
    """None where nothing was heard."""
    heard_s: float
    period_s: float
    """Its true length: a night in which the clock changes has 7 or 9 hours."""

    @property
    def complete(self) -> bool:
        """Enough of it was heard."""
        return self.heard_s >= COMPLETE_SHARE * self.period_s


class DayLevels(msgspec.Struct, frozen=True, kw_only=True):
    """Lday, Levening, Lnight and Lden, relative to full scale like the tallies they come from.

    With a calibration its offset is added to each.
    """

    periods: dict[Period, PeriodLevel]
    lden_dbfs: float | None
    reason: str | None = None
    """Why there is no Lden: `too_little_heard:night`."""


class Days:
    """Gathers readings by local date and period.

    Args:
        zone: The place's time zone.
        hours: When its periods begin.
    """

    def __init__(self, zone: tzinfo, hours: LdenConfig | None = None) -> None:
        self._zone = zone
        self._hours = hours or LdenConfig()
        self._energies: dict[tuple[date, Period], tuple[int, int]] = {}
        self._nights: dict[date, tuple[int, int]] = {}

    def add(self, reading: LevelReading) -> None:
        """Take a reading of at most an hour that lies in one period.

        Minutes do, in every zone whose offset is whole minutes; an hour may not where a zone is off
        by half an hour. What an unsynchronised clock stamped is dropped.
        """
        if reading.synced:
            self.add_tally(reading.start_ns, reading.tally)

    def add_tally(self, start_ns: int, tally: Tally) -> None:
        """Take a tally whose clock was synchronised, by its start."""
        local = datetime.fromtimestamp(start_ns // 1_000_000_000, UTC).astimezone(self._zone)
        day, period = local.date(), self._hours.period_of(local.hour)
        _add(self._energies, (day, period), tally)
        if period == "night":
            evening = day - timedelta(days=local.hour < self._hours.day)
            _add(self._nights, evening, tally)

    def levels(self, dates: Iterable[date]) -> DayLevels:
        """Levels over these local dates together: a day, a month, a year."""
        days = tuple(dates)
        periods = {period: self._period(days, period) for period in PERIODS}
        return combined(periods, self._hours)

    def night_after(self, day: date) -> PeriodLevel:
        """The level of the whole night that begins in a date's evening and ends on the next."""
        energy, heard_us = self._nights.get(day, (0, 0))
        begin_s = self._utc_s(day, self._hours.night or 24)
        return PeriodLevel(
            level_dbfs=tallies.level_of(energy, heard_us),
            heard_s=heard_us / 1e6,
            period_s=float(self._utc_s(day + timedelta(days=1), self._hours.day) - begin_s),
        )

    def _period(self, days: tuple[date, ...], period: Period) -> PeriodLevel:
        parts = [self._energies.get((day, period), (0, 0)) for day in days]
        energy, heard_us = sum(part[0] for part in parts), sum(part[1] for part in parts)
        return PeriodLevel(
            level_dbfs=tallies.level_of(energy, heard_us),
            heard_s=heard_us / 1e6,
            period_s=float(sum(self._length_s(day, period) for day in days)),
        )

    def _length_s(self, day: date, period: Period) -> int:
        hours = self._hours
        night = hours.night or 24
        borders = {
            "day": ((hours.day, hours.evening),),
            "evening": ((hours.evening, night),),
            "night": ((0, hours.day), (night, 24)),
        }[period]
        return sum(self._utc_s(day, end) - self._utc_s(day, begin) for begin, end in borders)

    def _utc_s(self, day: date, hour: int) -> int:
        """UTC of an hour of the wall clock, 0 to 24."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        local = midnight + timedelta(days=hour // 24, hours=hour % 24)
        return round(local.timestamp())


def _add(sums: dict[_Key, tuple[int, int]], key: _Key, tally: Tally) -> None:
    energy, heard_us = sums.get(key, (0, 0))
    sums[key] = energy + tally.energies.get("A", 0), heard_us + tally.heard_us


def combined(periods: dict[Period, PeriodLevel], hours: LdenConfig) -> DayLevels:
    """Lden of three periods; None where one of them was hardly heard."""
    power = 0.0
    for period, penalty_db in zip(PERIODS, hours.penalties_db, strict=True):
        found = periods[period]
        heard_enough = found.heard_s >= hours.usable_share * found.period_s
        if found.level_dbfs is None or not heard_enough:
            return DayLevels(periods=periods, lden_dbfs=None, reason=f"too_little_heard:{period}")
        power += hours.nominal_h(period) * 10 ** ((found.level_dbfs + penalty_db) / 10)
    return DayLevels(periods=periods, lden_dbfs=10 * math.log10(power / 24))
