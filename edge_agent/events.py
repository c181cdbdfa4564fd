"""Scores become events: thresholds with hysteresis, N of M, least duration, cooldown, per label.

A label's event opens when N of its last M patches reach `on` and lasts until M patches in a row
stay below `off`. A patch stands for the moment in its middle: the onset is the middle of the first
patch that counted, the end that of the last one at or above `off`. An impulsive label opens with
one patch (N = M = 1). Whoever wants to know why hears a reason for each patch.
"""

from collections import deque

import msgspec

from edge_agent.labels import EventRule
from edge_agent.reasons import LabelReason, LabelStep, Observe
from edge_agent.records import EndReason, Event, NewId, Phase, Prediction

_UPDATE_NS = 10_000_000_000


class _Open(msgspec.Struct, kw_only=True):
    """An event that has not ended; it has no id before it lasted long enough to be told."""

    start_ns: int
    last_ns: int
    score: float
    score_max: float
    synced: bool
    id: str = ""
    n: int = 0
    told_ns: int = 0

    @property
    def duration_s(self) -> float:
        return (self.last_ns - self.start_ns) / 1e9


class _Label:
    """The state of one label."""

    def __init__(self, rule: EventRule) -> None:
        self.rule = rule
        self.open: _Open | None = None
        self.recent: deque[tuple[int, float]] = deque(maxlen=rule.m)
        self._cool_ns: int | None = None

    def hear(self, middle_ns: int, score: float, synced: bool) -> LabelStep:
        """Take a patch's score; it may open an event or carry one on.

        Returns:
            What held it back; where an event is open, the event is judged next.
        """
        self.recent.append((middle_ns, score))
        if self.open is not None:
            self.open.score = score
            self.open.score_max = max(self.open.score_max, score)
            if score >= self.rule.off:
                self.open.last_ns = middle_ns
            return "goes_on"
        if score < self.rule.on:
            return "below_on"
        counted = self.counted()
        if len(counted) < self.rule.n:
            return "cooldown" if self._cooling(middle_ns) else "n_of_m"
        self.open = _Open(
            start_ns=counted[0][0],
            last_ns=middle_ns,
            score=score,
            score_max=max(value for _, value in counted),
            synced=synced,
        )
        return "started"

    def counted(self) -> list[tuple[int, float]]:
        """The recent patches that count towards an event."""
        return [
            (at_ns, score)
            for at_ns, score in self.recent
            if score >= self.rule.on and not self._cooling(at_ns)
        ]

    def is_quiet(self) -> bool:
        """M patches in a row stayed below `off`."""
        full = len(self.recent) == self.rule.m
        return full and all(score < self.rule.off for _, score in self.recent)

    def close(self) -> None:
        """The event is over; the cooldown begins if it was told."""
        if self.open is not None and self.open.id:
            self._cool_ns = self.open.last_ns + round(self.rule.cooldown_s * 1e9)
        self.open = None

    def reason(
        self,
        step: LabelStep,
        at_ns: int,
        score: float | None,
        now: _Open | None,
        end_reason: EndReason | None,
    ) -> LabelReason:
        """The step in words that can be kept; `now` is the event as it was judged."""
        return LabelReason(
            label=self.rule.label,
            at_ns=at_ns,
            step=step,
            score=score,
            on=self.rule.on,
            off=self.rule.off,
            n=self.rule.n,
            m=self.rule.m,
            counted=len(self.counted()) if step == "n_of_m" else None,
            min_duration_s=self.rule.min_duration_s,
            duration_s=0.0 if now is None else now.duration_s,
            cool_until_ns=self._cool_ns if step == "cooldown" else None,
            end_reason=end_reason,
        )

    def _cooling(self, at_ns: int) -> bool:
        return self._cool_ns is not None and at_ns < self._cool_ns


class Events:
    """The events of one microphone.

    Args:
        rules: One per label, in the order of the classifier's scores.
        max_duration_s: An event that lasts longer is ended and may begin again.
        new_id: Gives an event its id.
        observe: Hears the reason of each decision.
    """

    def __init__(
        self,
        rules: tuple[EventRule, ...],
        max_duration_s: float,
        new_id: NewId,
        observe: Observe | None = None,
    ) -> None:
        self._observe = observe
        self._labels = [_Label(rule) for rule in rules]
        self._max_duration_s = max_duration_s
        self._new_id = new_id
        self._last: Prediction | None = None

    def feed(self, prediction: Prediction) -> list[Event]:
        """What this patch starts, carries on and ends; `levels` are left empty."""
        told: list[Event] = []
        if self._last is not None and prediction.gap_before:
            told += self._bridge(self._last, prediction)
        self._last = prediction
        middle_ns = (prediction.start_ns + prediction.end_ns) // 2
        for label, score in zip(self._labels, prediction.scores.tolist(), strict=True):
            if label.open is None and score < label.rule.on and self._observe is None:
                # Most labels, most of the time.
                label.recent.append((middle_ns, score))
                continue
            step = label.hear(middle_ns, score, prediction.synced)
            now, event = label.open, None
            if now is not None:
                step, event = self._judge(label, now, prediction)
            if event is not None:
                told.append(event)
            if self._observe is not None:
                why = event.end_reason if event else "quiet" if step == "dropped" else None
                self._observe(label.reason(step, middle_ns, score, now, why))
        return told

    def open(self) -> list[Event]:
        """The events that were told and have not ended, as they stand after the last patch."""
        if self._last is None:
            return []
        return [
            _event(label, label.open, self._last, "update")
            for label in self._labels
            if label.open is not None and label.open.id
        ]

    def finish(self, reason: EndReason, at_ns: int) -> list[Event]:
        """End what is open at `at_ns`: nobody knows that it stopped before."""
        if self._last is None:
            return []
        for label in self._labels:
            if label.open is not None:
                label.open.last_ns = max(label.open.last_ns, at_ns)
        last = msgspec.structs.replace(self._last, end_ns=at_ns)
        return self._end_all(last, reason, at_ns)

    def _bridge(self, before: Prediction, after: Prediction) -> list[Event]:
        """Events survive a hole that is shorter than a patch."""
        hole_ns = after.start_ns - before.end_ns
        if 0 <= hole_ns < after.end_ns - after.start_ns:
            return []
        return self._end_all(after, "gap", after.start_ns)

    def _end_all(self, prediction: Prediction, reason: EndReason, at_ns: int) -> list[Event]:
        ended = []
        for label in self._labels:
            now, event = label.open, _ended(label, prediction, reason)
            if event is not None:
                ended.append(event)
            if self._observe is not None and (now is not None or label.counted()):
                step: LabelStep = "dropped" if event is None else "ended"
                self._observe(label.reason(step, at_ns, None, now, reason))
            label.recent.clear()
        return ended

    def _judge(
        self, label: _Label, now: _Open, prediction: Prediction
    ) -> tuple[LabelStep, Event | None]:
        """What becomes of an open event."""
        if label.is_quiet():
            ended = _ended(label, prediction, "quiet")
            return "dropped" if ended is None else "ended", ended
        if not now.id:
            if now.duration_s < label.rule.min_duration_s:
                return "min_duration", None
            now.id = self._new_id(now.start_ns)
            now.told_ns = prediction.end_ns
            return "started", _event(label, now, prediction, "start")
        if now.duration_s >= self._max_duration_s:
            return "ended", _ended(label, prediction, "max_duration")
        if prediction.end_ns - now.told_ns >= _UPDATE_NS:
            now.n += 1
            now.told_ns = prediction.end_ns
            return "goes_on", _event(label, now, prediction, "update")
        return "goes_on", None


def _ended(label: _Label, prediction: Prediction, reason: EndReason) -> Event | None:
    """Close the label's event; it has an end only if it had a start."""
    now = label.open
    label.close()
    if now is None or not now.id:
        return None
    now.n += 1
    return _event(label, now, prediction, "end", reason)


def _event(
    label: _Label,
    now: _Open,
    prediction: Prediction,
    phase: Phase,
    reason: EndReason | None = None,
) -> Event:
    return Event(
        id=now.id,
        n=now.n,
        phase=phase,
        microphone=prediction.microphone,
        label=label.rule.label,
        start_ns=now.start_ns,
        end_ns=now.last_ns if phase == "end" else None,
        made_ns=prediction.end_ns,
        synced=now.synced,
        score=now.score,
        score_max=now.score_max,
        duration_s=now.duration_s,
        levels={},
        end_reason=reason,
    )
