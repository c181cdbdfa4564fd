"""The rows of the outbox that are held in memory.

Young ones leave from here, stored or not. Old ones are left to the disk; those that no disk takes
are held here, and leave as a backlog does: alerts first, then events, then levels.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import msgspec

from edge_agent.outbox_rows import PRIORITY, StoredRow
from edge_agent.records import Kind, Message

OVERHEAD_BYTES = 64
URGENT: tuple[Kind, ...] = ("alert", "event")
QUEUED: tuple[Kind, ...] = (*URGENT, "level")


class Waiting(msgspec.Struct, kw_only=True):
    """A message, and what the disk knows of it."""

    message: Message
    added_ns: int
    stored: bool = False
    known: bool = False
    """It was stored at some time; a copy may come back with the disk."""


class MemoryRows:
    """Young rows in the order in which they were made, and old ones by kind."""

    def __init__(self) -> None:
        self.bytes = 0
        """Counted size of what is queued; states are not."""
        self._young: dict[int, Waiting] = {}
        self._held: dict[Kind, dict[int, Waiting]] = {kind: {} for kind in QUEUED}

    def add(self, key: int, row: Waiting) -> None:
        """A new row."""
        self._young[key] = row
        self.bytes += _counted(row.message)

    def hold(self, key: int) -> None:
        """A row grew old, and no disk has taken it."""
        row = self._young.pop(key)
        self._held[row.message.kind][key] = row

    def keep(self, key: int, row: Waiting) -> None:
        """A row that the disk has lost while it was on its way."""
        self._held[row.message.kind][key] = row
        self.bytes += _counted(row.message)

    def get(self, key: int) -> Waiting | None:
        """The row with this key."""
        return self._young.get(key) or next(
            (rows[key] for rows in self._held.values() if key in rows), None
        )

    def pop(self, key: int) -> Waiting | None:
        """Take the row out."""
        row = self._young.pop(key, None)
        for rows in self._held.values():
            row = row or rows.pop(key, None)
        if row is not None:
            self.bytes -= _counted(row.message)
        return row

    def young(self) -> Iterable[tuple[int, Waiting]]:
        """Those that leave at once."""
        return self._young.items()

    def held(self, kind: Kind) -> Iterable[tuple[int, Waiting]]:
        """Old ones of a kind, the oldest first."""
        return self._held[kind].items()

    def of(self, kind: Kind) -> Iterator[tuple[int, Waiting]]:
        """All of a kind, the oldest first."""
        young = ((key, row) for key, row in self._young.items() if row.message.kind == kind)
        return itertools.chain(self._held[kind].items(), young)

    def unstored(self, kinds: Iterable[Kind], limit: int) -> list[StoredRow]:
        """Those of these kinds that the disk does not have, so many of them at most."""
        found = (
            StoredRow(key=key, message=row.message, added_ns=row.added_ns)
            for kind in kinds
            for key, row in self.of(kind)
            if not row.stored
        )
        return list(itertools.islice(found, limit))

    def drop_states(self, topic: str, keep: Callable[[int], bool]) -> None:
        """Forget what was to be said on a topic, if it need not be kept."""
        for key, row in list(self._young.items()):
            if row.message.topic == topic and not keep(key):
                del self._young[key]

    def keys(self) -> set[int]:
        """Of all rows."""
        return {key for rows in (self._young, *self._held.values()) for key in rows}

    def known(self) -> set[int]:
        """Keys of those that the disk has, or had."""
        parts = (self._young, *self._held.values())
        return {key for rows in parts for key, row in rows.items() if row.known}

    def count(self) -> int:
        """Rows that are queued; states are not."""
        young = sum(row.message.kind in QUEUED for row in self._young.values())
        return young + self.count_held()

    def count_held(self) -> int:
        """Old rows that no disk has taken."""
        return sum(map(len, self._held.values()))

    def holds(self, kinds: Iterable[Kind]) -> bool:
        """Whether there are old rows of these kinds."""
        return any(self._held[kind] for kind in kinds)

    def empty(self) -> bool:
        """Whether nothing is here, states neither."""
        return not self._young and self.count_held() == 0

    def forget_disk(self) -> None:
        """The disk may have lost everything."""
        for rows in (self._young, *self._held.values()):
            for row in rows.values():
                row.stored = False

    def oldest_ns(self) -> int | None:
        """When the oldest queued row was added."""
        firsts = [next(iter(rows.values()), None) for rows in self._held.values()]
        young = (row for row in self._young.values() if row.message.kind in QUEUED)
        rows = [row for row in (*firsts, next(young, None)) if row is not None]
        return min((row.added_ns for row in rows), default=None)


def size(message: Message) -> int:
    """What a row counts for, in memory and on the disk: payload, topic and what surrounds them."""
    return len(message.payload) + len(message.topic) + OVERHEAD_BYTES


def rank(key: int, message: Message) -> tuple[int, int]:
    """Sorts a backlog."""
    return PRIORITY[message.kind], key


def _counted(message: Message) -> int:
    return size(message) if message.kind in QUEUED else 0
