"""Lden by the directive's formula, on days of 23, 24 and 25 hours."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
import pytest

from edge_agent.acoustics import tallies
from edge_agent.acoustics.days import PERIODS, Days, PeriodLevel, combined
from edge_agent.config import LdenConfig, Period
from edge_agent.errors import ConfigError
from edge_agent.records import LevelReading, Tally
from edge_agent.timezone import zone

PARIS = zone("Europe/Paris")
SECOND_NS = 1_000_000_000


def tally(level_db: float, heard_s: int = 60) -> Tally:
    heard_us = heard_s * 1_000_000
    return Tally(heard_us=heard_us, energies={"A": tallies.energy(level_db, heard_us)})


def minute(at: datetime, level_db: float, *, synced: bool = True) -> LevelReading:
    start_ns = round(at.timestamp()) * SECOND_NS
    return LevelReading(
        id="",
        microphone="mic",
        period_s=60,
        start_ns=start_ns,
        made_ns=start_ns + 60 * SECOND_NS,
        values={},
        reasons={},
        heard_s=60.0,
        bandwidth_hz=24000.0,
        overload=False,
        under_range=False,
        calibration=None,
        synced=synced,
        tally=tally(level_db),
    )


def minutes_of(day: date) -> list[datetime]:
    """Each minute of a local date, in UTC."""
    begin = datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)
    following = day + timedelta(days=1)
    end = datetime(following.year, following.month, following.day, tzinfo=PARIS).astimezone(UTC)
    count = (end - begin) // timedelta(minutes=1)
    return [begin + timedelta(minutes=at) for at in range(count)]


def heard(levels: Mapping[Period, float], day: date, hours: LdenConfig | None = None) -> Days:
    """A date whose day, evening and night have constant levels."""
    days = Days(PARIS, hours)
    for at in minutes_of(day):
        period = (hours or LdenConfig()).period_of(at.astimezone(PARIS).hour)
        days.add(minute(at, levels[period]))
    return days


PLAIN = date(2026, 6, 1)
# Names by hand: the directive's formula, worked out apart from the code.
VECTORS = [((60.0, 55.0, 50.0), 60.0), ((60.0, 60.0, 60.0), 66.395), ((65.0, 62.0, 55.0), 65.404)]


@pytest.mark.parametrize(("levels", "lden"), VECTORS)
def test_lden_is_the_directives(levels: tuple[float, float, float], lden: float) -> None:
    named = dict(zip(PERIODS, levels, strict=True))
    found = heard(named, PLAIN).levels([PLAIN])
    assert found.lden_dbfs == pytest.approx(lden, abs=0.001)
    for period, level in named.items():
        assert found.periods[period].level_dbfs == pytest.approx(level, abs=1e-9)
        assert found.periods[period].complete


@pytest.mark.parametrize(
    ("day", "night_h"),
    [(PLAIN, 8), (date(2026, 3, 29), 7), (date(2026, 10, 25), 9)],
    ids=["24", "23", "25"],
)
def test_a_day_on_which_the_clock_changes_has_another_night(day: date, night_h: int) -> None:
    days = heard({"day": 65.0, "evening": 62.0, "night": 55.0}, day)
    found = days.levels([day])
    lengths = [found.periods[period].period_s / 3600 for period in PERIODS]
    assert lengths == [12, 4, night_h]
    assert [found.periods[period].heard_s / 3600 for period in PERIODS] == lengths
    # The weights stay nominal: the same levels give the same Lden.
    assert found.lden_dbfs == pytest.approx(65.404, abs=0.001)


def test_the_hour_that_comes_twice_counts_twice() -> None:
    day = date(2026, 10, 25)
    days = Days(PARIS)
    for at in minutes_of(day):
        # 02:00 to 03:00 local, before and after the change: 00:00 to 02:00 UTC.
        days.add(minute(at, 70.0 if at.hour in (0, 1) and at.day == 25 else 50.0))
    night = days.levels([day]).periods["night"].level_dbfs
    assert night == pytest.approx(10 * np.log10((2 * 1e7 + 7 * 1e5) / 9), abs=1e-6)


def test_other_hours_move_borders_and_weights() -> None:
    hours = LdenConfig(day=6, evening=18, night=22)
    assert [hours.nominal_h(period) for period in PERIODS] == [12, 4, 8]
    short = LdenConfig(day=7, evening=20, night=22)
    assert [short.nominal_h(period) for period in PERIODS] == [13, 2, 9]
    found = heard({"day": 60.0, "evening": 55.0, "night": 50.0}, PLAIN, short).levels([PLAIN])
    wanted = 10 * np.log10((13 * 1e6 + 2 * 1e6 + 9 * 1e6) / 24)
    assert found.lden_dbfs == pytest.approx(wanted, abs=1e-9)
    midnight = LdenConfig(night=0)
    assert [midnight.nominal_h(period) for period in PERIODS] == [12, 5, 7]
    assert midnight.period_of(23) == "evening"
    for wrong in ({"evening": 7}, {"night": 19}, {"day": 20}):
        with pytest.raises(msgspec.ValidationError, match="must begin after"):
            msgspec.convert(wrong, LdenConfig)


def test_an_unsynchronised_clock_files_nothing() -> None:
    days = Days(PARIS)
    for at in minutes_of(PLAIN):
        days.add(minute(at, 60.0, synced=False))
    found = days.levels([PLAIN])
    assert {found.periods[period].heard_s for period in PERIODS} == {0.0}
    assert {found.periods[period].level_dbfs for period in PERIODS} == {None}
    assert (found.lden_dbfs, found.reason) == (None, "too_little_heard:day")


@pytest.mark.parametrize(
    ("heard_h", "complete", "usable"),
    [
        (8.0, True, True),
        (7.6, True, True),
        (7.5, False, True),
        (6.0, False, True),
        (5.9, False, False),
    ],
)
def test_what_was_not_heard_is_told_and_at_last_gives_no_lden(
    heard_h: float, complete: bool, usable: bool
) -> None:
    days = Days(PARIS)
    left = round(heard_h * 60)
    for at in minutes_of(PLAIN):
        night = LdenConfig().period_of(at.astimezone(PARIS).hour) == "night"
        if not night or left > 0:
            days.add(minute(at, 60.0))
            left -= night
    found = days.levels([PLAIN])
    # The mean is over what was heard.
    assert found.periods["night"].level_dbfs == pytest.approx(60.0, abs=1e-9)
    assert found.periods["night"].complete is complete
    assert (found.lden_dbfs is not None) is usable
    assert found.reason == (None if usable else "too_little_heard:night")


def test_a_month_averages_energies_and_not_decibels() -> None:
    loud, quiet = date(2026, 6, 1), date(2026, 6, 2)
    days = Days(PARIS)
    for day, level in ((loud, 70.0), (quiet, 50.0)):
        for at in minutes_of(day):
            days.add(minute(at, level))
    mean = 10 * np.log10((1e7 + 1e5) / 2)
    found = days.levels([loud, quiet])
    assert found.periods["night"].level_dbfs == pytest.approx(mean, abs=1e-9)
    assert found.lden_dbfs == pytest.approx(mean + 6.395, abs=0.001)
    # Of complete days the mean of the energies of Lden is the same.
    each = [days.levels([day]).lden_dbfs or 0.0 for day in (loud, quiet)]
    assert found.lden_dbfs == pytest.approx(10 * np.log10(np.mean(10 ** (np.array(each) / 10))))


def test_penalties_are_settings() -> None:
    whole = PeriodLevel(level_dbfs=60.0, heard_s=3600.0, period_s=3600.0)
    found = combined(dict.fromkeys(PERIODS, whole), LdenConfig(penalties_db=(0.0, 0.0, 0.0)))
    assert found.lden_dbfs == pytest.approx(60.0)


@pytest.mark.parametrize("name", ["Europe/Pariss", "", "../etc/passwd", "Europe"])
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no time zone") as caught:
        zone(name, "site.timezone")
    assert caught.value.key == "site.timezone"


@pytest.mark.parametrize(
    ("day", "night_h"),
    [(date(2026, 3, 28), 7), (date(2026, 6, 1), 8), (date(2026, 10, 24), 9)],
)
def test_the_night_after_a_date_is_whole_also_where_the_clock_changes(
    day: date, night_h: int
) -> None:
    days = Days(PARIS)
    evening = datetime(day.year, day.month, day.day, 23, tzinfo=PARIS).astimezone(UTC)
    for number in range(-60, 60 * night_h + 60):
        inside = 0 <= number < 60 * night_h
        days.add(minute(evening + timedelta(minutes=number), -40.0 if inside else 0.0))
    night = days.night_after(day)
    assert night.level_dbfs == pytest.approx(-40.0, abs=1e-9)
    assert night.heard_s == night.period_s == 3600 * night_h
    assert days.night_after(day + timedelta(days=1)).level_dbfs is None
