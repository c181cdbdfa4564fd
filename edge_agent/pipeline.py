"""Sound in, records out: the one object that `run`, `replay` and `demo` share.

`Sensing` turns blocks into readings and predictions, `Deciding` turns those into events and alerts.
Between the two they are put in the order of their time, so that what is decided depends on the
sound and never on how it was cut into blocks.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np

from edge_agent.acoustics.periods import Earlier, Periods
from edge_agent.acoustics.response import Response
from edge_agent.alerts import Alerts
from edge_agent.attribution import Attribution, Second
from edge_agent.bundle import Bundle
from edge_agent.config import Config
from edge_agent.events import Events
from edge_agent.exposure import Exposure
from edge_agent.frontend import Patch, Patches
from edge_agent.labels import EventRule, event_rules, problems
from edge_agent.levels import Levels
from edge_agent.reasons import Observe
from edge_agent.records import (
    Alert,
    Block,
    Calibration,
    EndReason,
    Energies,
    Event,
    LevelReading,
    NewId,
    Prediction,
    Record,
    Samples,
)
from edge_agent.resample import Resampler

_BLOCK_RATE = 48000
_NO_SAMPLES = np.empty(0, np.float32)
_SECOND_NS = 1_000_000_000
# An event is told at most a few patches after its onset; older readings matter only to rules that
# wait longer.
_HISTORY_S = 10
# A second may end a grid step of the meter, and a correction of the clock, after its last sample.
_LATE_NS = 5_000_000
# What events and alerts tell of their level.
_OF_EVENTS = {"LAeq", "LAFmax", "LAeq_dbfs", "LAFmax_dbfs"}


class Classifies(Protocol):
    """What gives a patch its scores."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the scores."""
        ...

    def scores(self, features: Samples) -> Samples:
        """One score per label, 0 to 1, for a patch of the bundle's front end."""
        ...


class Sensing:
    """Blocks of one microphone to readings and predictions, each in the order of its time.

    The meter gets the blocks of a second together, with the one that may complete it: whatever it
    works with has left the caches after a quarter of a second, and to fetch it costs more than the
    arithmetic.

    Args:
        levels: The meter.
        patches: The model's front end.
        model_rate: Of the front end, Hz.
        classifier: Scores a patch.
    """

    def __init__(
        self, levels: Levels, patches: Patches, model_rate: int, classifier: Classifies
    ) -> None:
        self.readings: deque[LevelReading] = deque()
        self.predictions: deque[Prediction] = deque()
        self._levels = levels
        self._patches = patches
        self._resampler = Resampler(_BLOCK_RATE, model_rate)
        self._ratio = _BLOCK_RATE / model_rate
        self._classifier = classifier
        self._unmeasured: list[Block] = []
        self._marks: deque[Block] = deque()
        self._anchor = 0
        self._next_patch = 0
        self._gap_before = False

    def feed(self, block: Block) -> None:
        """Measure and classify a block."""
        self._unmeasured.append(block)
        if self._may_complete_a_second(block):
            self._measure()
        if block.missed:
            self._resampler.reset()
            self._patches.reset()
            self._marks.clear()
            self._gap_before = True
        if not self._marks:
            self._anchor = self._next_patch = block.first
        self._marks.append(msgspec.structs.replace(block, samples=_NO_SAMPLES))
        self._classify(self._patches.push(self._resampler.push(block.samples)))

    def finish(self) -> None:
        """What the end of the stream still completes."""
        self._measure()
        self.readings += self._levels.finish()
        if self._marks:
            self._classify(self._patches.push(self._resampler.flush()))
            self._classify(self._patches.flush())

    def next_reading_ns(self) -> int:
        """The next reading is made at this time or later."""
        return self.readings[0].made_ns if self.readings else self._levels.next_made_ns()

    def next_prediction_ns(self) -> int:
        """The next prediction is made at this time or later."""
        if self.predictions:
            return self.predictions[0].end_ns
        return self._time_ns(self._next_patch + round(self._patches.span * self._ratio))

    def _may_complete_a_second(self, block: Block) -> bool:
        end_ns = block.start_ns + len(block.samples) * _SECOND_NS // block.rate
        made_ns = self._levels.next_made_ns()
        # One that begins before the second that is being measured: the clock was set back.
        return end_ns + _LATE_NS >= made_ns or block.start_ns < made_ns - _SECOND_NS

    def _measure(self) -> None:
        for block in self._unmeasured:
            self.readings += self._levels.feed(block)
        self._unmeasured.clear()

    def _classify(self, patches: list[Patch]) -> None:
        span = round(self._patches.span * self._ratio)
        for patch in patches:
            first = self._anchor + round(patch.first * self._ratio)
            mark = self._mark_of(first)
            prediction = Prediction(
                microphone=mark.microphone,
                start_ns=self._time_ns(first),
                end_ns=self._time_ns(first + span),
                scores=self._classifier.scores(patch.features),
                synced=mark.synced,
                gap_before=self._gap_before,
            )
            self.predictions.append(prediction)
            self._gap_before = False
            self._next_patch = first + round(self._patches.hop * self._ratio)
        while len(self._marks) > 1 and self._marks[1].first <= self._next_patch:
            self._marks.popleft()

    def _mark_of(self, sample: int) -> Block:
        """The block that the sample came in, or the nearest that is remembered."""
        if self._marks[-1].first <= sample:
            return self._marks[-1]
        found = self._marks[0]
        for mark in self._marks:
            if mark.first > sample:
                break
            found = mark
        return found

    def _time_ns(self, sample: int) -> int:
        """UTC of a sample, to the microsecond: finer digits would depend on the cuts."""
        if not self._marks:
            return 0
        mark = self._mark_of(sample)
        exact_ns = mark.start_ns + (sample - mark.first) * 1e9 / _BLOCK_RATE
        return round(exact_ns / 1000) * 1000


class Deciding:
    """Readings and predictions of one microphone to records; knows neither sound nor model.

    Args:
        config: Rules and thresholds.
        rules: One per label, in the order of the scores; `event_rules` makes them.
        indicators: Names of the readings' values, as published.
        calibration: Of the microphone, or None.
        new_id: Gives readings, events and alerts their ids.
        observe: Hears why each patch and second led to what it did.
        earlier: What an earlier start measured of the hour that goes on.
        stationary: Labels that are the background when they last.
    """

    def __init__(
        self,
        config: Config,
        rules: tuple[EventRule, ...],
        indicators: tuple[str, ...],
        calibration: Calibration | None,
        new_id: NewId,
        observe: Observe | None = None,
        earlier: Earlier | None = None,
        stationary: Collection[str] = (),
    ) -> None:
        self._new_id = new_id
        self._indicators = tuple(name for name in indicators if name in _OF_EVENTS)
        self._periods = Periods(config.levels.slow_indicators, earlier)
        labels = [rule.label for rule in rules]
        self._attribution = Attribution(labels, stationary)
        self._unattributed: deque[LevelReading] = deque()
        self._events = Events(rules, config.events.max_duration_s, new_id, observe)
        offset_db = calibration.offset_db if calibration else None
        self._alerts = Alerts(config.alerts, offset_db, new_id, observe)
        waits = [rule.for_s or rule.min_duration_s or 0 for rule in config.alerts.values()]
        waits += [rule.min_duration_s for rule in rules]
        self._history: deque[LevelReading] = deque(maxlen=_HISTORY_S + int(max(waits, default=0)))
        self._exposures: dict[str, Exposure] = {}

    @property
    def resting(self) -> tuple[str, ...]:
        """Rules in dB SPL that cannot be judged, since the microphone is not calibrated."""
        return self._alerts.resting

    def reading(self, reading: LevelReading) -> list[Record]:
        """What a closed second leads to."""
        named = self._named(reading)
        self._history.append(named)
        for exposure in self._exposures.values():
            exposure.add(named)
        self._unattributed.append(reading)
        tally = reading.tally
        second = Second(
            start_ns=reading.start_ns,
            heard_us=tally.heard_us,
            energy=tally.energies.get("A", 0),
            fast=tally.fast,
        )
        slower = self._slower(self._attribution.second(second), reading.made_ns)
        return [named, *map(self._with_levels, self._alerts.feed_reading(named)), *slower]

    def prediction(self, prediction: Prediction) -> list[Record]:
        """What a patch leads to."""
        changed, opened = self._events.feed(prediction), self._events.open()
        told = self._attribution.prediction(prediction, [*changed, *opened])
        slower = self._slower(told, prediction.end_ns)
        return [*slower, *self._tell(changed, opened, prediction.end_ns)]

    def finish(self, reason: EndReason, at_ns: int) -> list[Record]:
        """End what is open."""
        ended = self._events.finish(reason, at_ns)
        slower = self._slower(self._attribution.finish(ended), at_ns)
        records = self._tell(ended, [], at_ns)
        return [*slower, *records, *map(self._with_levels, self._alerts.finish(reason, at_ns))]

    def _slower(
        self, attributed: Iterable[tuple[int, Energies]], at_ns: int
    ) -> Iterator[LevelReading]:
        """What the seconds complete whose labels are known now."""
        for _, energies in attributed:
            second = self._unattributed.popleft()
            tally = msgspec.structs.replace(second.tally, heard=energies)
            for slower in self._periods.feed(msgspec.structs.replace(second, tally=tally)):
                yield self._named(msgspec.structs.replace(slower, made_ns=at_ns))

    def _named(self, reading: LevelReading) -> LevelReading:
        return msgspec.structs.replace(reading, id=self._new_id(reading.start_ns))

    def _tell(self, events: Sequence[Event], opened: Sequence[Event], at_ns: int) -> list[Record]:
        alerts = self._alerts.feed_events(events, opened, at_ns)
        return [*map(self._with_levels, events), *map(self._with_levels, alerts)]

    def _with_levels(self, record: Event | Alert) -> Event | Alert:
        exposure = self._exposures.get(record.id)
        if exposure is None:
            exposure = Exposure(record.start_ns, self._indicators, self._history)
            self._exposures[record.id] = exposure
        if record.phase == "end":
            del self._exposures[record.id]
        until_ns = record.start_ns + round(record.duration_s * _SECOND_NS)
        return msgspec.structs.replace(record, levels=exposure.until(until_ns))


class Pipeline:
    """The whole path of one microphone.

    Args:
        config: The device's configuration.
        bundle: The model that `classifier` runs.
        classifier: Scores a patch.
        new_id: Gives readings, events and alerts their ids.
        calibration: Of the microphone; None gives levels in dBFS.
        noise_floor_dbfs: Of the microphone; None: whether a level is under range is not known.
        response: Of the microphone; None leaves levels uncorrected.
        observe: Hears why each patch and second led to what it did.
        earlier: What an earlier start measured of the hour that goes on.

    Raises:
        ConfigError: A rule or an override names a label that the model lacks, or an override puts
            `off` above `on` or `n` above `m`.
    """

    def __init__(
        self,
        config: Config,
        bundle: Bundle,
        classifier: Classifies,
        new_id: NewId,
        *,
        calibration: Calibration | None = None,
        noise_floor_dbfs: float | None = None,
        response: Response | None = None,
        observe: Observe | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        for problem in problems(config, bundle.labels, bundle.name):
            raise problem
        levels = Levels(config.levels, calibration, noise_floor_dbfs, response)
        self._sensing = Sensing(levels, Patches(bundle.frontend), bundle.frontend.rate, classifier)
        self._deciding = Deciding(
            config,
            event_rules(bundle.labels, config.events),
            levels.names,
            calibration,
            new_id,
            observe,
            earlier,
            [label.id for label in bundle.labels if label.stationary],
        )
        self._end_ns = 0

    @property
    def resting(self) -> tuple[str, ...]:
        """Alert rules that rest because the microphone is not calibrated."""
        return self._deciding.resting

    def feed(self, block: Block) -> list[Record]:
        """The records that this block leads to, in the order of their time."""
        self._end_ns = block.start_ns + round(len(block.samples) * 1e9 / block.rate)
        self._sensing.feed(block)
        return self._decide(until_ns=None)

    def finish(self, reason: EndReason = "end_of_input") -> list[Record]:
        """What the end of the stream completes, and the ends of all that is open."""
        self._sensing.finish()
        records = self._decide(until_ns=self._end_ns)
        return [*records, *self._deciding.finish(reason, self._end_ns)]

    def _decide(self, until_ns: int | None) -> list[Record]:
        """Decide what no later result of the other kind can precede; at the end, everything."""
        sensing, deciding = self._sensing, self._deciding
        records: list[Record] = []
        while sensing.readings or sensing.predictions:
            reading_ns, prediction_ns = sensing.next_reading_ns(), sensing.next_prediction_ns()
            last = until_ns is not None
            if sensing.readings and (
                reading_ns <= prediction_ns or (last and not sensing.predictions)
            ):
                records += deciding.reading(sensing.readings.popleft())
            elif sensing.predictions and (
                prediction_ns < reading_ns or (last and not sensing.readings)
            ):
                records += deciding.prediction(sensing.predictions.popleft())
            else:
                break
        return records
