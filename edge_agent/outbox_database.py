"""The statements of the outbox's database."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edge_agent.database import connect, transaction
from edge_agent.outbox_rows import SCHEMA, SCHEMA_VERSION, StoredRow, to_record, to_values
from edge_agent.records import Alert, Event


def open_database(path: Path | str) -> sqlite3.Connection:
    """The database, made if it is not there.

    Raises:
        sqlite3.DatabaseError: It is damaged, or the disk refuses.
    """
    return connect(path, SCHEMA, SCHEMA_VERSION)


def insert(connection: sqlite3.Connection, rows: Iterable[StoredRow]) -> None:
    """Add rows; one with the same key is replaced."""
    connection.executemany(
        "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [to_values(row) for row in rows],
    )


def note_open(connection: sqlite3.Connection, record: Alert | Event) -> None:
    """Note it as open, or strike it out if it has ended."""
    if record.phase == "end":
        connection.execute("DELETE FROM open WHERE id = ?", (record.id,))
        return
    kind = "alert" if isinstance(record, Alert) else "event"
    connection.execute(
        "INSERT OR REPLACE INTO open VALUES (?, ?, ?)",
        (record.id, kind, msgspec.json.encode(record)),
    )


def read_open(connection: sqlite3.Connection) -> list[Alert | Event]:
    """What is noted as open, as far as it can be read."""
    records = []
    for kind, record in connection.execute("SELECT kind, record FROM open ORDER BY rowid"):
        with contextlib.suppress(msgspec.MsgspecError, TypeError):
            records.append(to_record(kind, record))
    return records


def taken_over(connection: sqlite3.Connection) -> list[Alert | Event]:
    """Make room for the keys of a start that counted from 1 before it saw this database.

    Returns:
        What was left open in it.
    """
    found = connection.execute("SELECT min(key), max(key) FROM rows").fetchone()
    lowest, highest = found
    if highest is not None and highest > 0:
        # By more than they span, so that no key meets another on its way.
        shift = max(highest, highest - lowest + 1)
        with transaction(connection):
            connection.execute("UPDATE rows SET key = key - ?", (shift,))
    return read_open(connection)
