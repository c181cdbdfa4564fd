"""Thresholds for a budget of false alarms, chosen on validation streams alone.

For each number of alarms that a label might be allowed, each way of counting patches (N of M) and
each distance of `off` below `on`, `on` goes down the grid of the int8 scores to the smallest value
with which the agent tells no more events on event-free sound. That value and two above it are tried
in the street scenes, and the one wins that serves best there: events told in time, without telling
others, and with the right extent. A higher one than the smallest wins only if it does better:
background that stays above a low `off` never lets an event end, and other sounds of the street are
no background.

The alarms that the budget allows then go to the labels where they do most good, first to those for
which somebody is called out: a label that the background never resembles needs none, and one loud
stranger does not silence another.
"""

import math
from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from edge_agent.labels import EventRule, Label
from model_build.detection import Heard, decide, only, spans
from model_build.event_metrics import Counts, delays_s, matched, percentile, summed

STEPS = 256
"""An int8 score has so many values: closer thresholds are the same threshold."""
URGENT = 4.0
"""What a label for which somebody is called out weighs beside another."""
IN_TIME_S = 2.0
"""From onset to telling; slower is as good as missed, to whoever must act."""

# A shot is loud in one patch and half over in the next: with two of three, five of eight gunshots
# were lost that one patch tells.
COUNTING = {True: ((1, 1),), False: ((1, 1), (2, 3), (3, 4), (4, 6))}
"""N of M that are tried, for impulsive and for lasting labels."""
# An alarm that lasts counts again each minute: at a low `off` a single one would never end.
_ALARM_S = 60.0
_OFF_SHARES = (0.5, 0.7, 0.9)
_LIFTS = (0, 16, 48)
# Alarms that a label may be allowed; every number would take long for little.
_LEVELS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A label's rule and what it gave on validation streams."""

    on: float
    off: float
    n: int
    m: int
    alarms: int
    """On event-free sound; one that lasts counts again each minute."""
    counts: Counts
    """In the street scenes."""
    told_in_time: int
    told_in_event: int
    delay_p50_s: float | None

    @property
    def worth(self) -> float:
        """F1 of events as told (in time, in an event), plus event-based F1; 0 to 2."""
        all_of = self.counts.true + self.counts.told
        in_time = (self.told_in_time + self.told_in_event) / all_of if all_of else 0.0
        return in_time + (self.counts.f1 or 0.0)


def allotted(
    listeners: Sequence["Listener"], allowed: int, urgent: Collection[str] = ()
) -> tuple[Trial, ...]:
    """A trial for each label, worth the most together with at most so many alarms in all.

    Where not even the fewest alarms of every label are within, those are taken.

    Args:
        listeners: One for each label.
        allowed: Alarms, all labels together.
        urgent: Labels that weigh `URGENT` times as much.
    """
    levels = [level for level in _LEVELS if level <= allowed]
    options = [[listener.chosen(level) for level in levels] for listener in listeners]
    most = max(allowed, sum(trials[0].alarms for trials in options))
    # By alarms spent so far: the best that they bought.
    best: dict[int, tuple[float, tuple[Trial, ...]]] = {0: (0.0, ())}
    for at, (listener, trials) in enumerate(zip(listeners, options, strict=True)):
        weight = URGENT if listener.label.id in urgent else 1.0
        # What the labels still to come cannot do without.
        kept = sum(others[0].alarms for others in options[at + 1 :])
        following: dict[int, tuple[float, tuple[Trial, ...]]] = {}
        for spent, (worth, taken) in best.items():
            for trial in trials:
                cost = spent + trial.alarms
                bought = (worth + weight * trial.worth, (*taken, trial))
                if cost + kept <= most and bought[0] > following.get(cost, (-1.0, ()))[0]:
                    following[cost] = bought
        best = following
    return max(best.values(), key=lambda bought: bought[0])[1]


class Listener:
    """One label on validation streams.

    Args:
        label: As the bundle has it; least duration and cooldown stay.
        at: Its place among the scores.
        scenes: Street scenes.
        free: Event-free streams.
    """

    def __init__(
        self, label: Label, at: int, scenes: Sequence[Heard], free: Sequence[Heard]
    ) -> None:
        self.label = label
        self._scenes = [
            msgspec.structs.replace(
                only(scene, at),
                truth=tuple(event for event in scene.truth if event.label == label.id),
            )
            for scene in scenes
        ]
        self._free = [only(stream, at) for stream in free]
        self.hours = sum(stream.seconds for stream in free) / 3600
        self._tried: dict[EventRule, Trial] = {}
        self._counted: dict[EventRule, int] = {}

    def chosen(self, allowed: int) -> Trial:
        """The best trial with at most so many alarms; if there is none, one with the fewest."""
        trials = [
            self.tried(min(STEPS - 1, smallest + lift), off_share, n, m)
            for n, m in COUNTING[self.label.impulsive]
            for off_share in _OFF_SHARES
            for smallest in [self.smallest_on(n, m, off_share, allowed)]
            for lift in _LIFTS
        ]
        return max(trials, key=lambda trial: (-max(allowed, trial.alarms), trial.worth))

    def smallest_on(self, n: int, m: int, off_share: float, allowed: int) -> int:
        """The smallest step from which up to the top none gives more alarms than allowed."""
        # From just above the best n of m nothing opens; only below does the agent need to be asked.
        on = min(STEPS - 1, int(np.floor(self._peak(n, m) * STEPS)) + 1)
        while on > 1 and self._alarms(self._rule(on - 1, off_share, n, m)) <= allowed:
            on -= 1
        return on

    def tried(self, on: int, off_share: float, n: int, m: int) -> Trial:
        """What a rule gives.

        Args:
            on: In steps of the grid.
            off_share: Of `on`.
            n: Patches above `on`,
            m: of so many.
        """
        rule = self._rule(on, off_share, n, m)
        if rule not in self._tried:
            self._tried[rule] = self._trial(rule)
        return self._tried[rule]

    def _trial(self, rule: EventRule) -> Trial:
        counts, delays = [], []
        for scene in self._scenes:
            told = spans(decide((rule,), scene))
            right = len(matched(scene.truth, told, impulsive=self.label.impulsive))
            counts.append(Counts(true=len(scene.truth), told=len(told), right=right))
            delays += [delay for delay in delays_s(scene.truth, told) if delay is not None]
        return Trial(
            on=rule.on,
            off=rule.off,
            n=rule.n,
            m=rule.m,
            alarms=self._alarms(rule),
            counts=summed(counts),
            told_in_time=sum(delay <= IN_TIME_S for delay in delays),
            told_in_event=len(delays),
            delay_p50_s=percentile(delays, 50),
        )

    def _peak(self, n: int, m: int) -> float:
        """The highest score that n of m patches in a row reach somewhere."""
        peak = 0.0
        for stream in self._free:
            if not stream.predictions:
                continue
            scores = np.array([prediction.scores[0] for prediction in stream.predictions])
            padded = np.concatenate([np.zeros(m - 1, np.float32), scores])
            windows = np.lib.stride_tricks.sliding_window_view(padded, m)
            peak = max(peak, float(np.sort(windows, axis=1)[:, m - n].max()))
        return peak

    def _alarms(self, rule: EventRule) -> int:
        if rule not in self._counted:
            self._counted[rule] = sum(
                max(1, math.ceil((span.offset_s - span.onset_s) / _ALARM_S))
                for stream in self._free
                for span in spans(decide((rule,), stream))
            )
        return self._counted[rule]

    def _rule(self, on: int, off_share: float, n: int, m: int) -> EventRule:
        return EventRule(
            label=self.label.id,
            on=on / STEPS,
            off=max(1, round(off_share * on)) / STEPS,
            n=n,
            m=m,
            min_duration_s=self.label.min_duration_s,
            cooldown_s=self.label.cooldown_s,
        )
