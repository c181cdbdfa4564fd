"""What the device's SQLite files have in common: how they are opened, and told to be damaged."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

BUSY_S = 0.5
"""How long to wait for someone else's lock; the sound waits with us."""
KEPT_DAMAGED_FILES = 3
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def connect(
    path: Path | str, schema: str, version: int, *, check: bool = True
) -> sqlite3.Connection:
    """The database with a write-ahead log, made if it is not there.

    Args:
        path: Of the file, or `:memory:`.
        schema: The statements that make its tables.
        version: Of the schema; noted in the file.
        check: Read the whole file for damage first: seconds for a hundred megabytes on a card.

    Raises:
        sqlite3.DatabaseError: It is damaged, of another version, or the disk refuses.
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
        if check and connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise damage("quick_check failed")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = _count_tables(connection)
        if (found, tables) == (0, 0):
            # In one transaction: a cut of power leaves all of it or nothing.
            connection.executescript(f"BEGIN; {schema} PRAGMA user_version={version}; COMMIT;")
        elif found != version:
            raise damage(f"schema {found}, this agent writes {version}")
        elif tables != schema.count("CREATE TABLE"):
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


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the database itself is broken, and not the disk or the moment."""
    # Errors of Python's own module, such as a closed connection, have no name.
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGE)


def is_full(error: sqlite3.DatabaseError) -> bool:
    """Whether the disk has no more room."""
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL")


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


def _count_tables(connection: sqlite3.Connection) -> int:
    query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return int(connection.execute(query).fetchone()[0])
