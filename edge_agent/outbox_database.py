"""The statements of the outbox's database."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from edge_agent.outbox_damage import damage
from edge_agent.outbox_rows import SCHEMA, SCHEMA_VERSION, StoredRow, to_record, to_values
from edge_agent.records import Alert, Event

BUSY_S = 0.5
"""How long to wait for someone else's lock; the sound waits with us."""


def open_database(path: Path | str) -> sqlite3.Connection:
    """The database, made if it is not there.

    Raises:
        sqlite3.DatabaseError: It is damaged, or the disk refuses.
    """
    # Opened by whoever starts the worker, then used by the worker's thread alone.
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    # What is no UTF-8 any more is for the row's crc32 to find.
    connection.text_factory = lambda text: text.decode(errors="replace")
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA journal_size_limit=4194304")
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise damage("quick_check failed")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = _count_tables(connection)
        if (version, tables) == (0, 0):
            # In one transaction: a cut of power leaves all of it or nothing.
            connection.executescript(
                f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        elif version != SCHEMA_VERSION:
            raise damage(f"schema {version}, this agent writes {SCHEMA_VERSION}")
        elif tables != 3:
            raise damage("a table is missing")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # A failed COMMIT, too, may leave the transaction open.
        if connection.in_transaction:
            connection.rollback()


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


def _count_tables(connection: sqlite3.Connection) -> int:
    query = "SELECT count(*) FROM sqlite_schema WHERE name IN ('rows', 'set_aside', 'open')"
    return int(connection.execute(query).fetchone()[0])
