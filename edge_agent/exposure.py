"""The level of a thing that lasts: closed readings, gathered over an event or an alert."""

import math
from collections import deque
from collections.abc import Iterable

from edge_agent.records import LevelReading

_Levels = dict[str, float | None]


class Exposure:
    """Gathers the readings that overlap a thing.

    Args:
        start_ns: When it began.
        names: The readings' values by name, so that they are there before the first reading.
        history: Readings already closed, oldest first.
    """

    def __init__(
        self, start_ns: int, names: Iterable[str], history: Iterable[LevelReading]
    ) -> None:
        self._start_ns = start_ns
        self._names = tuple(names)
        self._energy = dict.fromkeys(self._names, 0.0)
        self._heard_s = dict.fromkeys(self._names, 0.0)
        self._highest: _Levels = dict.fromkeys(self._names)
        self._waiting: deque[LevelReading] = deque()
        for reading in history:
            self.add(reading)

    def add(self, reading: LevelReading) -> None:
        """Take a reading; it counts as soon as the thing has lasted into it."""
        if reading.start_ns + reading.period_s * 1_000_000_000 > self._start_ns:
            self._waiting.append(reading)

    def until(self, end_ns: int) -> _Levels:
        """The levels from the start to `end_ns`: energy means, maxima for names that say so."""
        while self._waiting and self._waiting[0].start_ns <= end_ns:
            self._gather(self._waiting.popleft())
        return {name: self._level(name) for name in self._names}

    def _gather(self, reading: LevelReading) -> None:
        for name in self._names:
            level = reading.values.get(name)
            if level is None:
                continue
            self._energy[name] += reading.heard_s * 10 ** (level / 10)
            self._heard_s[name] += reading.heard_s
            highest = self._highest[name]
            self._highest[name] = level if highest is None else max(highest, level)

    def _level(self, name: str) -> float | None:
        if "max" in name or "peak" in name:
            return self._highest[name]
        if self._heard_s[name] == 0:
            return None
        return 10 * math.log10(self._energy[name] / self._heard_s[name])
