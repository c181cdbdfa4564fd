"""What can still be read of a damaged outbox."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec

from edge_agent.outbox_rows import COLUMNS, PRIORITY, StoredRow, to_record, to_row
from edge_agent.records import Alert, Event

SALVAGED_SPAN = 1_000_000
SALVAGE_TRIES = 2000
"""How many ranges of keys are tried; a damaged page costs some twenty."""


class Salvaged(msgspec.Struct, frozen=True, kw_only=True):
    """What could still be read."""

    rows: tuple[StoredRow, ...] = ()
    open: tuple[Alert | Event, ...] = ()


def salvage(path: Path) -> Salvaged:
    """What can still be read of a damaged database: all rows but those of the damaged pages."""
    rows: dict[int, StoredRow] = {}
    found_open: list[Alert | Event] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            _read_rows(connection, rows)
            query = "SELECT kind, record FROM open ORDER BY rowid"
            with contextlib.suppress(sqlite3.DatabaseError, msgspec.MsgspecError, TypeError):
                for kind, record in connection.execute(query):
                    found_open.append(to_record(kind, record))
        finally:
            connection.close()
    return Salvaged(rows=tuple(rows[key] for key in sorted(rows)), open=tuple(found_open))


def _read_rows(connection: sqlite3.Connection, rows: dict[int, StoredRow]) -> None:
    """From both ends up to an error, then what lies between, by halves."""
    everything = (-(2**63), 2**63 - 1)
    if _read_range(connection, *everything, "ASC", rows):
        return
    low = max(rows, default=everything[0])
    _read_range(connection, *everything, "DESC", rows)
    high = min((key for key in rows if key > low), default=everything[1])
    # Keys are given one by one, so where one end is not known the other tells about where it is.
    low, high = max(low, high - SALVAGED_SPAN), min(high, low + SALVAGED_SPAN)
    spans = [(low + 1, high - 1)]
    for _ in range(SALVAGE_TRIES):
        if not spans:
            break
        low, high = spans.pop()
        if low <= high and not _read_range(connection, low, high, "ASC", rows) and low < high:
            middle = (low + high) // 2
            spans += [(low, middle), (middle + 1, high)]


def _read_range(
    connection: sqlite3.Connection, low: int, high: int, order: str, rows: dict[int, StoredRow]
) -> bool:
    """Read rows by their keys; returns whether there was no error."""
    query = (
        f"SELECT {COLUMNS} FROM rows WHERE key BETWEEN ? AND ? "  # noqa: S608 # constants
        f"ORDER BY key {order}"
    )
    try:
        for values in connection.execute(query, (low, high)):
            row = to_row(values)
            if row.intact and row.message.kind in PRIORITY:
                rows[row.key] = row
    except sqlite3.DatabaseError:
        return False
    return True
