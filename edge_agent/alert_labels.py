"""A rule of labels: it waits for an event with the least score and duration."""

from collections.abc import Sequence

from edge_agent.alert import UPDATE_NS, OpenAlert, alert_of, ended_alert, updated
from edge_agent.config import AlertConfig
from edge_agent.reasons import AlertReason, AlertStep, Observe
from edge_agent.records import Alert, EndReason, Event, NewId

_MOST_EVENTS = 8


class LabelRule:
    """The state of a rule of labels.

    Args:
        name: Of the rule.
        settings: As configured.
        observe: Hears what the rule still lacks, while an event feeds it.
    """

    def __init__(self, name: str, settings: AlertConfig, observe: Observe | None = None) -> None:
        self._observe = observe
        self.name = name
        self.settings = settings
        self.open: OpenAlert | None = None
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
        if self.open is None:
            if not found:
                self._say_lack(events, made_ns)
                return []
            self._members.clear()
            first = min(found, key=lambda event: event.start_ns)
            self.open = OpenAlert(
                id=new_id(first.start_ns),
                microphone=first.microphone,
                start_ns=first.start_ns,
                last_ns=first.start_ns,
                synced=first.synced,
                told_ns=made_ns,
                value=0.0,
            )
            self._gather(self.open, found)
            self._say("started", found, made_ns)
            return [alert_of(self, self.open, made_ns, "start")]
        ended = [event for event in changes if event.phase == "end" and event.id in self._members]
        going_on = [event for event in events if event.id in self._members or event in found]
        self._gather(self.open, [*ended, *going_on])
        if not going_on and ended:
            reason = ended[-1].end_reason or "quiet"
            self._say("ended", ended, made_ns, reason)
            return [ended_alert(self, made_ns, reason)]
        self._say("goes_on", going_on, made_ns)
        if made_ns - self.open.told_ns < UPDATE_NS:
            return []
        return [updated(self, self.open, made_ns)]

    def end(self, reason: EndReason, at_ns: int) -> list[Alert]:
        """End what is open."""
        if self.open is None:
            return []
        self.open.last_ns = max(self.open.last_ns, at_ns)
        self._say("ended", [], at_ns, reason)
        return [ended_alert(self, at_ns, reason)]

    def _qualifies(self, event: Event) -> bool:
        return self._lack(event) is None

    def _lack(self, event: Event) -> AlertStep | None:
        """What an event still lacks."""
        if event.score_max < self.limit:
            return "min_score"
        if event.duration_s < (self.settings.min_duration_s or 0.0):
            return "min_duration"
        return None

    def _say_lack(self, events: Sequence[Event], made_ns: int) -> None:
        """Of several events the one that lacks least speaks."""
        if self._observe is None or not events:
            return
        strong = [event for event in events if event.score_max >= self.limit]
        if strong:
            best = max(strong, key=lambda event: event.duration_s)
        else:
            best = max(events, key=lambda event: event.score_max)
        step = self._lack(best)
        assert step is not None, "it would have been found"
        self._say(step, [best], made_ns)

    def _say(
        self,
        step: AlertStep,
        events: Sequence[Event],
        made_ns: int,
        end_reason: EndReason | None = None,
    ) -> None:
        if self._observe is None:
            return
        now = self.open
        self._observe(
            AlertReason(
                rule=self.name,
                at_ns=made_ns,
                step=step,
                value=now.value if now else max(event.score_max for event in events),
                limit=self.limit,
                indicator=None,
                labels=now.labels if now else tuple(event.label for event in events),
                duration_s=max(
                    (event.duration_s for event in events),
                    default=(now.last_ns - now.start_ns) / 1e9 if now else 0.0,
                ),
                needed_s=self.settings.min_duration_s or 0.0,
                end_reason=end_reason,
            )
        )

    def _gather(self, now: OpenAlert, events: Sequence[Event]) -> None:
        for event in events:
            self._members.add(event.id)
            now.value = max(now.value, event.score_max)
            now.last_ns = max(now.last_ns, event.start_ns + round(event.duration_s * 1e9))
            if event.label not in now.labels:
                now.labels = (*now.labels, event.label)
            if event.id not in now.events and len(now.events) < _MOST_EVENTS:
                now.events = (*now.events, event.id)
