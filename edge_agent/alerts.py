"""Rules of the configuration become alerts: labels that are heard, or a level that lasts.

A rule of labels is on while an event of one of them is open that has reached the least score and
lasted long enough; once on, it stays on until the last of its events has ended. A rule of a level
goes on when the indicator was above the limit for `for_s` seconds in a row, and off when it was not
for as long; its `value` is the highest level so far.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from edge_agent.config import AlertConfig
from edge_agent.records import Alert, EndReason, Event, LevelReading, NewId, Phase

_UPDATE_NS = 10_000_000_000
_SECOND_NS = 1_000_000_000
_MOST_EVENTS = 8


class _Open(msgspec.Struct, kw_only=True):
    """An alert that has not ended."""

    id: str
    microphone: str
    start_ns: int
    last_ns: int
    synced: bool
    told_ns: int
    value: float
    n: int = 0
    labels: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


class _Rule(Protocol):
    name: str
    settings: AlertConfig
    open: _Open | None

    @property
    def limit(self) -> float: ...

    @property
    def indicator(self) -> str | None: ...


class _LabelRule:
    """The state of a rule of labels."""

    def __init__(self, name: str, settings: AlertConfig) -> None:
        self.name = name
        self.settings = settings
        self.open: _Open | None = None
        self.limit = settings.min_score or 0.0
        self.indicator: str | None = None
        self._labels = frozenset(settings.labels or ())
        self._members: set[str] = set()

    def feed(
        self, changes: Sequence[Event], open_events: Sequence[Event], made_ns: int, new_id: NewId
    ) -> list[Alert]:
        """What the events of one patch mean to this rule."""
        events = [event for event in open_events if event.label in self._labels]
        found = [event for event in events if self._qualifies(event)]
        told: list[Alert] = []
        if self.open is None:
            if not found:
                return []
            self._members.clear()
            first = min(found, key=lambda event: event.start_ns)
            self.open = _Open(
                id=new_id(first.start_ns),
                microphone=first.microphone,
                start_ns=first.start_ns,
                last_ns=first.start_ns,
                synced=first.synced,
                told_ns=made_ns,
                value=0.0,
            )
            self._gather(self.open, found)
            told.append(_alert(self, self.open, made_ns, "start"))
            return told
        ended = [event for event in changes if event.phase == "end" and event.id in self._members]
        going_on = [event for event in events if event.id in self._members or event in found]
        self._gather(self.open, [*ended, *going_on])
        if not going_on and ended:
            told.append(_ended(self, made_ns, ended[-1].end_reason or "quiet"))
        elif made_ns - self.open.told_ns >= _UPDATE_NS:
            told.append(_updated(self, self.open, made_ns))
        return told

    def _qualifies(self, event: Event) -> bool:
        long_enough = event.duration_s >= (self.settings.min_duration_s or 0.0)
        return event.score_max >= self.limit and long_enough

    def _gather(self, now: _Open, events: Sequence[Event]) -> None:
        for event in events:
            self._members.add(event.id)
            now.value = max(now.value, event.score_max)
            now.last_ns = max(now.last_ns, event.start_ns + round(event.duration_s * 1e9))
            if event.label not in now.labels:
                now.labels = (*now.labels, event.label)
            if event.id not in now.events and len(now.events) < _MOST_EVENTS:
                now.events = (*now.events, event.id)


class _LevelRule:
    """The state of a rule of a level."""

    def __init__(self, name: str, settings: AlertConfig, offset_db: float | None) -> None:
        self.name = name
        self.settings = settings
        self.open: _Open | None = None
        self._offset_db = offset_db
        self.indicator: str | None = str(settings.indicator)
        if settings.above_dbfs is not None:
            self.indicator = f"{settings.indicator}_dbfs"
            self.limit = settings.above_dbfs
        else:
            self.limit = settings.above_db or 0.0
        self._for_ns = (settings.for_s or 1) * _SECOND_NS
        self._above_since_ns: int | None = None
        self._highest = 0.0
        self._below_since_ns: int | None = None
        self._next_ns: int | None = None

    def feed(self, reading: LevelReading, new_id: NewId) -> list[Alert]:
        """What one closed second means to this rule."""
        end_ns = reading.start_ns + reading.period_s * _SECOND_NS
        missed = self._next_ns is not None and reading.start_ns != self._next_ns
        told: list[Alert] = []
        if missed:
            self._above_since_ns = None
            if self._below_since_ns is None:
                self._below_since_ns = self._next_ns
            told = self._unheard(reading)
        self._next_ns = end_ns
        return [*told, *self._heard(reading, end_ns, new_id, missed=missed)]

    def _unheard(self, reading: LevelReading) -> list[Alert]:
        """Seconds that nobody heard count as quiet, also when a loud one follows them."""
        since_ns = self._below_since_ns
        if self.open is None or since_ns is None or reading.start_ns - since_ns < self._for_ns:
            return []
        return [_ended(self, reading.made_ns, "gap")]

    def _heard(
        self, reading: LevelReading, end_ns: int, new_id: NewId, *, missed: bool
    ) -> list[Alert]:
        level = self._level(reading)
        if level is None or level <= self.limit:
            return self._below(reading, end_ns, "gap" if missed else "quiet")
        self._highest = level if self._above_since_ns is None else max(self._highest, level)
        if self._above_since_ns is None:
            self._above_since_ns = reading.start_ns
        if self.open is None:
            return self._start(reading, end_ns, self._above_since_ns, new_id)
        self._below_since_ns = None
        self.open.last_ns = end_ns
        self.open.value = max(self.open.value, level)
        if reading.made_ns - self.open.told_ns >= _UPDATE_NS:
            return [_updated(self, self.open, reading.made_ns)]
        return []

    def _start(
        self, reading: LevelReading, end_ns: int, since_ns: int, new_id: NewId
    ) -> list[Alert]:
        if end_ns - since_ns < self._for_ns:
            return []
        self._below_since_ns = None
        self.open = _Open(
            id=new_id(since_ns),
            microphone=reading.microphone,
            start_ns=since_ns,
            last_ns=end_ns,
            synced=reading.synced,
            told_ns=reading.made_ns,
            value=self._highest,
        )
        return [_alert(self, self.open, reading.made_ns, "start")]

    def _below(self, reading: LevelReading, end_ns: int, reason: EndReason) -> list[Alert]:
        self._above_since_ns = None
        if self._below_since_ns is None:
            self._below_since_ns = reading.start_ns
        if self.open is None or end_ns - self._below_since_ns < self._for_ns:
            return []
        return [_ended(self, reading.made_ns, reason)]

    def _level(self, reading: LevelReading) -> float | None:
        """The reading in the unit of the limit."""
        indicator = self.settings.indicator
        if self._offset_db is None:
            return reading.values.get(f"{indicator}_dbfs")
        level_db = reading.values.get(str(indicator))
        if level_db is None or self.settings.above_db is not None:
            return level_db
        return level_db - self._offset_db


class Alerts:
    """The alerts of one microphone.

    Args:
        rules: By name, as configured.
        offset_db: Of the microphone's calibration. Without it rules in dB SPL rest, for they
            cannot be judged; `resting` names them.
        new_id: Gives an alert its id.
    """

    def __init__(
        self, rules: Mapping[str, AlertConfig], offset_db: float | None, new_id: NewId
    ) -> None:
        self._new_id = new_id
        self.resting = tuple(
            name for name, rule in rules.items() if rule.above_db is not None and offset_db is None
        )
        self._of_labels = [_LabelRule(n, rule) for n, rule in rules.items() if rule.labels]
        self._of_levels = [
            _LevelRule(name, rule, offset_db)
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
        rules: list[_Rule] = [*self._of_labels, *self._of_levels]
        for rule in rules:
            if rule.open is not None:
                rule.open.last_ns = max(rule.open.last_ns, at_ns)
                told.append(_ended(rule, at_ns, reason))
        return told


def _updated(rule: _Rule, now: _Open, made_ns: int) -> Alert:
    now.n += 1
    now.told_ns = made_ns
    return _alert(rule, now, made_ns, "update")


def _ended(rule: _Rule, made_ns: int, reason: EndReason) -> Alert:
    now = rule.open
    assert now is not None, "only what is open can end"
    rule.open = None
    now.n += 1
    return _alert(rule, now, made_ns, "end", reason)


def _alert(
    rule: _Rule, now: _Open, made_ns: int, phase: Phase, reason: EndReason | None = None
) -> Alert:
    return Alert(
        id=now.id,
        n=now.n,
        phase=phase,
        rule=rule.name,
        severity=rule.settings.severity,
        microphone=now.microphone,
        start_ns=now.start_ns,
        end_ns=now.last_ns if phase == "end" else None,
        made_ns=made_ns,
        synced=now.synced,
        duration_s=(now.last_ns - now.start_ns) / 1e9,
        labels=now.labels,
        indicator=rule.indicator,
        value=now.value,
        limit=rule.limit,
        events=now.events,
        levels={},
        end_reason=reason,
    )
