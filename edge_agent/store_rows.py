"""Rows of the store: readings as hundredths of a decibel, and what all of a series share once.

A series is what stays the same from one reading to the next: microphone, period, indicators,
calibration, bandwidth. So a second of two indicators costs 40 bytes, and a week of them 24 MB.
"""

from array import array
from typing import Literal, TypeAlias

import msgspec

from edge_agent.records import Calibration, Event, LevelReading

Table: TypeAlias = Literal["seconds", "minutes", "events"]
TABLES: tuple[Table, ...] = ("seconds", "minutes", "events")
"""In the order in which they make way where the file is at its cap."""
SCHEMA_VERSION = 1
_READINGS = """
CREATE TABLE {table} (
  key INTEGER PRIMARY KEY, series INTEGER NOT NULL, start_s INTEGER NOT NULL,
  heard_ms INTEGER NOT NULL, flags INTEGER NOT NULL, levels BLOB NOT NULL, reasons BLOB);
CREATE UNIQUE INDEX {table}_by_time ON {table} (series, start_s);
"""
SCHEMA = f"""
CREATE TABLE series (key INTEGER PRIMARY KEY, text BLOB NOT NULL UNIQUE);
{_READINGS.format(table="seconds")}
{_READINGS.format(table="minutes")}
CREATE TABLE events (
  key INTEGER PRIMARY KEY, series INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
  start_ns INTEGER NOT NULL, record BLOB NOT NULL);
CREATE INDEX events_by_time ON events (start_ns);
"""
_OVERLOAD, _UNDER_RANGE, _SYNCED = 1, 2, 4
_NONE = -32768
_HUNDREDTHS = 100
_NS = 1_000_000_000


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What readings share."""

    microphone: str
    period_s: int
    names: tuple[str, ...]
    """Indicators as published."""
    bandwidth_hz: float
    calibration: Calibration | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written: a statement whose first value is the key of the series."""

    series: bytes
    statement: str
    values: tuple[object, ...]


Found: TypeAlias = tuple[bytes, int, int, int, bytes, bytes | None]
"""What a query for `READING` gives."""
READING = "series.text, start_s, heard_ms, flags, levels, reasons"


def reading_row(reading: LevelReading) -> Row:
    """A reading of a second or a minute; levels to .005 dB."""
    table = "seconds" if reading.period_s == 1 else "minutes"
    series = Series(
        microphone=reading.microphone,
        period_s=reading.period_s,
        names=tuple(reading.values),
        bandwidth_hz=reading.bandwidth_hz,
        calibration=reading.calibration,
    )
    levels = array(
        "h", (_NONE if one is None else _hundredths(one) for one in reading.values.values())
    )
    flags = (
        _OVERLOAD * reading.overload | _UNDER_RANGE * reading.under_range | _SYNCED * reading.synced
    )
    statement = (
        f"INSERT INTO {table} (series, start_s, heard_ms, flags, levels, reasons) "  # noqa: S608
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (series, start_s) DO UPDATE SET "
        "heard_ms = excluded.heard_ms, flags = excluded.flags, levels = excluded.levels, "
        "reasons = excluded.reasons "
        f"WHERE (excluded.flags & {_SYNCED}, excluded.heard_ms) > (flags & {_SYNCED}, heard_ms)"
    )
    return Row(
        series=msgspec.json.encode(series),
        statement=statement,
        values=(
            reading.start_ns // _NS,
            round(reading.heard_s * 1000),
            flags,
            levels.tobytes(),
            msgspec.json.encode(reading.reasons) if reading.reasons else None,
        ),
    )


def to_reading(found: Found) -> LevelReading:
    """The reading of a query's answer; it has no id.

    Raises:
        msgspec.MsgspecError: The row is damaged.
    """
    text, start_s, heard_ms, flags, levels, reasons = found
    series = msgspec.json.decode(text, type=Series)
    hundredths = array("h", levels)
    values = {
        name: None if one == _NONE else one / _HUNDREDTHS
        for name, one in zip(series.names, hundredths, strict=True)
    }
    return LevelReading(
        id="",
        microphone=series.microphone,
        period_s=series.period_s,
        start_ns=start_s * _NS,
        made_ns=(start_s + series.period_s) * _NS,
        values=values,
        reasons=msgspec.json.decode(reasons, type=dict[str, str]) if reasons else {},
        heard_s=heard_ms / 1000,
        bandwidth_hz=series.bandwidth_hz,
        overload=bool(flags & _OVERLOAD),
        under_range=bool(flags & _UNDER_RANGE),
        calibration=series.calibration,
        synced=bool(flags & _SYNCED),
    )


def event_row(event: Event) -> Row:
    """An event as last told; a later word of it replaces the earlier one."""
    series = Series(
        microphone=event.microphone, period_s=0, names=(), bandwidth_hz=0.0, calibration=None
    )
    return Row(
        series=msgspec.json.encode(series),
        statement=(
            "INSERT INTO events (series, id, start_ns, record) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET record = excluded.record"
        ),
        values=(event.id, event.start_ns, msgspec.json.encode(event)),
    )


def _hundredths(level_db: float) -> int:
    return max(_NONE + 1, min(-_NONE - 1, round(level_db * _HUNDREDTHS)))
