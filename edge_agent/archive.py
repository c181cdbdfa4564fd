"""What the store of a device holds, read beside the running agent."""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge_agent.errors import StoreError
from edge_agent.records import Event, LevelReading
from edge_agent.store import NAME
from edge_agent.store_rows import READING, SCHEMA_VERSION, Table, to_reading

_NS = 1_000_000_000
# Rows read at once: a reader that stays open would keep the agent's log from being cut.
_PAGE = 20_000


class Archive:
    """A store, for reading; nothing is held open between two pages.

    Args:
        folder: The state folder.

    Raises:
        StoreError: It holds no store that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        if not self._path.is_file():
            raise StoreError(
                f"{self._path}: is not there",
                hint="The agent keeps it in its `state_dir` while it runs; name that folder, or "
                "the configuration that does.",
            )
        with self._open() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self._path}: schema {version}, this release reads {SCHEMA_VERSION}",
                hint="Read it with the release that wrote it.",
            )
        self.damaged = 0
        """Rows that could not be read."""

    def microphones(self) -> list[str]:
        """Those that were measured, in the order of their names."""
        query = "SELECT DISTINCT json_extract(text, '$.microphone') FROM series ORDER BY 1"
        with self._open() as connection:
            return [str(name) for (name,) in connection.execute(query)]

    def seconds(self, microphone: str, from_ns: int, to_ns: int) -> Iterator[LevelReading]:
        """Readings of a second that start within [from, to), by time."""
        return self._readings("seconds", microphone, from_ns, to_ns)

    def minutes(self, microphone: str, from_ns: int, to_ns: int) -> Iterator[LevelReading]:
        """Readings of a minute that start within [from, to), by time."""
        return self._readings("minutes", microphone, from_ns, to_ns)

    def events(self, microphone: str, from_ns: int, to_ns: int) -> list[Event]:
        """Events that start within [from, to), as last told, by time."""
        query = "SELECT record FROM events WHERE start_ns >= ? AND start_ns < ? ORDER BY start_ns"
        found = []
        with self._open() as connection:
            rows = connection.execute(query, (from_ns, to_ns)).fetchall()
        for (record,) in rows:
            with self._counting_damage():
                found.append(msgspec.json.decode(record, type=Event))
        return [event for event in found if event.microphone == microphone]

    def _readings(
        self, table: Table, microphone: str, from_ns: int, to_ns: int
    ) -> Iterator[LevelReading]:
        query = (
            f"SELECT {READING} FROM {table} JOIN series ON series.key = series "  # noqa: S608
            "WHERE json_extract(series.text, '$.microphone') = ? AND start_s >= ? AND start_s < ? "
            f"ORDER BY start_s LIMIT {_PAGE}"
        )
        first_s, end_s = -(-from_ns // _NS), -(-to_ns // _NS)
        while first_s < end_s:
            with self._open() as connection:
                rows = connection.execute(query, (microphone, first_s, end_s)).fetchall()
            for row in rows:
                reading = None
                with self._counting_damage():
                    reading = to_reading(row)
                if reading is not None:
                    yield reading
            if len(rows) < _PAGE:
                break
            first_s = rows[-1][1] + 1

    @contextlib.contextmanager
    def _counting_damage(self) -> Iterator[None]:
        try:
            yield
        except (msgspec.MsgspecError, zlib.error, ValueError, TypeError):
            self.damaged += 1

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self._path}: {error}",
                hint="Read it as the agent's user or as root; a damaged one is set aside by the "
                "agent itself.",
            ) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            connection.execute("SELECT count(*) FROM series").fetchone()
        except sqlite3.OperationalError:
            # A log that nobody has open cannot be read from a folder that cannot be written.
            connection.close()
            connection = sqlite3.connect(f"file:{self._path}?immutable=1", uri=True)
        return connection
