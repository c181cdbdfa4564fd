"""What to do with a damaged database: move it aside, and read of it what can be read."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import msgspec

from edge_agent.outbox_rows import COLUMNS, PRIORITY, StoredRow, to_record, to_row
from edge_agent.records import Alert, Event

KEPT_DAMAGED_FILES = 3
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class Salvaged(msgspec.Struct, frozen=True, kw_only=True):
    """What could still be read."""

    rows: tuple[StoredRow, ...] = ()
    open: tuple[Alert | Event, ...] = ()


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the database itself is broken, and not the disk or the moment."""
    # Errors of Python's own module, such as a closed connection, have no name.
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGE)


def damage(text: str) -> sqlite3.DatabaseError:
    """An error as SQLite raises it, for what only we can see."""
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def move_aside(database: Path) -> Path:
    """Move the database with its log; only the newest damaged ones are kept.

    Returns:
        Where the database is now.
    """
    folder = database.parent
    aside = folder / "set-aside"
    aside.mkdir(exist_ok=True)
    earlier = sorted(aside.iterdir())
    for old in earlier[: max(0, len(earlier) - KEPT_DAMAGED_FILES + 1)]:
        shutil.rmtree(old)
    number = int(earlier[-1].name) + 1 if earlier else 1
    target = aside / f"{number:06d}"
    target.mkdir()
    for suffix in ("", "-wal", "-shm"):
        source = folder / (database.name + suffix)
        if source.exists():
            source.rename(target / source.name)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return target / database.name


def salvage(path: Path) -> Salvaged:
    """What can still be read of a damaged database, each table up to its first error."""
    rows: list[StoredRow] = []
    found_open: list[Alert | Event] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            query = f"SELECT {COLUMNS} FROM rows ORDER BY key"  # noqa: S608 # a constant
            with contextlib.suppress(sqlite3.DatabaseError):
                for values in connection.execute(query):
                    row = to_row(values)
                    if row.intact and row.message.kind in PRIORITY:
                        rows.append(row)
            query = "SELECT kind, record FROM open ORDER BY rowid"
            with contextlib.suppress(sqlite3.DatabaseError, msgspec.MsgspecError, TypeError):
                for kind, record in connection.execute(query):
                    found_open.append(to_record(kind, record))
        finally:
            connection.close()
    return Salvaged(rows=tuple(rows), open=tuple(found_open))
