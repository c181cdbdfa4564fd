"""Rules of the configuration become alerts: labels that are heard, or a level that lasts.

A rule of labels is on while an event of one of them is open that has reached the least score and
lasted long enough; once on, it stays on until the last of its events has ended. A rule of a level
goes on when the indicator was above the limit for `for_s` seconds in a row, and off when it was not
for as long; its `value` is the highest level so far.
"""

from collections.abc import Mapping, Sequence

from edge_agent.alert_labels import LabelRule
from edge_agent.alert_levels import LevelRule
from edge_agent.config import AlertConfig
from edge_agent.reasons import Observe
from edge_agent.records import Alert, EndReason, Event, LevelReading, NewId


class Alerts:
    """The alerts of one microphone.

    Args:
        rules: By name, as configured.
        offset_db: Of the microphone's calibration. Without it rules in dB SPL rest, for they
            cannot be judged; `resting` names them.
        new_id: Gives an alert its id.
        observe: Hears the reason of each decision.
    """

    def __init__(
        self,
        rules: Mapping[str, AlertConfig],
        offset_db: float | None,
        new_id: NewId,
        observe: Observe | None = None,
    ) -> None:
        self._new_id = new_id
        self.resting = tuple(
            name for name, rule in rules.items() if rule.above_db is not None and offset_db is None
        )
        self._of_labels = [LabelRule(n, rule, observe) for n, rule in rules.items() if rule.labels]
        self._of_levels = [
            LevelRule(name, rule, offset_db, observe)
            for name, rule in rules.items()
            if rule.indicator and name not in self.resting
        ]

    def feed_events(
        self, changes: Sequence[Event], open_events: Sequence[Event], made_ns: int
    ) -> list[Alert]:
        """The alerts that follow from one patch: its changes and all events that are open."""
        told = []
        for rule in self._of_labels:
            told += rule.feed(changes, open_events, made_ns, self._new_id)
        return told

    def feed_reading(self, reading: LevelReading) -> list[Alert]:
        """The alerts that follow from one closed second."""
        told = []
        for rule in self._of_levels:
            told += rule.feed(reading, self._new_id)
        return told

    def finish(self, reason: EndReason, at_ns: int) -> list[Alert]:
        """End what is open at `at_ns`."""
        told = []
        rules: list[LabelRule | LevelRule] = [*self._of_labels, *self._of_levels]
        for rule in rules:
            told += rule.end(reason, at_ns)
        return told
