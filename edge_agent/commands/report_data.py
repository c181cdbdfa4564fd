"""What a report says, from the minutes and events of a store.

Levels are averaged as energies over the time that was heard, never as decibels. Minutes whose time
was not known are left out and counted; so are minutes without calibration where others have one,
for dB and dBFS do not mix.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

import msgspec

from edge_agent.archive import Archive
from edge_agent.records import Calibration, Event, LevelReading

_NS = 1_000_000_000
_HOUR_S = 3600
_MAXIMA = ("LAFmax", "LASmax", "LCpeak")
_MINIMA = ("LAFmin",)
_MEANS = ("LAeq", "LCeq", "LZeq")


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Levels of a stretch of time."""

    start_s: int
    period_s: int
    heard_s: float
    levels: dict[str, float]
    """By indicator, unrounded; what no minute had is left out."""
    overload_s: float
    """Of minutes in which something was too loud for the microphone."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; levels are unrounded."""

    microphone: str
    from_s: int
    to_s: int
    unit: str
    """`dB`, or `dBFS` where nothing was calibrated."""
    calibrations: tuple[Calibration, ...]
    """In force during the report, in the order of their first use."""
    whole: Interval
    hours: tuple[Interval, ...]
    """Those in which something was heard, by time."""
    minutes: tuple[Interval, ...]
    events: tuple[Event, ...]
    unsynced: int
    """Minutes left out because their time was not known."""
    uncalibrated: int
    """Minutes left out because others are calibrated."""
    damaged: int
    """Rows of the store that could not be read."""


def gather(archive: Archive, microphone: str, from_s: int, to_s: int) -> Report:
    """Everything that was measured and heard within [from, to)."""
    within = (from_s * _NS, to_s * _NS)
    found = list(archive.minutes(microphone, *within))
    synced = [minute for minute in found if minute.synced]
    calibrated = [minute for minute in synced if minute.calibration is not None]
    used = calibrated or synced
    minutes = tuple(_interval([minute], minute.start_ns // _NS, 60) for minute in used)
    return Report(
        microphone=microphone,
        from_s=from_s,
        to_s=to_s,
        unit="dB" if calibrated else "dBFS",
        calibrations=_calibrations(used),
        whole=_interval(used, from_s, to_s - from_s),
        hours=_hours(used),
        minutes=minutes,
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
        hours=tuple(map(_rounded, report.hours)),
        minutes=tuple(map(_rounded, report.minutes)),
    )


def by_weekday_and_hour(hours: Iterable[Interval], zone: tzinfo) -> list[list[float | None]]:
    """LAeq of each local hour of the week, Monday first; None where nothing was heard."""
    cells: dict[tuple[int, int], list[Interval]] = defaultdict(list)
    for hour in hours:
        local = datetime.fromtimestamp(hour.start_s, tz=zone)
        cells[local.weekday(), local.hour].append(hour)
    return [[mean_laeq(cells[day, hour]) for hour in range(24)] for day in range(7)]


def mean_laeq(intervals: Sequence[Interval]) -> float | None:
    """Their LAeq together, by energy and heard time; None where there is none."""
    known = [one for one in intervals if "LAeq" in one.levels and one.heard_s > 0]
    if not known:
        return None
    energy = math.fsum(one.heard_s * 10 ** (one.levels["LAeq"] / 10) for one in known)
    return 10 * math.log10(energy / math.fsum(one.heard_s for one in known))


def _hours(minutes: Sequence[LevelReading]) -> tuple[Interval, ...]:
    found: dict[int, list[LevelReading]] = defaultdict(list)
    for minute in minutes:
        found[minute.start_ns // _NS // _HOUR_S].append(minute)
    return tuple(_interval(found[number], number * _HOUR_S, _HOUR_S) for number in sorted(found))


def _interval(readings: Sequence[LevelReading], start_s: int, period_s: int) -> Interval:
    levels: dict[str, float] = {}
    for name in (*_MEANS, *_MAXIMA, *_MINIMA):
        # Plain names in a report; its unit says whether they are calibrated.
        known = [
            (one.heard_s, level)
            for one in readings
            if (level := one.values.get(name, one.values.get(f"{name}_dbfs"))) is not None
        ]
        if not known:
            continue
        if name in _MAXIMA:
            levels[name] = max(level for _, level in known)
        elif name in _MINIMA:
            levels[name] = min(level for _, level in known)
        else:
            energy = math.fsum(heard_s * 10 ** (level / 10) for heard_s, level in known)
            heard = math.fsum(heard_s for heard_s, _ in known)
            if heard > 0 and energy > 0:
                levels[name] = 10 * math.log10(energy / heard)
    return Interval(
        start_s=start_s,
        period_s=period_s,
        heard_s=math.fsum(one.heard_s for one in readings),
        levels=levels,
        overload_s=math.fsum(one.period_s for one in readings if one.overload),
    )


def _rounded(interval: Interval) -> Interval:
    # `+ 0.0` turns -0.0 into 0.0.
    levels = {name: round(level, 1) + 0.0 for name, level in interval.levels.items()}
    return msgspec.structs.replace(interval, levels=levels, heard_s=round(interval.heard_s, 3))


def _calibrations(minutes: Sequence[LevelReading]) -> tuple[Calibration, ...]:
    found = dict.fromkeys(one.calibration for one in minutes if one.calibration is not None)
    return tuple(found)
