"""What a report says, from the minutes and events of a store.

Minutes are merged as the meter merges seconds: energies over the time that was heard, extremes,
histograms. Minutes whose time was not known are left out and counted; so are minutes without
calibration where others have one, for dB and dBFS do not mix.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo

import msgspec

from edge_agent.acoustics import tallies
from edge_agent.acoustics.days import Days, PeriodLevel
from edge_agent.acoustics.periods import shifted
from edge_agent.archive import Archive
from edge_agent.config import LdenConfig, Period, SiteConfig
from edge_agent.energies import shares
from edge_agent.records import Calibration, Event, LevelReading, Share, Shares, Tally

_NS = 1_000_000_000
_HOUR_S = 3600
_NAMES = ("LAeq", "LCeq", "LZeq", "LAFmax", "LAFmin", "LASmax", "LCpeak", "L5", "L10", "L50")
NAMES = (*_NAMES, "L90", "L95")
"""Indicators of a report, in its order."""
_COURSE_S = (60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
_MOST_POINTS = 1500


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Levels of a stretch of time."""

    start_s: int
    period_s: int
    heard_s: float
    """That has a level."""
    silent_s: float
    """In which all samples were equal, as of a dead microphone: it has no level."""
    levels: dict[str, float]
    """By indicator, unrounded; what no minute had is left out."""
    overload_s: int
    """Seconds in which something was too loud for the microphone."""
    under_range_s: int
    """Seconds so quiet that the microphone's own noise counts."""
    shares: Shares | None
    """What LAeq is made of; None where nothing was attributed."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Day, evening or night of a date."""

    level: float | None
    """None where nothing was heard."""
    heard_s: float
    period_s: float
    complete: bool
    """At least 95 % was heard."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A local date."""

    date: date
    measured: Interval
    periods: dict[Period, Part]
    """Lday, Levening and Lnight."""
    night_after: Part
    """The whole night that begins in its evening."""
    lden: float | None
    reason: str | None
    """Why there is no Lden: `too_little_heard:night`."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; levels are unrounded."""

    site: str
    device: str
    microphone: str
    from_s: int
    to_s: int
    zone: str
    """Of dates, weekdays and hours."""
    dates: int
    """How many local dates it touches, measured or not."""
    unit: str
    """`dB`, or `dBFS` where nothing was calibrated."""
    calibrations: tuple[Calibration, ...]
    """In force during the report, in the order of their first use."""
    whole: Interval
    hours_of_day: LdenConfig
    """When day, evening and night begin, and what is added to them."""
    lden: float | None
    """Of all days together: energies of each period first, then their sum."""
    days: tuple[Day, ...]
    """Local dates in which something was measured."""
    hours: tuple[Interval, ...]
    """Those of UTC in which something was measured."""
    course: tuple[Interval, ...]
    """Equal intervals, as short as a picture can show; those in which something was measured."""
    course_period_s: int
    week: tuple[tuple[float | None, ...], ...]
    """LAeq by local weekday, Monday first, and hour; None where nothing was measured."""
    events: tuple[Event, ...]
    unsynced: int
    """Minutes left out because their time was not known."""
    uncalibrated: int
    """Minutes left out because others are calibrated."""
    damaged: int
    """Rows of the store that could not be read."""


def gather(
    archive: Archive,
    site: SiteConfig,
    microphone: str,
    from_s: int,
    to_s: int,
    zone: tzinfo,
    lden: LdenConfig,
) -> Report:
    """Everything that was measured and heard within [from, to).

    Args:
        archive: The device's own record.
        site: Which device.
        microphone: Of which.
        from_s: Seconds UTC.
        to_s: Seconds UTC.
        zone: Of dates, weekdays and hours.
        lden: When day, evening and night begin.
    """
    within = (from_s * _NS, to_s * _NS)
    found = list(archive.minutes(microphone, *within))
    synced = [minute for minute in found if minute.synced]
    calibrated = [minute for minute in synced if minute.calibration is not None]
    used = calibrated or synced
    every_s = next((one for one in _COURSE_S if to_s - from_s <= one * _MOST_POINTS), _COURSE_S[-1])
    offset_db = _offset_db(used[-1]) if used else 0.0
    periods = Days(zone, lden)
    for minute in used:
        periods.add_tally(minute.start_ns, _on_scale(minute, offset_db))
    days = _days(used, zone, periods, offset_db)
    first, last = (datetime.fromtimestamp(one, tz=zone).date() for one in (from_s, to_s - 1))
    return Report(
        site=site.site,
        device=site.device,
        microphone=microphone,
        from_s=from_s,
        to_s=to_s,
        zone=str(zone),
        dates=(last - first).days + 1,
        unit="dB" if calibrated else "dBFS",
        calibrations=_calibrations(used),
        whole=_interval(used, from_s, to_s - from_s),
        hours_of_day=lden,
        lden=shifted(periods.levels(day.date for day in days).lden_dbfs, offset_db),
        days=days,
        hours=_equal(used, 0, _HOUR_S),
        course=_equal(used, from_s, every_s),
        course_period_s=every_s,
        week=_week(used, zone),
        events=tuple(event for event in archive.events(microphone, *within) if event.synced),
        unsynced=len(found) - len(synced),
        uncalibrated=len(synced) - len(used),
        damaged=archive.damaged,
    )


def rounded(report: Report) -> Report:
    """The report with levels to a tenth, as everything that is published."""
    return msgspec.structs.replace(
        report,
        whole=_rounded(report.whole),
        lden=_tenth(report.lden),
        days=tuple(map(_rounded_day, report.days)),
        hours=tuple(map(_rounded, report.hours)),
        course=tuple(map(_rounded, report.course)),
        week=tuple(tuple(map(_tenth, row)) for row in report.week),
    )


def _start_s(minute: LevelReading) -> int:
    return minute.start_ns // _NS


def _equal(minutes: Sequence[LevelReading], from_s: int, period_s: int) -> tuple[Interval, ...]:
    """Intervals of one length, counted from `from_s`."""
    found: dict[int, list[LevelReading]] = defaultdict(list)
    for minute in minutes:
        found[(_start_s(minute) - from_s) // period_s].append(minute)
    return tuple(
        _interval(found[number], from_s + number * period_s, period_s) for number in sorted(found)
    )


def _days(
    minutes: Sequence[LevelReading], zone: tzinfo, periods: Days, offset_db: float
) -> tuple[Day, ...]:
    found: dict[date, list[LevelReading]] = defaultdict(list)
    for minute in minutes:
        found[datetime.fromtimestamp(_start_s(minute), tz=zone).date()].append(minute)
    days = []
    for day in sorted(found):
        midnight_s = _midnight_s(day, zone)
        length_s = _midnight_s(day + timedelta(days=1), zone) - midnight_s
        levels = periods.levels([day])
        days.append(
            Day(
                date=day,
                measured=_interval(found[day], midnight_s, length_s),
                periods={period: _part(one, offset_db) for period, one in levels.periods.items()},
                night_after=_part(periods.night_after(day), offset_db),
                lden=shifted(levels.lden_dbfs, offset_db),
                reason=levels.reason,
            )
        )
    return tuple(days)


def _part(one: PeriodLevel, offset_db: float) -> Part:
    return Part(
        level=shifted(one.level_dbfs, offset_db),
        heard_s=one.heard_s,
        period_s=one.period_s,
        complete=one.complete,
    )


def _midnight_s(day: date, zone: tzinfo) -> int:
    return round(datetime.combine(day, time(), zone).timestamp())


def _week(minutes: Sequence[LevelReading], zone: tzinfo) -> tuple[tuple[float | None, ...], ...]:
    cells: dict[tuple[int, int], list[LevelReading]] = defaultdict(list)
    for minute in minutes:
        local = datetime.fromtimestamp(_start_s(minute), tz=zone)
        cells[local.weekday(), local.hour].append(minute)
    return tuple(
        tuple(_interval(cells[day, hour], 0, 0).levels.get("LAeq") for hour in range(24))
        for day in range(7)
    )


def _interval(readings: Sequence[LevelReading], start_s: int, period_s: int) -> Interval:
    whole, offset_db = _merged(readings)
    levels = {
        name: level_dbfs + offset_db
        for name in NAMES
        if (level_dbfs := tallies.level(whole, name)) is not None
    }
    return Interval(
        start_s=start_s,
        period_s=period_s,
        heard_s=whole.heard_us / 1e6,
        silent_s=whole.silent_us / 1e6,
        levels=levels,
        overload_s=whole.overload_s,
        under_range_s=whole.under_range_s,
        shares=shares(whole.heard, levels.get("LAeq")),
    )


def _merged(readings: Sequence[LevelReading]) -> tuple[Tally, float]:
    """What readings add up to, and what turns its dBFS into their unit.

    Where the calibration changed, the earlier ones are brought to the scale of the last.
    """
    offset_db = _offset_db(readings[-1]) if readings else 0.0
    return tallies.merge(_on_scale(one, offset_db) for one in readings), offset_db


def _on_scale(reading: LevelReading, offset_db: float) -> Tally:
    """Its tally on the full scale of a calibration with this offset."""
    by_db = _offset_db(reading) - offset_db
    return tallies.moved(reading.tally, by_db) if by_db else reading.tally


def _offset_db(reading: LevelReading) -> float:
    return reading.calibration.offset_db if reading.calibration else 0.0


def _rounded(interval: Interval) -> Interval:
    # `+ 0.0` turns -0.0 into 0.0.
    levels = {name: round(level, 1) + 0.0 for name, level in interval.levels.items()}
    found = interval.shares
    if found is not None:
        found = Shares(
            background=round(found.background, 2),
            unlabelled=round(found.unlabelled, 2),
            sources=tuple(map(_rounded_share, found.sources)),
        )
    return msgspec.structs.replace(
        interval,
        levels=levels,
        heard_s=round(interval.heard_s, 3),
        silent_s=round(interval.silent_s, 3),
        shares=found,
    )


def _rounded_share(share: Share) -> Share:
    return msgspec.structs.replace(
        share,
        share=round(share.share, 2),
        level=_tenth(share.level),
        min_share=round(share.min_share, 2),
        max_share=round(share.max_share, 2),
        laeq_without=_tenth(share.laeq_without),
    )


def _rounded_day(day: Day) -> Day:
    return msgspec.structs.replace(
        day,
        measured=_rounded(day.measured),
        periods={period: _rounded_part(one) for period, one in day.periods.items()},
        night_after=_rounded_part(day.night_after),
        lden=_tenth(day.lden),
    )


def _rounded_part(part: Part) -> Part:
    return msgspec.structs.replace(part, level=_tenth(part.level), heard_s=round(part.heard_s, 3))


def _tenth(level: float | None) -> float | None:
    return None if level is None else round(level, 1) + 0.0


def _calibrations(minutes: Sequence[LevelReading]) -> tuple[Calibration, ...]:
    found = dict.fromkeys(one.calibration for one in minutes if one.calibration is not None)
    return tuple(found)
