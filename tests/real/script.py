"""What the microphone hears, written down, so that a test knows what must arrive."""

import time

import numpy as np

from edge_agent.ids import Ids
from edge_agent.records import Block, CaptureHealth, EndReason, Record
from tests.sample_records import alert, ended, event, reading


class PacedSource:
    """Blocks of silence, one in `period_s`, `count` of them."""

    def __init__(self, count: int, period_s: float) -> None:
        self.read_blocks = 0
        self._count = count
        self._period_s = period_s

    @property
    def waits(self) -> bool:
        return False

    @property
    def pid(self) -> int | None:
        return None

    @property
    def ended(self) -> bool:
        return self.read_blocks >= self._count

    def read(self, timeout_s: float) -> Block | None:
        if self.ended:
            return None
        time.sleep(min(timeout_s, self._period_s))
        self.read_blocks += 1
        return Block(
            microphone="mic",
            samples=np.zeros(0, np.float32),
            rate=48000,
            bandwidth_hz=24000.0,
            first=0,
            start_ns=0,
            synced=False,
        )

    def last(self) -> None:
        """The block that was read last ends it."""
        self._count = 0

    def close(self) -> None:
        """Nothing was opened."""

    def health(self) -> CaptureHealth:
        return CaptureHealth(microphone="mic", overflows=0, gaps_s=0.0, bad_samples=0, restarts=0)


class Script:
    """A reading for each block; each tenth an alert opens, and closes five blocks later."""

    resting: tuple[str, ...] = ()

    def __init__(self, ids: Ids) -> None:
        self.told: set[tuple[str, int | None]] = set()
        self._ids = ids
        self._count = 0
        self._open = alert()

    def feed(self, block: Block) -> list[Record]:
        records: list[Record] = [reading(self._count, self._ids.new(0))]
        if self._count % 10 == 0:
            self._open = alert(self._ids.new(0))
            records += [event(self._ids.new(0)), self._open]
        if self._count % 10 == 5:
            records.append(ended(self._open))
        self._count += 1
        self._note(records)
        return records

    def finish(self, reason: EndReason) -> list[Record]:
        return []

    def _note(self, records: list[Record]) -> None:
        for record in records:
            self.told.add((getattr(record, "id", ""), getattr(record, "n", None)))
