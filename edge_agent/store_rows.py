"""Rows of the store: what a second or a minute adds up to, and what all of a series share once.

A series is what stays the same from one reading to the next: microphone, period, indicators,
calibration, bandwidth. Of the reading itself the tally is kept, so that seconds can be merged again
after a restart, and minutes into hours and days, exactly as if they had never been stored.
"""

import zlib
from array import array
from typing import Literal, TypeAlias

import msgspec

from edge_agent.acoustics.periods import bands_of, shifted
from edge_agent.acoustics.tallies import band_levels, level
from edge_agent.energies import shares
from edge_agent.records import Calibration, Energies, Event, LevelReading, Source, Tally

Table: TypeAlias = Literal["seconds", "minutes", "events"]
TABLES: tuple[Table, ...] = ("seconds", "minutes", "events")
"""In the order in which they make way where the file is at its cap."""
SCHEMA_VERSION = 1
_READINGS = """
CREATE TABLE {table} (
  key INTEGER PRIMARY KEY, series INTEGER NOT NULL, start_s INTEGER NOT NULL,
  heard_ms INTEGER NOT NULL, flags INTEGER NOT NULL, tally BLOB NOT NULL, reasons BLOB);
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
_NS = 1_000_000_000
# For so few bytes: 12 kB to be made ready instead of 268, and none longer for it.
_WINDOW, _MEMORY = -12, 4
# What most tallies hold, so that a second's is not mostly names.
_WORDS = b"\x00\x00LAFmin\xa6LAFmax\xa6LASmax\xa6LCpeak\xa1A\xa1C\xa1Z"


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


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """A tally as it is written: numbers of any size as bytes, the histogram without a hole."""

    heard_us: int
    silent_us: int
    energies: dict[str, bytes]
    highest: dict[str, int]
    lowest: dict[str, int]
    fast_first: int
    fast: bytes
    bands: tuple[bytes, ...]
    bands_us: int
    overload_s: int
    under_range_s: int
    background: bytes
    unlabelled: bytes
    sources: dict[str, tuple[bytes, bytes, bytes, bytes]]


Found: TypeAlias = tuple[bytes, int, int, int, bytes, bytes | None]
"""What a query for `READING` gives."""
READING = "series.text, start_s, heard_ms, flags, tally, reasons"


def reading_row(reading: LevelReading) -> Row:
    """A reading of a second or a minute."""
    table = "seconds" if reading.period_s == 1 else "minutes"
    series = Series(
        microphone=reading.microphone,
        period_s=reading.period_s,
        names=tuple(reading.values),
        bandwidth_hz=reading.bandwidth_hz,
        calibration=reading.calibration,
    )
    flags = (
        _OVERLOAD * reading.overload | _UNDER_RANGE * reading.under_range | _SYNCED * reading.synced
    )
    statement = (
        f"INSERT INTO {table} (series, start_s, heard_ms, flags, tally, reasons) "  # noqa: S608
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (series, start_s) DO UPDATE SET "
        "heard_ms = excluded.heard_ms, flags = excluded.flags, tally = excluded.tally, "
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
            _packed(reading.tally),
            msgspec.json.encode(reading.reasons) if reading.reasons else None,
        ),
    )


def to_reading(found: Found) -> LevelReading:
    """The reading of a query's answer; it has no id, and its levels are to .005 dB.

    Raises:
        msgspec.MsgspecError, zlib.error: The row is damaged.
    """
    text, start_s, heard_ms, flags, packed, reasons = found
    series = msgspec.json.decode(text, type=Series)
    tally = _unpacked(packed)
    offset_db = series.calibration.offset_db if series.calibration else 0.0
    values = {
        name: shifted(level(tally, name.removesuffix("_dbfs")), offset_db) for name in series.names
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
        bands=bands_of(band_levels(tally), offset_db),
        shares=shares(tally.heard, shifted(level(tally, "LAeq"), offset_db)),
        tally=tally,
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


def _packed(tally: Tally) -> bytes:
    first, last = min(tally.fast, default=0), max(tally.fast, default=-1)
    counts = array("H", (tally.fast.get(level, 0) for level in range(first, last + 1)))
    packed = _Packed(
        heard_us=tally.heard_us,
        silent_us=tally.silent_us,
        energies={weight: _to_bytes(amount) for weight, amount in tally.energies.items()},
        highest=tally.highest,
        lowest=tally.lowest,
        fast_first=first,
        fast=counts.tobytes(),
        bands=tuple(map(_to_bytes, tally.bands)),
        bands_us=tally.bands_us,
        overload_s=tally.overload_s,
        under_range_s=tally.under_range_s,
        background=_to_bytes(tally.heard.background),
        unlabelled=_to_bytes(tally.heard.unlabelled),
        sources={
            label: (
                _to_bytes(source.part),
                _to_bytes(source.alone),
                _to_bytes(source.heard),
                _to_bytes(source.stationary),
            )
            for label, source in tally.heard.sources.items()
        },
    )
    squeeze = zlib.compressobj(wbits=_WINDOW, memLevel=_MEMORY, zdict=_WORDS)
    return squeeze.compress(msgspec.msgpack.encode(packed)) + squeeze.flush()


def _unpacked(data: bytes) -> Tally:
    packed = msgspec.msgpack.decode(
        zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_WORDS).decompress(data), type=_Packed
    )
    counts = array("H", packed.fast)
    sources = {
        label: Source(
            part=_number(part), alone=_number(alone), heard=_number(heard), stationary=_number(hum)
        )
        for label, (part, alone, heard, hum) in packed.sources.items()
    }
    background, unlabelled = _number(packed.background), _number(packed.unlabelled)
    total = background + unlabelled + sum(source.part for source in sources.values())
    return Tally(
        heard_us=packed.heard_us,
        silent_us=packed.silent_us,
        energies={weight: _number(amount) for weight, amount in packed.energies.items()},
        highest=packed.highest,
        lowest=packed.lowest,
        fast={packed.fast_first + n: count for n, count in enumerate(counts) if count},
        bands=tuple(map(_number, packed.bands)),
        bands_us=packed.bands_us,
        overload_s=packed.overload_s,
        under_range_s=packed.under_range_s,
        heard=Energies(total=total, background=background, unlabelled=unlabelled, sources=sources),
    )


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _to_bytes(amount: int) -> bytes:
    return amount.to_bytes(-(-amount.bit_length() // 8), "little")
