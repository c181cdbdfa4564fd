"""A row of the outbox as the database holds it.

A random overwrite inside a payload passes SQLite's own check, so each row carries a crc32.
"""

import zlib
from typing import TypeAlias

import msgspec

from edge_agent.records import Alert, Event, Kind, Message

PRIORITY: dict[Kind, int] = {"alert": 0, "event": 1, "level": 2}
"""The order in which a backlog leaves."""
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE rows (
  key INTEGER PRIMARY KEY, priority INTEGER NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
  topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
  added_ns INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX by_priority ON rows (priority, key);
CREATE TABLE set_aside (key INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE open (id TEXT PRIMARY KEY, kind TEXT NOT NULL, record BLOB NOT NULL);
"""
COLUMNS = "key, id, kind, topic, payload, qos, retain, added_ns, crc"

Found: TypeAlias = tuple[int, str, Kind, str, bytes, int, int, int, int]
"""What a query for `COLUMNS` gives."""


class StoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it stands in the database."""

    key: int
    message: Message
    added_ns: int
    """Monotonic time of the start that added it."""
    intact: bool = True


def to_values(row: StoredRow) -> tuple[object, ...]:
    """What is inserted into `rows`."""
    message = row.message
    return (
        row.key,
        PRIORITY[message.kind],
        message.id,
        message.kind,
        message.topic,
        message.payload,
        message.qos,
        message.retain,
        row.added_ns,
        _crc(message),
    )


def to_row(found: Found) -> StoredRow:
    """The row of a query's answer; it says itself whether it is intact."""
    # A damaged database may hand out anything for anything.
    key, message_id, kind, topic, payload, qos, retain, added_ns, crc = found
    message = Message(
        id=message_id,
        kind=kind,
        topic=str(topic),
        payload=payload if isinstance(payload, bytes) else b"",
        qos=1 if qos else 0,
        retain=bool(retain),
    )
    return StoredRow(key=key, message=message, added_ns=added_ns, intact=_crc(message) == crc)


def to_record(kind: str, record: bytes) -> Alert | Event:
    """What was open when it was last told."""
    if kind == "alert":
        return msgspec.json.decode(record, type=Alert)
    return msgspec.json.decode(record, type=Event)


def _crc(message: Message) -> int:
    text = f"{message.id} {message.kind} {message.topic} ".encode(errors="replace")
    return zlib.crc32(message.payload, zlib.crc32(text))
