"""The device's own record of what it measured and heard: seconds for days, minutes for a year.

One SQLite file beside the outbox. Readings and events are gathered in memory and written once a
minute, so a kill or a cut of power costs at most that. What is kept is counted in rows and not in
age: a clock that jumps ahead by years would else make everything old. While the disk is full or
takes no writes, new rows are dropped and counted; what is stored stays.

A second that was measured twice, as around a restart or by a clock that was set back, is kept as
the one whose time is known, and then as the one that heard more.
"""

import contextlib
import logging
import sqlite3
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config import StoreConfig
from edge_agent.database import connect, is_damage, move_aside, transaction
from edge_agent.records import Event, LevelReading, Record
from edge_agent.store_rows import SCHEMA, SCHEMA_VERSION, TABLES, Row, event_row, reading_row

COMMIT_S = 60.0
"""How long readings wait for company before they are written."""
_SECONDS_A_DAY = 86_400
_MINUTES_A_DAY = 1440
_PAGES_AT_ONCE = 1000
# The share of a table that goes at once when the file is at its cap.
_GOES = 0.02
NAME = "store.db"

_log = logging.getLogger(__name__)


class Store:
    """The file of one agent; used by one thread.

    Args:
        folder: The state folder.
        clock: Its monotonic time says when to write.
        settings: How much is kept.
        microphones: How many of them there are.
    """

    def __init__(
        self, folder: Path, clock: Clock, settings: StoreConfig, *, microphones: int = 1
    ) -> None:
        self._path = folder / NAME
        self._clock = clock
        self._max_bytes = settings.max_mb * 1e6
        self._kept = {
            "seconds": settings.seconds_days * _SECONDS_A_DAY * microphones,
            "minutes": settings.minutes_days * _MINUTES_A_DAY * microphones,
            "events": settings.minutes_days * _MINUTES_A_DAY * microphones,
        }
        self._waiting: list[LevelReading | Event] = []
        self._due_ns = clock.monotonic_ns() + round(COMMIT_S * 1e9)
        self._series: dict[bytes, int] = {}
        self.damaged = 0
        """Databases that had to be set aside since the start."""
        self.dropped = 0
        """Rows that no disk took."""
        self.writable = True
        """Whether the last write reached the disk."""
        # Opened at the first writing: nothing of it is needed to hear the first sound.
        self._connection: sqlite3.Connection | None = None

    def add(self, record: Record) -> None:
        """Note what was measured or heard; levels of other periods are made of minutes."""
        match record:
            case LevelReading(period_s=1 | 60) | Event():
                self._waiting.append(record)

    def turn(self) -> None:
        """Write what is due; to be called about once a second."""
        if self._clock.monotonic_ns() >= self._due_ns:
            self.flush()

    def flush(self) -> None:
        """Write everything that waits."""
        self._due_ns = self._clock.monotonic_ns() + round(COMMIT_S * 1e9)
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        # Not one by one as they come: what packs them has left the caches a second later.
        if not self._written([_row(record) for record in waiting]):
            self.dropped += len(waiting)

    def close(self) -> None:
        """Write everything that waits and close the file."""
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _written(self, rows: list[Row]) -> bool:
        for _ in range(2):
            if self._connection is None:
                self._connection = self._opened()
            if self._connection is None:
                return False
            try:
                with transaction(self._connection):
                    for row in rows:
                        self._insert(self._connection, row)
                    self._forget_oldest(self._connection)
            except sqlite3.DatabaseError as error:
                self._series.clear()
                if not is_damage(error):
                    self._fail(error)
                    return False
                self._connection.close()
                self._connection = None
                self._set_aside(error)
            else:
                self.writable = True
                return True
        return False

    def _insert(self, connection: sqlite3.Connection, row: Row) -> None:
        series = self._series.get(row.series)
        if series is None:
            connection.execute("INSERT OR IGNORE INTO series (text) VALUES (?)", (row.series,))
            query = "SELECT key FROM series WHERE text = ?"
            series = int(connection.execute(query, (row.series,)).fetchone()[0])
            self._series[row.series] = series
        connection.execute(row.statement, (series, *row.values))

    def _forget_oldest(self, connection: sqlite3.Connection) -> None:
        for table, kept in self._kept.items():
            self._forget(connection, table, self._count(connection, table) - kept)
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
        if pages * page_bytes > self._max_bytes:
            for table in TABLES:
                count = self._count(connection, table)
                if count:
                    self._forget(connection, table, max(1, round(_GOES * count)))
                    break
            connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()

    def _count(self, connection: sqlite3.Connection, table: str) -> int:
        # Keys are given one by one and go from the oldest, so that their span is their number.
        query = f"SELECT ifnull(max(key) - min(key) + 1, 0) FROM {table}"  # noqa: S608 # a constant
        return int(connection.execute(query).fetchone()[0])

    def _forget(self, connection: sqlite3.Connection, table: str, count: int) -> None:
        if count > 0:
            query = f"DELETE FROM {table} WHERE key < (SELECT min(key) FROM {table}) + ?"  # noqa: S608
            connection.execute(query, (count,))

    def _opened(self) -> sqlite3.Connection | None:
        """The file, a new one where it is damaged; None where the disk refuses."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                connection = connect(self._path, SCHEMA, SCHEMA_VERSION, check=False)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._set_aside(error)
                connection = connect(self._path, SCHEMA, SCHEMA_VERSION, check=False)
            connection.execute("PRAGMA synchronous=NORMAL")
        except (sqlite3.DatabaseError, OSError) as error:
            self._fail(error)
            return None
        return connection

    def _set_aside(self, error: Exception) -> None:
        with contextlib.suppress(OSError):
            moved = move_aside(self._path)
            self.damaged += 1
            _log.warning("%s: %s; moved to %s", self._path, error, moved.parent)

    def _fail(self, error: Exception) -> None:
        if self.writable:
            _log.warning("%s: %s", self._path, error)
        self.writable = False


def _row(record: LevelReading | Event) -> Row:
    return event_row(record) if isinstance(record, Event) else reading_row(record)
