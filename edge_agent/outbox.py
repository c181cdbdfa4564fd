"""What has to reach the broker and has not yet: a bounded queue that survives a loss of power.

A row leaves on the broker's acknowledgement and never before. Alerts and events are on the disk
before they are handed over. Levels are held in memory for one batch, so that while the broker is
there they never touch the card. States and health are only worth their latest value: they stay in
memory, by topic.

Rows are *fresh* for ten seconds, and leave at once in the order in which they were made. Later, or
after a restart, they are *backlog*: alerts first, then events, then levels, each oldest first, and
marked as replayed.

While the disk is full levels stay in memory, and for each alert and event that is written the
oldest levels on the disk make way. While the disk takes no writes at all everything stays in
memory. Both are tried again each minute.

Figures of the disk, from 600 messages of 278 bytes on an ext4 SSD: 16.5 kB written for a row that
is committed alone and deleted alone, 1.7 kB in batches of ten, nothing for one acknowledged before
its batch.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from edge_agent.clock import Clock
from edge_agent.outbox_file import OutboxFile
from edge_agent.outbox_memory import QUEUED, URGENT, MemoryRows, Waiting, rank, size
from edge_agent.records import Alert, Event, Kind, Message, OutboxHealth

FRESH_S = 10.0
"""A message that waited longer is told to be replayed."""
BATCH_S = 10.0
"""How long levels wait for company before they are written."""
SETTLE_S = 1.0
"""How long an acknowledged row may still be on the disk; a crash then sends it twice."""
RETRY_S = 60.0
"""How long to leave a disk alone that refused."""
CHECKPOINT_S = 3600.0
"""How often the log is brought into the database, and cut to nothing."""
ROWS_AT_ONCE = 500
"""The most that one transaction writes, so that it neither holds up the sound nor asks for much
room."""
MEMORY_BYTES = 32_000_000
"""Counted bytes of what is held where no disk takes it, if the cap allows more: about a day of
levels, 60 MB in memory."""
STRIKES = 3
"""So many refusals set a row aside."""

_NOT_REPLAYED = b'"replayed":false}'
_REPLAYED = b'"replayed":true}'


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is handed out; `key` names it until it is acknowledged or given back."""

    key: int
    message: Message
    backlog: bool = False
    """It waited so long, or since so early, that it leaves at the drain's rate."""


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
        self._opened_ns = self._tried_ns = self._checkpoint_ns = clock.monotonic_ns()
        self._next_key = self._file.last_key() + 1
        self._first_new_key = self._next_key
        self._memory = MemoryRows()
        self._backlog, self._backlog_bytes = self._file.totals(skip=())
        self._taken: dict[int, Message] = {}
        self._strikes: dict[int, int] = {}
        self._gone: list[int] = []
        self._gone_ns = 0
        self._way_bytes = 0
        self._dropped: dict[str, int] = dict.fromkeys(QUEUED, 0)

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
        """What an earlier start left open, as last told; each is told once.

        To be asked before anything is added, and again later: the disk may come back.
        """
        return self._file.take_left_open()

    def take(self, live: int, backlog: int, blocked: Collection[str] = ()) -> list[Row]:
        """Rows to hand over now; each stays until it is acknowledged or given back.

        Args:
            live: How many rows at most.
            backlog: How many of them may be backlog.
            blocked: Topics that have to wait.
        """
        rows = self._take_fresh(live, blocked)
        room = min(backlog, live - len(rows))
        if room > 0 and (self._backlog > 0 or self._memory.count_held()):
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
        self._care_for_disk(now_ns)
        kinds = self._kinds_to_write()
        young = self._memory.young()
        waiting = (row for _, row in young if not row.stored and row.message.kind in kinds)
        oldest_ns = next((row.added_ns for row in waiting), now_ns)
        if now_ns - oldest_ns >= BATCH_S * 1e9 or self._memory.holds(kinds):
            self._write(durable=False)
        elif self._gone and now_ns - self._gone_ns >= SETTLE_S * 1e9:
            self._remove_gone()
        for key, row in list(self._memory.young()):
            old = now_ns - row.added_ns >= FRESH_S * 1e9
            if old and row.message.kind in QUEUED and key not in self._taken:
                self._grow_old(key, row)

    def flush(self) -> None:
        """Write everything that waits, as before an end."""
        if not self._file.writable:
            self._try_again()
        # On a full disk, too: what room there is had better be used than the levels lost.
        while self._store(QUEUED, durable=True) and self._memory.unstored(QUEUED, 1):
            continue

    def close(self) -> None:
        """Write everything that waits and close the database."""
        self.flush()
        self._file.close()

    def empty(self) -> bool:
        """Whether nothing waits for delivery."""
        return self._memory.empty() and self._backlog == 0

    def __len__(self) -> int:
        return self._memory.count() + self._backlog

    @property
    def dropped(self) -> dict[str, int]:
        """Rows lost to the cap or to a full disk since the start, by kind."""
        return dict(self._dropped)

    @property
    def damaged(self) -> int:
        """Databases that had to be set aside since the start."""
        return self._file.damaged

    @property
    def writable(self) -> bool:
        """Whether the last write reached the disk."""
        return self._file.writable

    @property
    def disk_full(self) -> bool:
        """Whether the disk is so full that levels wait in memory."""
        return self._file.full

    def health(self) -> OutboxHealth:
        """What waits and what was lost; the age of an earlier start's rows counts from this one."""
        stored = {}
        if self._backlog > 0:
            stored = self._file.count_by_kind(skip=self._memory.keys() | set(self._gone))
        return OutboxHealth(
            rows=len(self),
            waiting={
                kind: sum(1 for _ in self._memory.of(kind)) + stored.get(kind, 0) for kind in QUEUED
            },
            bytes=self._memory.bytes + self._backlog_bytes,
            oldest_s=round(self._oldest_s(), 1),
            dropped=dict(self._dropped),
            set_aside=self._file.count_set_aside(),
        )

    def _add(self, message: Message) -> None:
        if message.kind not in QUEUED:
            # One that is on its way stays: the new one follows it on the same topic.
            self._memory.drop_states(message.topic, keep=self._taken.__contains__)
        row = Waiting(message=message, added_ns=self._clock.monotonic_ns())
        self._memory.add(self._next_key, row)
        self._next_key += 1

    def _take_fresh(self, room: int, blocked: Collection[str]) -> list[Row]:
        rows: list[Row] = []
        now_ns = self._clock.monotonic_ns()
        for key, row in self._memory.young():
            if len(rows) == room:
                break
            if key not in self._taken and row.message.topic not in blocked:
                late = now_ns - row.added_ns >= FRESH_S * 1e9
                rows.append(Row(key=key, message=_replayed(row.message) if late else row.message))
        return rows

    def _take_backlog(self, room: int, blocked: Collection[str]) -> list[Row]:
        self._remove_gone()
        found: list[tuple[int, Message]] = []
        for kind in QUEUED:
            free = (
                (key, row.message)
                for key, row in self._memory.held(kind)
                if key not in self._taken and row.message.topic not in blocked
            )
            found += islice(free, room)
        if self._backlog > 0:
            for stored in self._file.oldest(room, blocked, self._hidden()):
                if stored.intact:
                    found.append((stored.key, stored.message))
                else:
                    self._drop(stored.key, stored.message)
            self._look_at_disk()
        found.sort(key=lambda one: rank(*one))
        return [
            Row(key=key, message=_replayed(message), backlog=True) for key, message in found[:room]
        ]

    def _hidden(self) -> set[int]:
        """Keys on the disk that are no backlog: in memory too, on their way, or about to go."""
        return self._memory.known() | self._taken.keys() | set(self._gone)

    def _care_for_disk(self, now_ns: int) -> None:
        if not self._file.sound and now_ns - self._tried_ns >= RETRY_S * 1e9:
            self._tried_ns = now_ns
            self._try_again()
            self._write(durable=True)
        if now_ns - self._checkpoint_ns >= CHECKPOINT_S * 1e9:
            self._checkpoint_ns = now_ns
            self._file.checkpoint()

    def _try_again(self) -> None:
        self._file.try_again()
        self._look_at_disk()

    def _look_at_disk(self) -> None:
        """Where it is another database now, what is in memory is written to it again."""
        if not self._file.take_replaced():
            return
        self._memory.forget_disk()
        for key, message in self._taken.items():
            if message.kind in QUEUED and self._memory.get(key) is None:
                added_ns = self._opened_ns
                self._memory.keep(key, Waiting(message=message, added_ns=added_ns, known=True))
        skip = self._memory.keys() | set(self._gone)
        self._backlog, self._backlog_bytes = self._file.totals(skip=skip)

    def _forget(self, key: int, message: Message) -> None:
        self._strikes.pop(key, None)
        waiting = self._memory.pop(key)
        if message.kind in ("state", "health"):
            return
        if waiting is None:
            self._backlog -= 1
            # A row that was damaged on the disk has not the size that was counted.
            self._backlog_bytes -= size(message) if self._backlog else self._backlog_bytes
        if waiting is None or waiting.known:
            if not self._gone:
                self._gone_ns = self._clock.monotonic_ns()
            self._gone.append(key)

    def _grow_old(self, key: int, row: Waiting) -> None:
        if row.stored:
            self._memory.pop(key)
            self._backlog += 1
            self._backlog_bytes += size(row.message)
        else:
            self._memory.hold(key)

    def _kinds_to_write(self) -> tuple[Kind, ...]:
        if not self._file.writable:
            return ()
        return URGENT if self._file.full else QUEUED

    def _write(self, *, durable: bool) -> None:
        full_before = self._file.full
        written = self._store(self._kinds_to_write(), durable=durable)
        if not written and self._file.full and not full_before:
            # The ballast was not room enough for all of it: what matters most goes first.
            self._store(URGENT, durable=durable)

    def _store(self, kinds: Sequence[Kind], *, durable: bool) -> bool:
        rows = self._memory.unstored(kinds, ROWS_AT_ONCE)
        bytes_needed = sum(size(row.message) for row in rows if row.message.kind in URGENT)
        if self._file.full:
            self._make_way(bytes_needed)
        written = self._file.write(rows, self._gone, durable=durable)
        if written:
            self._gone.clear()
            self._way_bytes = max(0, self._way_bytes - bytes_needed)
        self._look_at_disk()
        if written:
            self._note_stored([row.key for row in rows])
        return written

    def _note_stored(self, keys: Sequence[int]) -> None:
        now_ns = self._clock.monotonic_ns()
        for key in keys:
            row = self._memory.get(key)
            if row is not None:
                row.stored = row.known = True
                if now_ns - row.added_ns >= FRESH_S * 1e9 and key not in self._taken:
                    self._grow_old(key, row)

    def _make_way(self, bytes_needed: int) -> None:
        """Let the oldest levels on the disk go, so that it need not grow."""
        while self._way_bytes < bytes_needed and self._backlog > 0:
            levels = self._file.oldest_of("level", 50, self._hidden())
            if not levels:
                break
            for row in levels:
                if self._way_bytes < bytes_needed:
                    self._drop(row.key, row.message)
                    self._way_bytes += size(row.message)

    def _remove_gone(self) -> None:
        if self._gone and self._file.write([], self._gone, durable=False):
            self._gone.clear()
        self._look_at_disk()

    def _make_room(self) -> None:
        """Drop the oldest levels, then events, then alerts, until both caps hold."""
        for kind in reversed(QUEUED):
            while self._excess():
                oldest = list(islice(self._oldest_of(kind), 50))
                if not oldest:
                    break
                for key, message in oldest:
                    if self._excess():
                        self._drop(key, message)

    def _excess(self) -> bool:
        return self._excess_in_memory() or (
            self._memory.bytes + self._backlog_bytes > self._max_bytes
        )

    def _excess_in_memory(self) -> bool:
        return self._memory.bytes > MEMORY_BYTES

    def _oldest_of(self, kind: Kind) -> Iterator[tuple[int, Message]]:
        if self._backlog > 0 and not self._excess_in_memory():
            self._remove_gone()
            for stored in self._file.oldest_of(kind, 50, self._hidden()):
                yield stored.key, stored.message
        for key, row in self._memory.of(kind):
            if key not in self._taken:
                yield key, row.message

    def _drop(self, key: int, message: Message) -> None:
        # The kind of a row that was damaged on the disk may be none.
        self._dropped[message.kind if message.kind in QUEUED else "level"] += 1
        self._forget(key, message)

    def _oldest_s(self) -> float:
        now_ns = self._clock.monotonic_ns()
        oldest_ns = self._memory.oldest_ns()
        times = [now_ns if oldest_ns is None else oldest_ns]
        stored = self._file.first() if self._backlog > 0 else None
        if stored is not None:
            key, added_ns = stored
            times.append(added_ns if key >= self._first_new_key else self._opened_ns)
        return (now_ns - min(times)) / 1e9


def _replayed(message: Message) -> Message:
    if not message.payload.endswith(_NOT_REPLAYED):
        return message
    payload = message.payload[: -len(_NOT_REPLAYED)] + _REPLAYED
    return msgspec.structs.replace(message, payload=payload)
