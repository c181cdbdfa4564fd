"""Which labels were active in a second, and how surely: from the patches and events around it.

A label is active where its event is on for at least half of the second, from the event's start to
the last patch at or above its threshold, as the list of events has it. Its score is the mean of
its scores in the patches that overlap the second, weighted by how much they do. All that is known
of a second once a patch begins after it; an event that is told later still, since it has to last
`min_duration_s`, is missing from the seconds before.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from edge_agent.records import Event, Prediction

_NO_TIME = -(1 << 62)


class Activity:
    """What is heard, asked for second by second in the order of time.

    Args:
        labels: In the order of the scores.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._patches: deque[Prediction] = deque()
        self._spans: dict[str, tuple[str, int, int]] = {}
        self._known_to_ns = _NO_TIME

    def feed(self, prediction: Prediction, events: Iterable[Event]) -> None:
        """Take a patch, and the events that it changed or left open."""
        self._patches.append(prediction)
        self.tell(events)
        self._known_to_ns = prediction.start_ns

    def tell(self, events: Iterable[Event]) -> None:
        """Take what became of events."""
        for event in events:
            last_ns = event.start_ns + round(event.duration_s * 1e9)
            self._spans[event.id] = (event.label, event.start_ns, last_ns)

    def finish(self) -> None:
        """No patch will come any more: all is known."""
        self._known_to_ns = -_NO_TIME

    def knows(self, end_ns: int) -> bool:
        """Whether all is known of what ended at `end_ns`."""
        return end_ns <= self._known_to_ns

    def scores(self, start_ns: int, end_ns: int) -> dict[str, float]:
        """The active labels with their scores; what lies before `start_ns` is forgotten."""
        while self._patches and self._patches[0].end_ns <= start_ns:
            self._patches.popleft()
        self._spans = {event: span for event, span in self._spans.items() if span[2] > start_ns}
        lasted = dict.fromkeys((label for label, _, _ in self._spans.values()), 0)
        for label, first_ns, last_ns in self._spans.values():
            lasted[label] += max(0, min(last_ns, end_ns) - max(first_ns, start_ns))
        active = [label for label in self._labels if 2 * lasted.get(label, 0) >= end_ns - start_ns]
        return {label: self._score(label, start_ns, end_ns) for label in active}

    def _score(self, label: str, start_ns: int, end_ns: int) -> float:
        place = self._labels.index(label)
        weight = weighted = 0.0
        for patch in self._patches:
            overlap_ns = max(0, min(patch.end_ns, end_ns) - max(patch.start_ns, start_ns))
            weight += overlap_ns
            weighted += overlap_ns * float(patch.scores[place])
        return weighted / weight if weight else 0.0
