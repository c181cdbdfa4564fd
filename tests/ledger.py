"""Counts what was handed to an outbox and what a broker got of it."""

from collections import Counter

import msgspec

from edge_agent.clock import SimulatedClock
from edge_agent.ids import Ids
from edge_agent.outbox import Outbox
from edge_agent.records import Message
from tests.sample_records import alert, encoder, event, reading, stamp


class Ledger:
    """Feeds an outbox second by second, and is the broker behind it."""

    def __init__(self, seed: int = 7) -> None:
        self.sent: Counter[str] = Counter()
        """Messages by kind."""
        self.made: dict[str, Message] = {}
        self.arrived: Counter[str] = Counter()
        """Deliveries by the message's id."""
        self.replayed: set[str] = set()
        self._ids = Ids(seed)
        self._sends = encoder(self._ids.boot)
        self._second = 0

    def feed(self, outbox: Outbox, clock: SimulatedClock, seconds: int) -> None:
        """A reading each second; each twentieth an event and an alert."""
        for _ in range(seconds):
            self.tell(outbox, loud=self._second % 20 == 10)
            clock.wait(1)
            outbox.turn()

    def tell(self, outbox: Outbox, *, loud: bool) -> None:
        now, new_id = stamp(self._second), self._ids.new
        level = reading(self._second, new_id(self._second * 10**9))
        self._add(outbox, self._sends.encode(level, now))
        if loud:
            heard, raised = event(new_id(0)), alert(new_id(0))
            outbox.add(self._note(self._sends.encode(heard, now)), heard)
            outbox.add(self._note(self._sends.encode(raised, now)[:1]), raised)
        self._second += 1

    def take_all(self, outbox: Outbox) -> None:
        """The broker is there until nothing waits."""
        while not outbox.empty():
            self.take(outbox, 500)

    def take(self, outbox: Outbox, count: int) -> None:
        rows = outbox.take(count, count)
        assert rows or count == 0, "rows are counted that cannot be taken"
        for row in rows:
            self.arrived[row.message.id] += 1
            payload = msgspec.json.decode(row.message.payload)
            original = msgspec.json.decode(self.made[row.message.id].payload)
            assert payload | {"replayed": False} == original
            if payload["replayed"]:
                self.replayed.add(row.message.id)
            outbox.acknowledge(row.key)

    def arrived_of(self, kind: str) -> int:
        """Different messages of a kind that came at least once."""
        return sum(self.made[one].kind == kind for one in self.arrived)

    def _add(self, outbox: Outbox, messages: list[Message]) -> None:
        outbox.add(self._note(messages))

    def _note(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            self.sent[message.kind] += 1
            self.made[message.id] = message
        return messages
