"""The stage between meter and events: each heard second's energy goes to whom it is attributed.

A second waits until its labels are known, about a second and a half. The background is LA90 of the
ten minutes heard before it; in the first of them nothing is attributed. `energies` has the
definition, docs/attribution.md its limits.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from edge_agent.acoustics.percentiles import exceeded
from edge_agent.acoustics.tallies import energy
from edge_agent.activity import Activity
from edge_agent.energies import attributed
from edge_agent.records import Energies, Event, Prediction

_SECOND_NS = 1_000_000_000
_SAMPLES_PER_S = 8
_HISTORY = 600 * _SAMPLES_PER_S
_LEAST_HISTORY = 60 * _SAMPLES_PER_S


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """What attribution needs of a closed second."""

    start_ns: int
    heard_us: int
    """Microseconds that have a level."""
    energy: int
    """A-weighted; 10^18 is a full-scale sine for a microsecond."""
    fast: Mapping[int, int]
    """Histogram of LAF sampled each 125 ms: count by tenths of dBFS."""


class Attribution:
    """The attribution of one microphone.

    Args:
        labels: In the order of the scores.
        stationary: Those of them that are the background when they last.
    """

    def __init__(self, labels: Sequence[str], stationary: Collection[str]) -> None:
        self._stationary = frozenset(stationary)
        self._activity = Activity(labels)
        self._background = Background()
        self._waiting: deque[Second] = deque()

    def second(self, second: Second) -> list[tuple[int, Energies]]:
        """Take a closed second; what could be attributed, by start (ns), in order."""
        self._waiting.append(second)
        return self._ready()

    def prediction(
        self, prediction: Prediction, events: Iterable[Event]
    ) -> list[tuple[int, Energies]]:
        """Take a patch with the events that it changed or left open; what could be attributed."""
        told = []
        if self._activity.knows(prediction.start_ns + 1):
            # The clock was set back: of what waits from before, no more will be known.
            before = [one for one in self._waiting if one.start_ns > prediction.start_ns]
            told = [self._next() for _ in before]
        self._activity.feed(prediction, events)
        return told + self._ready()

    def finish(self, events: Iterable[Event]) -> list[tuple[int, Energies]]:
        """Take the last word on events; all that still waits."""
        self._activity.tell(events)
        self._activity.finish()
        return self._ready()

    def _ready(self) -> list[tuple[int, Energies]]:
        told = []
        while self._waiting and self._activity.knows(self._waiting[0].start_ns + _SECOND_NS):
            told.append(self._next())
        return told

    def _next(self) -> tuple[int, Energies]:
        second = self._waiting.popleft()
        scores = self._activity.scores(second.start_ns, second.start_ns + _SECOND_NS)
        la90_dbfs = self._background.la90()
        background = None if la90_dbfs is None else energy(la90_dbfs, second.heard_us)
        self._background.add(second.fast)
        split = attributed(second.energy, background, scores, self._stationary)
        return second.start_ns, split


class Background:
    """LA90 of the last ten minutes that were heard."""

    def __init__(self) -> None:
        self._seconds: deque[Mapping[int, int]] = deque()
        self._counts: dict[int, int] = {}
        self._samples = 0

    def add(self, fast: Mapping[int, int]) -> None:
        """Take a second's samples of LAF, counted by tenths of a decibel."""
        if not fast:
            return
        self._seconds.append(fast)
        self._count(fast, 1)
        while self._samples - sum(self._seconds[0].values()) >= _HISTORY:
            self._count(self._seconds.popleft(), -1)

    def la90(self) -> float | None:
        """The level that was exceeded nine tenths of the time; None before a minute was heard."""
        return exceeded(self._counts, 90) if self._samples >= _LEAST_HISTORY else None

    def _count(self, fast: Mapping[int, int], sign: int) -> None:
        for tenth, count in fast.items():
            left = self._counts.get(tenth, 0) + sign * count
            self._samples += sign * count
            if left:
                self._counts[tenth] = left
            else:
                del self._counts[tenth]
