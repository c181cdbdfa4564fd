"""The outbox on the disk: one SQLite database, and what to do when disk or database fails.

WAL with `synchronous=FULL` for what must outlast a cut of power the moment after (alerts, events),
NORMAL for levels, which may lose their last batch. Nothing that the disk does ends the agent:

- **Damage**, found at any statement: the files are moved to `set-aside/`, what can still be read of
  them is copied, a new database begins.
- **A full disk**: the ballast is given up, so that what matters most can still be written.
- **A disk that takes no writes**, or cannot even be read: `writable` is false until `try_again`
  has found it mended. Where there was no database at the start, one in memory stands in: empty,
  and never written to.
"""

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edge_agent.ballast import Ballast
from edge_agent.database import is_damage, is_full, move_aside, transaction
from edge_agent.outbox_damage import Salvaged, salvage
from edge_agent.outbox_database import (
    insert,
    note_open,
    open_database,
    read_open,
    taken_over,
)
from edge_agent.outbox_rows import COLUMNS, PRIORITY, StoredRow, to_row
from edge_agent.records import Alert, Event, Kind, Message
from edge_agent.statefolder import lock_folder, make_folder, takes_files

T = TypeVar("T")

KEPT_SET_ASIDE_ROWS = 1000
_NAME = "outbox.db"
_BALLAST = "ballast"

_log = logging.getLogger(__name__)


class OutboxFile:
    """The database, or one in memory that holds nothing beyond the process.

    Args:
        folder: Holds `outbox.db`, the ballast and `set-aside/`; None for memory.

    Raises:
        StoreError: The folder cannot be made, or another process uses it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.damaged = 0
        self.writable = True
        self._folder = folder
        self._replaced = False
        self._standing_in = False
        self._never_opened = False
        self._pending_open: dict[str, _Told] = {}
        self._restored: list[Alert | Event] = []
        self._rest = Salvaged()
        self._lock: int | None = None
        self._ballast: Ballast | None = None
        if folder is not None:
            make_folder(folder)
            self._lock = lock_folder(folder)
            self._ballast = Ballast(folder / _BALLAST)
        self._connection = self._first_connection()
        if self._ballast is not None and self.writable:
            self._ballast.make()

    @property
    def full(self) -> bool:
        """Whether the disk is so full that no ballast is held: only what matters is written."""
        return self.writable and self._ballast is not None and not self._ballast.held

    @property
    def sound(self) -> bool:
        """Whether there is nothing to try again."""
        return self.writable and not self.full

    def write(self, rows: Sequence[StoredRow], gone: Sequence[int], *, durable: bool) -> bool:
        """Add and delete rows in one transaction; returns whether it was committed.

        Args:
            rows: To be added.
            gone: Keys to be deleted.
            durable: It shall outlast a cut of power that follows at once.
        """
        if not rows and not gone and not self._pending_open:
            return True
        if not self.writable:
            return False
        written = self._attempt(lambda: self._commit(rows, gone, durable=durable), default=False)
        if written:
            self._pending_open.clear()
            if self.full:
                # The log gives its room back at once: there is no other.
                self.checkpoint()
        return written

    def remember(self, record: Alert | Event) -> None:
        """Note an alert or event as open, or as ended; written with the next transaction."""
        first_n = self._pending_open[record.id].first_n if record.id in self._pending_open else None
        if record.phase == "end" and first_n == 0:
            # The disk has never heard of it, and need not.
            del self._pending_open[record.id]
        else:
            first_n = record.n if first_n is None else first_n
            self._pending_open[record.id] = _Told(first_n=first_n, record=record)

    def take_left_open(self) -> list[Alert | Event]:
        """What was open when the process before this one ended; told once."""
        restored, self._restored = self._restored, []
        return restored

    def oldest(
        self, limit: int, blocked: Collection[str], hidden: Collection[int]
    ) -> list[StoredRow]:
        """The first rows in the order of delivery.

        Args:
            limit: How many at most.
            blocked: Topics to be left out.
            hidden: Keys to be left out.
        """
        marks = ",".join("?" * len(blocked))
        query = (
            f"SELECT {COLUMNS} FROM rows WHERE topic NOT IN ({marks}) "  # noqa: S608 # marks only
            "AND key NOT IN (SELECT value FROM json_each(?)) ORDER BY priority, key LIMIT ?"
        )
        return self._select(query, (*blocked, json.dumps(list(hidden)), limit))

    def oldest_of(self, kind: str, limit: int, hidden: Collection[int]) -> list[StoredRow]:
        """The oldest rows of a kind, without those whose keys are hidden."""
        query = (
            f"SELECT {COLUMNS} FROM rows WHERE kind = ? "  # noqa: S608 # a constant
            "AND key NOT IN (SELECT value FROM json_each(?)) ORDER BY key LIMIT ?"
        )
        return self._select(query, (kind, json.dumps(list(hidden)), limit))

    def first(self) -> tuple[int, int] | None:
        """Key and time of the oldest row."""
        query = "SELECT key, added_ns FROM rows ORDER BY key LIMIT 1"
        found = self._attempt(lambda: self._connection.execute(query).fetchone(), default=None)
        return None if found is None else (int(found[0]), int(found[1]))

    def totals(self, skip: Collection[int]) -> tuple[int, int]:
        """Number and counted bytes of the rows, those with the keys of `skip` left out."""
        query = "SELECT key, length(payload) + length(CAST(topic AS BLOB)) + 64 FROM rows"
        nothing: list[tuple[int, int]] = []
        found = self._attempt(lambda: self._connection.execute(query).fetchall(), default=nothing)
        sizes = [size for key, size in found if key not in skip]
        return len(sizes), sum(sizes)

    def count_by_kind(self, skip: Collection[int]) -> dict[Kind, int]:
        """How many rows of each kind there are, those with the keys of `skip` left out."""
        # By the index alone: the rows themselves may be as much as the cap allows.
        query = (
            "SELECT priority, count(*) FROM rows "
            "WHERE key NOT IN (SELECT value FROM json_each(?)) GROUP BY priority"
        )
        keys, nothing = json.dumps(list(skip)), list[tuple[int, int]]()
        found = self._attempt(
            lambda: self._connection.execute(query, (keys,)).fetchall(), default=nothing
        )
        counts = dict(found)
        return {kind: counts.get(priority, 0) for kind, priority in PRIORITY.items()}

    def last_key(self) -> int:
        """The highest key in use, 0 for none."""
        query = "SELECT ifnull(max(key), 0) FROM rows"
        return int(self._attempt(lambda: self._connection.execute(query).fetchone()[0], default=0))

    def set_aside(self, message: Message) -> None:
        """Keep a message that no broker takes; the oldest of a thousand makes room."""
        self._attempt(lambda: self._commit_set_aside(message), default=False)

    def count_set_aside(self) -> int:
        """Messages set aside, those of earlier starts too."""
        query = "SELECT count(*) FROM set_aside"
        return int(self._attempt(lambda: self._connection.execute(query).fetchone()[0], default=0))

    def take_replaced(self) -> bool:
        """Whether another database was opened since this was last asked."""
        replaced, self._replaced = self._replaced, False
        return replaced

    def checkpoint(self) -> None:
        """Bring the log into the file, and give back the log's room."""
        if not self._standing_in:
            query = "PRAGMA wal_checkpoint(TRUNCATE)"
            self._attempt(lambda: bool(self._connection.execute(query).fetchall()), default=False)

    def try_again(self) -> None:
        """Open the database anew if the disk failed, hold back room if it was full."""
        if self._folder is None:
            return
        if not self.writable and takes_files(self._folder):
            self._reopen()
        if self.writable and (self._rest.rows or self._rest.open):
            self._attempt(lambda: self._put_back(self._connection), default=None)
            self._replaced = True
        if self.full and self._ballast is not None:
            self.checkpoint()
            self._ballast.make()

    def close(self) -> None:
        """Close the database; its log goes into the file."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _commit(self, rows: Sequence[StoredRow], gone: Sequence[int], *, durable: bool) -> bool:
        if self._standing_in:
            return False
        self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        with transaction(self._connection):
            insert(self._connection, rows)
            keys = [(key,) for key in gone]
            self._connection.executemany("DELETE FROM rows WHERE key = ?", keys)
            for told in self._pending_open.values():
                note_open(self._connection, told.record)
        return True

    def _commit_set_aside(self, message: Message) -> bool:
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO set_aside (topic, payload) VALUES (?, ?)",
                (message.topic, message.payload),
            )
            self._connection.execute(
                "DELETE FROM set_aside WHERE key <= (SELECT max(key) FROM set_aside) - ?",
                (KEPT_SET_ASIDE_ROWS,),
            )
        return True

    def _select(self, query: str, values: tuple[object, ...]) -> list[StoredRow]:
        return self._attempt(
            lambda: [to_row(found) for found in self._connection.execute(query, values)], default=[]
        )

    def _attempt(self, action: Callable[[], T], default: T) -> T:
        """Do it; after damage with a new database, and not at all where the disk refuses."""
        damaged = False
        while True:
            try:
                return action()
            except sqlite3.DatabaseError as error:
                if is_damage(error) and not damaged:
                    damaged = True
                    self._replace(error)
                elif is_full(error):
                    if not self._give_up_ballast():
                        return default
                elif isinstance(error, sqlite3.OperationalError) or is_damage(error):
                    self._fail(error)
                    return default
                else:
                    raise

    def _give_up_ballast(self) -> bool:
        if self._ballast is None or not self._ballast.give_up():
            return False
        with contextlib.suppress(sqlite3.DatabaseError):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def _fail(self, error: Exception) -> None:
        if self.writable:
            _log.warning("%s/%s: %s", self._folder, _NAME, error)
        self.writable = False

    def _first_connection(self) -> sqlite3.Connection:
        if self._folder is None:
            return open_database(":memory:")
        connection = self._opened_or_anew()
        if connection is None and self._ballast is not None and self._ballast.give_up():
            # On a full disk not even the files beside the database can be made.
            connection = self._opened_or_anew()
        if connection is None:
            self._never_opened = True
            return self._stand_in()
        self._restored = read_open(connection)
        return connection

    def _opened_or_anew(self) -> sqlite3.Connection | None:
        """The database of the folder, set aside if it has to be; None where the disk refuses.

        One that can be read but not written is better than none: `writable` then says so.
        """
        assert self._folder is not None
        path = self._folder / _NAME
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                connection = open_database(path)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._set_database_aside(path, error)
                connection = open_database(path)
        except (sqlite3.DatabaseError, OSError) as error:
            self._fail(error)
            return None
        if not self._is_usable(connection):
            connection.close()
            return None
        return connection

    def _is_usable(self, connection: sqlite3.Connection) -> bool:
        """Whether it can be read at least; `writable` says whether it can be written."""
        try:
            self._put_back(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.DatabaseError as error:
            if not is_full(error):
                self._fail(error)
                return _is_read_only(error)
            if self._ballast is not None and self._ballast.give_up():
                return self._is_usable(connection)
        self.writable = True
        return True

    def _put_back(self, connection: sqlite3.Connection) -> None:
        """Write what was salvaged; it is kept until there is a database that takes it."""
        # Also where there is nothing to be written: a transaction shows whether it could be.
        with transaction(connection):
            insert(connection, self._rest.rows)
            for record in self._rest.open:
                note_open(connection, record)
        self._rest = Salvaged()

    def _set_database_aside(self, path: Path, error: Exception) -> None:
        moved = move_aside(path)
        self.damaged += 1
        self._rest = salvage(moved)
        count = len(self._rest.rows)
        _log.warning("%s: %s; moved to %s, %d rows recovered", path, error, moved.parent, count)

    def _replace(self, error: Exception) -> None:
        """Out of damage that a statement met: set aside, begin anew."""
        assert self._folder is not None
        self._connection.close()
        try:
            self._set_database_aside(self._folder / _NAME, error)
        except OSError as refused:
            self._fail(refused)
        self._connection = self._opened_or_anew() or self._stand_in()
        self._replaced = True

    def _stand_in(self) -> sqlite3.Connection:
        self._standing_in = True
        self.writable = False
        return open_database(":memory:")

    def _reopen(self) -> None:
        # Closed first: a connection that goes away removes the log by its name, whosever it is.
        self._connection.close()
        self._standing_in = False
        connection = self._opened_or_anew()
        if connection is not None and self._never_opened:
            try:
                self._restored += taken_over(connection)
                self._never_opened = False
            except sqlite3.DatabaseError as error:
                self._fail(error)
                connection.close()
                connection = None
        self._connection = connection or self._stand_in()
        self._replaced = True


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is not noted in the database yet."""

    first_n: int
    """Of the first of its messages that is not noted."""
    record: Alert | Event


def _is_read_only(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY")
