"""How instants, numbers and the parts of a reading are written in payloads."""

import math
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_agent.payloads import BandsPayload, CalibrationPayload, SharePayload
from edge_agent.records import Calibration, LevelReading, Message, Stamp

T = TypeVar("T")


def period_name(period_s: int) -> str:
    """As a topic has it: `1s`, `15m`, `1h`."""
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if period_s % unit_s == 0:
            return f"{period_s // unit_s}{letter}"
    return f"{period_s}s"


def share_payloads(record: LevelReading) -> tuple[SharePayload, ...] | UnsetType:
    """Whose energy a reading was, where that was asked for."""
    if record.shares is None:
        return UNSET
    calibrated = record.calibration is not None
    told = []
    for one in record.shares.sources:
        mean, without = level_or_none(one.level), level_or_none(one.laeq_without)
        told.append(
            SharePayload(
                label=one.label,
                share=rounded(one.share, 2),
                level=mean if calibrated else UNSET,
                level_dbfs=UNSET if calibrated else mean,
                min_share=rounded(one.min_share, 2),
                max_share=rounded(one.max_share, 2),
                laeq_without=without if calibrated else UNSET,
                laeq_without_dbfs=UNSET if calibrated else without,
                stationary=one.stationary,
            )
        )
    return tuple(told)


def calibration_payload(calibration: Calibration | None) -> CalibrationPayload:
    """The calibration in force; None: there is none, and it says so."""
    if calibration is None:
        return CalibrationPayload(offset_db=None, date=None, source="none")
    return CalibrationPayload(
        offset_db=rounded(calibration.offset_db, 2),
        date=calibration.date,
        source=calibration.source,
    )


def bands_payload(record: LevelReading) -> BandsPayload | UnsetType:
    """A reading's third octaves, where they are measured."""
    if record.bands is None:
        return UNSET
    levels = tuple(map(level_or_none, record.bands.levels))
    if record.calibration is None:
        return BandsPayload(hz=record.bands.hz, lzeq_dbfs=levels)
    return BandsPayload(hz=record.bands.hz, lzeq=levels)


def up_ms(synced: bool, stamp: Stamp) -> int | UnsetType:
    """Milliseconds since the start, where the clock cannot be believed."""
    return UNSET if synced else stamp.up_ms


def rfc3339(utc_ns: int) -> str:
    """UTC to the millisecond, as every message has it."""
    # The nearest millisecond: a start that arithmetic left a nanosecond early keeps its name.
    milliseconds = (utc_ns + 500_000) // 1_000_000
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_or_none(utc_ns: int | None) -> str | None:
    """The same of an instant that may not have come yet."""
    return None if utc_ns is None else rfc3339(utc_ns)


def level_or_none(value: float | None) -> float | None:
    """DB to a tenth; None for what is no number."""
    return None if value is None or not math.isfinite(value) else rounded(value, 1)


def rounded(value: float, digits: int) -> float:
    """To so many digits, without a negative zero."""
    # `+ 0.0` does the latter.
    return round(float(value), digits) + 0.0


def rounded_or_none(value: float | None, digits: int) -> float | None:
    """The same of a value that may be unknown."""
    return None if value is None else rounded(value, digits)


def given(value: T | None) -> T | UnsetType:
    """What is None is left out of the payload."""
    return UNSET if value is None else value


class _Line(Struct, frozen=True, kw_only=True):
    topic: str
    qos: int
    retain: bool
    payload: msgspec.Raw


def json_line(message: Message) -> str:
    """A message as `--json` prints it, without the line's end."""
    line = _Line(
        topic=message.topic,
        qos=message.qos,
        retain=message.retain,
        payload=msgspec.Raw(message.payload),
    )
    return msgspec.json.encode(line).decode()
