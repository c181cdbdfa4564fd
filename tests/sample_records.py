"""Records and messages that several tests start from."""

import msgspec

from edge_agent.acoustics import tallies
from edge_agent.config import AlertConfig, SiteConfig
from edge_agent.ids import Ids
from edge_agent.messages import Encoder
from edge_agent.records import Alert, Event, LevelReading, Message, Stamp

SECOND_NS = 1_000_000_000
SHA256 = "3f9c1b7a" + "0" * 56


def encoder(boot: str = "dda5906b84a43200", **site: str) -> Encoder:
    rules = {"emergency": AlertConfig(labels=("siren",), min_score=0.6)}
    return Encoder(msgspec.convert(site, SiteConfig), "earshot", rules, "street", SHA256, boot)


def stamp(seconds: float = 1.0, *, synced: bool = False) -> Stamp:
    return Stamp(utc_ns=round(seconds * 1e9), synced=synced, up_ms=round(seconds * 1e3))


def reading(second: int = 0, reading_id: str = "", laeq_dbfs: float | None = -38.2) -> LevelReading:
    return LevelReading(
        id=reading_id or Ids(7).new(second * SECOND_NS),
        microphone="mic",
        period_s=1,
        start_ns=second * SECOND_NS,
        made_ns=(second + 1) * SECOND_NS,
        values={"LAeq_dbfs": laeq_dbfs, "LAFmax_dbfs": -35.9},
        reasons={},
        heard_s=1.0,
        bandwidth_hz=24_000.0,
        overload=False,
        under_range=False,
        calibration=None,
        synced=False,
    )


def tallied(one: LevelReading, **levels_dbfs: float) -> LevelReading:
    """The reading with the tally of these levels, and of its own where it has no calibration."""
    named = {
        name.removesuffix("_dbfs"): level
        for name, level in one.values.items()
        if level is not None and one.calibration is None
    }
    heard_us = round(one.heard_s * 1e6)
    tally = tallies.of_second(
        named | levels_dbfs, heard_us, {}, (), overload=one.overload, under_range=False
    )
    return msgspec.structs.replace(one, tally=tally)


def event(event_id: str = "00000000-09b0-7f1a-807e-9bb54c5722ce") -> Event:
    """The start of the siren in docs/mqtt.md's example."""
    return Event(
        id=event_id,
        n=0,
        phase="start",
        microphone="mic",
        label="siren",
        start_ns=2_480_000_000,
        end_ns=None,
        made_ns=3_440_000_000,
        synced=False,
        score=0.91,
        score_max=0.91,
        duration_s=0.96,
        levels={"LAeq_dbfs": -33.1, "LAFmax_dbfs": -30.4},
        end_reason=None,
    )


def alert(alert_id: str = "00000000-09b0-7fd0-8a33-a538eca7e905") -> Alert:
    return Alert(
        id=alert_id,
        n=0,
        phase="start",
        rule="emergency",
        severity="warning",
        microphone="mic",
        start_ns=2_480_000_000,
        end_ns=None,
        made_ns=3_440_000_000,
        synced=False,
        duration_s=0.96,
        labels=("siren",),
        indicator=None,
        value=0.91,
        limit=0.6,
        events=("00000000-09b0-7f1a-807e-9bb54c5722ce",),
        levels={"LAeq_dbfs": -33.1, "LAFmax_dbfs": -30.4},
        end_reason=None,
    )


def ended(record: Alert, made_s: float = 9.22) -> Alert:
    return msgspec.structs.replace(
        record,
        n=record.n + 1,
        phase="end",
        end_ns=8_740_000_000,
        made_ns=round(made_s * 1e9),
        duration_s=6.26,
        end_reason="quiet",
    )


def level_messages(count: int, ids: Ids | None = None) -> list[Message]:
    """Readings of successive seconds with ids of their own."""
    ids = ids or Ids(7)
    sends = encoder()
    return [
        message
        for second in range(count)
        for message in sends.encode(reading(second, ids.new(second * SECOND_NS)), stamp(second + 1))
    ]
