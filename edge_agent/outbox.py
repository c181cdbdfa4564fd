"""What has to reach the broker and has not yet: a bounded queue that survives a loss of power.

A row leaves on the broker's acknowledgement and never before. Alerts and events are on the disk
before they are handed over. Levels are held in memory for one batch, so that while the broker is
there they never touch the card. States and health are only worth their latest value: they stay in
memory, by topic.

Rows are *fresh* for ten seconds, and leave at once in the order in which they were made. Later, or
after a restart, they are *backlog*: alerts first, then events, then levels, each oldest first, and
marked as replayed.

Figures of the disk, from 600 messages of 278 bytes on an ext4 SSD: 16.5 kB written for a row that
is committed alone and deleted alone, 1.7 kB in batches of ten, nothing for one acknowledged before
its batch.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from edge_agent.clock import Clock
from edge_agent.outbox_file import OutboxFile, StoredRow
from edge_agent.records import Alert, Event, Message, OutboxHealth

FRESH_S = 10.0
"""A message that waited longer is told to be replayed."""
BATCH_S = 10.0
"""How long levels wait for company before they are written."""
SETTLE_S = 1.0
"""How long an acknowledged row may still be on the disk; a crash then sends it twice."""
STRIKES = 3
"""So many refusals set a row aside."""

_QUEUED = ("alert", "event", "level")
_OVERHEAD_BYTES = 64
_NOT_REPLAYED = b'"replayed":false}'
_REPLAYED = b'"replayed":true}'


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is handed out; `key` names it until it is acknowledged or given back."""

    key: int
    message: Message
    backlog: bool = False
    """It waited so long, or since so early, that it leaves at the drain's rate."""


class _Waiting(msgspec.Struct, kw_only=True):
    message: Message
    added_ns: int
    stored: bool


class Outbox:
    """The queue of one agent; used by one thread.

    Args:
        folder: The state folder; None keeps everything in memory.
        clock: Ages follow its monotonic time.
        max_bytes: Cap on what waits, as counted: payload, topic and 64 bytes a row.
    """

    def __init__(self, folder: Path | None, clock: Clock, *, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._file = OutboxFile(folder)
        self._opened_ns = clock.monotonic_ns()
        self._next_key = self._file.last_key() + 1
        self._first_new_key = self._next_key
        self._fresh: dict[int, _Waiting] = {}
        self._backlog, self._backlog_bytes = self._file.totals()
        self._fresh_bytes = 0
        self._taken: dict[int, Message] = {}
        self._strikes: dict[int, int] = {}
        self._gone: list[int] = []
        self._gone_ns = 0
        self._dropped = dict.fromkeys(_QUEUED, 0)

    def add(self, messages: Sequence[Message], record: Alert | Event | None = None) -> None:
        """Queue the messages of one record.

        Args:
            messages: In the order in which they shall leave.
            record: The alert or event they tell; remembered while it is open, so that the next
                start can end what this one leaves open.
        """
        for message in messages:
            self._add(message)
        if record is not None:
            self._file.remember(record)
        if any(message.kind in ("alert", "event") for message in messages):
            self._write(durable=True)
        self._make_room()

    def left_open(self) -> list[Alert | Event]:
        """What an earlier start left open, as last told; to be asked before anything is added."""
        return self._file.left_open()

    def take(self, live: int, backlog: int, blocked: Collection[str] = ()) -> list[Row]:
        """Rows to hand over now; each stays until it is acknowledged or given back.

        Args:
            live: How many rows at most.
            backlog: How many of them may be backlog.
            blocked: Topics that have to wait.
        """
        rows = self._take_fresh(live, blocked)
        room = min(backlog, live - len(rows))
        if room > 0 and self._backlog > 0:
            rows += self._take_backlog(room, blocked)
        self._taken |= {row.key: row.message for row in rows}
        return rows

    def acknowledge(self, key: int) -> None:
        """The broker has the row."""
        message = self._taken.pop(key, None)
        if message is not None:
            self._forget(key, message)

    def give_back(self, key: int) -> None:
        """The row was not delivered; it keeps its place."""
        self._taken.pop(key, None)

    def strike(self, key: int) -> bool:
        """The row itself was refused; the third time it is set aside.

        Returns:
            Whether it was set aside now.
        """
        self._strikes[key] = self._strikes.get(key, 0) + 1
        if self._strikes[key] < STRIKES:
            self.give_back(key)
            return False
        self.set_aside(key)
        return True

    def set_aside(self, key: int) -> None:
        """Keep a row that no broker takes, where it holds up nothing."""
        message = self._taken.pop(key, None)
        if message is not None:
            self._file.set_aside(message)
            self._forget(key, message)

    def turn(self) -> None:
        """Write what is due, and let fresh rows age; to be called about once a second."""
        now_ns = self._clock.monotonic_ns()
        waiting = [row for row in self._fresh.values() if row.message.kind in _QUEUED]
        oldest_ns = min((row.added_ns for row in waiting if not row.stored), default=now_ns)
        if now_ns - oldest_ns >= BATCH_S * 1e9:
            self._write(durable=False)
        elif self._gone and now_ns - self._gone_ns >= SETTLE_S * 1e9:
            self._remove_gone()
        for key, row in list(self._fresh.items()):
            old = now_ns - row.added_ns >= FRESH_S * 1e9
            if old and row.stored and key not in self._taken:
                self._move_to_backlog(key)

    def flush(self) -> None:
        """Write everything that waits, as before an end."""
        self._write(durable=True)

    def close(self) -> None:
        """Write everything that waits and close the database."""
        self.flush()
        self._file.close()

    def empty(self) -> bool:
        """Whether nothing waits for delivery."""
        return not self._fresh and self._backlog == 0

    def __len__(self) -> int:
        queued = sum(row.message.kind in _QUEUED for row in self._fresh.values())
        return queued + self._backlog

    @property
    def dropped(self) -> dict[str, int]:
        """Rows lost to the cap since the start, by kind."""
        return dict(self._dropped)

    @property
    def damaged(self) -> int:
        """Databases that had to be set aside since the start."""
        return self._file.damaged

    @property
    def writable(self) -> bool:
        """Whether the last write reached the disk."""
        return self._file.writable

    def health(self) -> OutboxHealth:
        """What waits and what was lost; the age of an earlier start's rows counts from this one."""
        return OutboxHealth(
            rows=len(self),
            bytes=self._fresh_bytes + self._backlog_bytes,
            oldest_s=round(self._oldest_s(), 1),
            dropped=dict(self._dropped),
            set_aside=self._file.count_set_aside(),
        )

    def _add(self, message: Message) -> None:
        if message.kind not in _QUEUED:
            self._drop_predecessor(message.topic)
        self._fresh[self._next_key] = _Waiting(
            message=message, added_ns=self._clock.monotonic_ns(), stored=False
        )
        if message.kind in _QUEUED:
            self._fresh_bytes += _size(message)
        self._next_key += 1

    def _drop_predecessor(self, topic: str) -> None:
        # One that is on its way stays: the new one follows it on the same topic.
        for key, row in list(self._fresh.items()):
            if row.message.topic == topic and key not in self._taken:
                del self._fresh[key]

    def _take_fresh(self, room: int, blocked: Collection[str]) -> list[Row]:
        rows: list[Row] = []
        now_ns = self._clock.monotonic_ns()
        for key, row in self._fresh.items():
            if len(rows) == room:
                break
            if key not in self._taken and row.message.topic not in blocked:
                late = now_ns - row.added_ns >= FRESH_S * 1e9
                rows.append(Row(key=key, message=_replayed(row.message) if late else row.message))
        return rows

    def _take_backlog(self, room: int, blocked: Collection[str]) -> list[Row]:
        self._remove_gone()
        hidden = self._fresh.keys() | self._taken.keys()
        found = self._file.oldest(room + len(hidden), blocked)
        rows: list[Row] = []
        for stored in found:
            if stored.key in hidden or len(rows) == room:
                continue
            if stored.intact:
                message = _replayed(stored.message)
                rows.append(Row(key=stored.key, message=message, backlog=True))
            else:
                self._drop(stored.key, stored.message)
        self._recount_after_damage()
        return rows

    def _recount_after_damage(self) -> None:
        if self._file.take_replaced():
            # A new, empty database: what is still in memory is written to it again.
            for row in self._fresh.values():
                row.stored = False
            self._gone.clear()
            fresh = self._fresh.keys()
            self._backlog, self._backlog_bytes = self._file.totals(skip=fresh)

    def _forget(self, key: int, message: Message) -> None:
        self._strikes.pop(key, None)
        waiting = self._fresh.pop(key, None)
        if message.kind not in _QUEUED:
            return
        if waiting is None:
            self._backlog -= 1
            self._backlog_bytes -= _size(message)
        else:
            self._fresh_bytes -= _size(waiting.message)
        if waiting is None or waiting.stored:
            if not self._gone:
                self._gone_ns = self._clock.monotonic_ns()
            self._gone.append(key)

    def _move_to_backlog(self, key: int) -> None:
        size = _size(self._fresh.pop(key).message)
        self._fresh_bytes -= size
        self._backlog += 1
        self._backlog_bytes += size

    def _write(self, *, durable: bool) -> None:
        rows = [
            StoredRow(key=key, message=row.message, added_ns=row.added_ns)
            for key, row in self._fresh.items()
            if not row.stored and row.message.kind in _QUEUED
        ]
        if self._file.write(rows, self._gone, durable=durable):
            self._gone.clear()
            for row in rows:
                self._fresh[row.key].stored = True
        self._recount_after_damage()

    def _remove_gone(self) -> None:
        if self._gone and self._file.write([], self._gone, durable=False):
            self._gone.clear()
        self._recount_after_damage()

    def _make_room(self) -> None:
        """Drop the oldest levels, then events, then alerts, until the cap holds."""
        for kind in reversed(_QUEUED):
            while self._fresh_bytes + self._backlog_bytes > self._max_bytes:
                oldest = self._oldest_of(kind)
                if not oldest:
                    break
                for key, message in oldest:
                    if self._fresh_bytes + self._backlog_bytes > self._max_bytes:
                        self._drop(key, message)

    def _oldest_of(self, kind: str) -> list[tuple[int, Message]]:
        if self._backlog:
            self._remove_gone()
            hidden = self._fresh.keys() | self._taken.keys()
            rows = self._file.oldest_of(kind, 50 + len(hidden))
            found = [(row.key, row.message) for row in rows if row.key not in hidden]
            if found:
                return found
        return [
            (key, row.message)
            for key, row in self._fresh.items()
            if row.message.kind == kind and key not in self._taken
        ][:50]

    def _drop(self, key: int, message: Message) -> None:
        self._dropped[message.kind] += 1
        self._forget(key, message)

    def _oldest_s(self) -> float:
        times = [row.added_ns for row in self._fresh.values() if row.message.kind in _QUEUED]
        stored = self._file.first() if self._backlog else None
        if stored is not None:
            key, added_ns = stored
            times.append(added_ns if key >= self._first_new_key else self._opened_ns)
        now_ns = self._clock.monotonic_ns()
        return (now_ns - min(times, default=now_ns)) / 1e9


def _size(message: Message) -> int:
    return len(message.payload) + len(message.topic) + _OVERHEAD_BYTES


def _replayed(message: Message) -> Message:
    if not message.payload.endswith(_NOT_REPLAYED):
        return message
    payload = message.payload[: -len(_NOT_REPLAYED)] + _REPLAYED
    return msgspec.structs.replace(message, payload=payload)
