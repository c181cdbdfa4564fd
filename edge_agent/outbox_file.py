"""The outbox on the disk: one SQLite database, and what to do when it is damaged.

WAL with `synchronous=FULL` for what must outlast a cut of power the moment after (alerts, events),
NORMAL for levels, which may lose their last batch. A random overwrite inside a payload passes
SQLite's own check, so each row carries a crc32. Damage found at any statement ends the same way:
the files are moved to `set-aside/`, what can still be read of them is copied, a new one begins.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edge_agent.errors import StoreError
from edge_agent.records import Alert, Event, Kind, Message

T = TypeVar("T")

SCHEMA_VERSION = 1
KEPT_SET_ASIDE_ROWS = 1000
KEPT_DAMAGED_FILES = 3
_NAME = "outbox.db"
_LOCK = "lock"
_PRIORITY: dict[Kind, int] = {"alert": 0, "event": 1, "level": 2}
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_SCHEMA = """
CREATE TABLE rows (
  key INTEGER PRIMARY KEY, priority INTEGER NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
  topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
  added_ns INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX by_priority ON rows (priority, key);
CREATE TABLE set_aside (key INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE open (id TEXT PRIMARY KEY, kind TEXT NOT NULL, record BLOB NOT NULL);
"""
_COLUMNS = "key, id, kind, topic, payload, qos, retain, added_ns, crc"


class StoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it stands in the database."""

    key: int
    message: Message
    added_ns: int
    """Monotonic time of the start that added it."""
    intact: bool = True


class OutboxFile:
    """The database, or one in memory that holds nothing beyond the process.

    Args:
        folder: Holds `outbox.db` and `set-aside/`; None for memory.

    Raises:
        StoreError: The folder cannot be made, or another process uses it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.damaged = 0
        self.writable = True
        self._folder = folder
        self._replaced = False
        self._pending_open: list[Alert | Event] = []
        self._lock: int | None = None
        if folder is not None:
            _make(folder)
            self._lock = _locked(folder)
        self._connection = self._open()
        self._restored = self._read_open()

    def write(self, rows: Sequence[StoredRow], gone: Sequence[int], *, durable: bool) -> bool:
        """Add and delete rows in one transaction; returns whether it was committed.

        Args:
            rows: To be added.
            gone: Keys to be deleted.
            durable: It shall outlast a cut of power that follows at once.
        """
        if not rows and not gone and not self._pending_open:
            return True
        written = self._attempt(lambda: self._commit(rows, gone, durable=durable), default=False)
        if written:
            self._pending_open.clear()
        self.writable = written
        return written

    def remember(self, record: Alert | Event) -> None:
        """Note an alert or event as open, or as ended; written with the next transaction."""
        self._pending_open.append(record)

    def left_open(self) -> list[Alert | Event]:
        """What was open when the database was last closed, or the process died."""
        return list(self._restored)

    def oldest(self, limit: int, blocked: Collection[str]) -> list[StoredRow]:
        """The first rows in the order of delivery, those of blocked topics left out."""
        marks = ",".join("?" * len(blocked))
        query = (
            f"SELECT {_COLUMNS} FROM rows WHERE topic NOT IN ({marks}) "  # noqa: S608 # marks only
            "ORDER BY priority, key LIMIT ?"
        )
        return self._select(query, (*blocked, limit))

    def oldest_of(self, kind: str, limit: int) -> list[StoredRow]:
        """The oldest rows of a kind."""
        query = f"SELECT {_COLUMNS} FROM rows WHERE kind = ? ORDER BY key LIMIT ?"  # noqa: S608 # a constant
        return self._select(query, (kind, limit))

    def first(self) -> tuple[int, int] | None:
        """Key and time of the oldest row."""
        query = "SELECT key, added_ns FROM rows ORDER BY key LIMIT 1"
        found = self._attempt(lambda: self._connection.execute(query).fetchone(), default=None)
        return None if found is None else (int(found[0]), int(found[1]))

    def totals(self, skip: Collection[int] = ()) -> tuple[int, int]:
        """Number and counted bytes of the rows, those with the keys of `skip` left out."""
        query = "SELECT key, length(payload) + length(CAST(topic AS BLOB)) + 64 FROM rows"
        sizes = [size for key, size in self._connection.execute(query) if key not in skip]
        return len(sizes), sum(sizes)

    def last_key(self) -> int:
        """The highest key in use, 0 for none."""
        return int(self._connection.execute("SELECT ifnull(max(key), 0) FROM rows").fetchone()[0])

    def set_aside(self, message: Message) -> None:
        """Keep a message that no broker takes; the oldest of a thousand makes room."""
        self._attempt(lambda: self._commit_set_aside(message), default=False)

    def count_set_aside(self) -> int:
        """Messages set aside, those of earlier starts too."""
        query = "SELECT count(*) FROM set_aside"
        return int(self._attempt(lambda: self._connection.execute(query).fetchone()[0], default=0))

    def take_replaced(self) -> bool:
        """Whether the database was replaced since this was last asked."""
        replaced, self._replaced = self._replaced, False
        return replaced

    def close(self) -> None:
        """Close the database; its log goes into the file."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _commit(self, rows: Sequence[StoredRow], gone: Sequence[int], *, durable: bool) -> bool:
        self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        with self._transaction():
            self._insert(rows)
            keys = [(key,) for key in gone]
            self._connection.executemany("DELETE FROM rows WHERE key = ?", keys)
            for record in self._pending_open:
                self._note_open(record)
        return True

    def _insert(self, rows: Iterable[StoredRow]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_values(row) for row in rows],
        )

    def _note_open(self, record: Alert | Event) -> None:
        if record.phase == "end":
            self._connection.execute("DELETE FROM open WHERE id = ?", (record.id,))
            return
        kind = "alert" if isinstance(record, Alert) else "event"
        self._connection.execute(
            "INSERT OR REPLACE INTO open VALUES (?, ?, ?)",
            (record.id, kind, msgspec.json.encode(record)),
        )

    def _commit_set_aside(self, message: Message) -> bool:
        with self._transaction():
            self._connection.execute(
                "INSERT INTO set_aside (topic, payload) VALUES (?, ?)",
                (message.topic, message.payload),
            )
            self._connection.execute(
                "DELETE FROM set_aside WHERE key <= (SELECT max(key) FROM set_aside) - ?",
                (KEPT_SET_ASIDE_ROWS,),
            )
        return True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            # A failed COMMIT, too, may leave the transaction open.
            if self._connection.in_transaction:
                self._connection.rollback()

    def _select(self, query: str, values: tuple[object, ...]) -> list[StoredRow]:
        return self._attempt(
            lambda: [_row(found) for found in self._connection.execute(query, values)], default=[]
        )

    def _attempt(self, action: Callable[[], T], default: T) -> T:
        """Do it; after damage with a new database, and not at all where the disk refuses."""
        try:
            return action()
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                self._replace()
                return action()
            if isinstance(error, sqlite3.OperationalError):
                return default
            raise

    def _open(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error) or self._folder is None:
                raise StoreError(
                    f"{self._folder}/{_NAME}: {error}",
                    hint="Make the folder writable for the agent, or set `state_dir` elsewhere.",
                ) from error
        return self._begin_anew()

    def _opened(self) -> sqlite3.Connection:
        path = ":memory:" if self._folder is None else str(self._folder / _NAME)
        # Opened by whoever starts the worker, then used by the worker's thread alone.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA journal_size_limit=4194304")
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise _damage("quick_check failed")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise _damage(f"schema {version}, this agent writes {SCHEMA_VERSION}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except BaseException:
            connection.close()
            raise
        return connection

    def _replace(self) -> None:
        self._connection.close()
        self._connection = self._begin_anew()
        self._replaced = True

    def _begin_anew(self) -> sqlite3.Connection:
        self.damaged += 1
        rows: list[StoredRow] = []
        if self._folder is not None:
            rows = _salvage(_move_aside(self._folder))
        connection = self._connection = self._opened()
        with self._transaction():
            self._insert(rows)
        return connection

    def _read_open(self) -> list[Alert | Event]:
        found = self._connection.execute("SELECT kind, record FROM open ORDER BY rowid").fetchall()
        return [_record(kind, record) for kind, record in found]


def _locked(folder: Path) -> int | None:
    """The descriptor that keeps the folder ours; the kernel lets go of it when the process dies."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        # Where this cannot be written, nothing can: `writable` tells it.
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StoreError(
            f"{folder}: is in use by another agent",
            hint="Stop that one first, or give this one a `state_dir` of its own.",
        ) from error
    except OSError:
        # Some network file systems have no locks: two agents there are not told apart.
        os.close(lock)
        return None
    return lock


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: {error.strerror}",
            hint="Make the folder for the agent, or set `state_dir` to one that it may write.",
        ) from error


def _move_aside(folder: Path) -> Path:
    """Move the database with its log; only the newest damaged ones are kept."""
    aside = folder / "set-aside"
    aside.mkdir(exist_ok=True)
    earlier = sorted(aside.iterdir())
    for old in earlier[: max(0, len(earlier) - KEPT_DAMAGED_FILES + 1)]:
        shutil.rmtree(old)
    number = int(earlier[-1].name) + 1 if earlier else 1
    target = aside / f"{number:06d}"
    target.mkdir()
    for suffix in ("", "-wal", "-shm"):
        source = folder / (_NAME + suffix)
        if source.exists():
            source.rename(target / source.name)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return target / _NAME


def _salvage(path: Path) -> list[StoredRow]:
    """What can still be read of a damaged database, up to its first error."""
    rows: list[StoredRow] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            query = f"SELECT {_COLUMNS} FROM rows ORDER BY key"  # noqa: S608 # a constant
            for found in connection.execute(query):
                row = _row(found)
                if row.intact:
                    rows.append(row)
        finally:
            connection.close()
    return rows


def _record(kind: str, record: bytes) -> Alert | Event:
    if kind == "alert":
        return msgspec.json.decode(record, type=Alert)
    return msgspec.json.decode(record, type=Event)


def _values(row: StoredRow) -> tuple[object, ...]:
    message = row.message
    return (
        row.key,
        _PRIORITY[message.kind],
        message.id,
        message.kind,
        message.topic,
        message.payload,
        message.qos,
        message.retain,
        row.added_ns,
        _crc(message),
    )


def _row(found: tuple[int, str, Kind, str, bytes, int, int, int, int]) -> StoredRow:
    key, message_id, kind, topic, payload, qos, retain, added_ns, crc = found
    message = Message(
        id=message_id,
        kind=kind,
        topic=topic,
        payload=payload,
        qos=1 if qos else 0,
        retain=bool(retain),
    )
    return StoredRow(key=key, message=message, added_ns=added_ns, intact=_crc(message) == crc)


def _crc(message: Message) -> int:
    # A damaged database may hand out text for a blob.
    text = f"{message.id} {message.kind} {message.topic} ".encode()
    payload = message.payload if isinstance(message.payload, bytes) else b""
    return zlib.crc32(payload, zlib.crc32(text))


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # Errors of Python's own module, such as a closed connection, have no name.
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGE)


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error
