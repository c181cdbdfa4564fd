"""Streams through the agent's own pipeline on a simulated time line, and what it told.

The network runs once a stream: its scores are kept as predictions, so that other thresholds can be
tried by feeding them to the agent's `events` again.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_agent.bundle import Bundle
from edge_agent.config import Config
from edge_agent.events import Events
from edge_agent.frontend import Patches
from edge_agent.ids import Ids
from edge_agent.labels import EventRule
from edge_agent.pipeline import Classifies, Pipeline
from edge_agent.records import Block, Event, Prediction, Record, Samples
from model_build.audible import RATE
from model_build.streams import Stream, TrueEvent

_BLOCK = 4 * RATE
_MICROPHONE = "stream"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the agent told it; seconds from the start of the stream."""

    label: str
    onset_s: float
    offset_s: float
    told_s: float
    """When its start was told: the last sample that the agent needed."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream held and what the agent made of it."""

    name: str
    seconds: float
    truth: tuple[TrueEvent, ...]
    predictions: tuple[Prediction, ...]
    spans: tuple[Span, ...]


class Remembering:
    """A classifier that keeps the scores that it gave.

    Args:
        classifier: Who scores.
    """

    def __init__(self, classifier: Classifies) -> None:
        self.kept: list[Samples] = []
        self._classifier = classifier

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the scores."""
        return self._classifier.labels

    def scores(self, features: Samples) -> Samples:
        """Scores of a patch, kept."""
        scores = self._classifier.scores(features)
        self.kept.append(scores)
        return scores


def listen(
    stream: Stream, bundle: Bundle, classifier: Classifies, config: Config | None = None
) -> Heard:
    """Play a stream to the whole pipeline.

    Args:
        stream: What is to be heard.
        bundle: The model; its thresholds hold where `config` does not override them.
        classifier: Runs the model.
        config: The device's; the default one has no alert rules.
    """
    remembering = Remembering(classifier)
    pipeline = Pipeline(config or Config(), bundle, remembering, Ids(0).new)
    records: list[Record] = []
    for first in range(0, stream.samples.size, _BLOCK):
        records += pipeline.feed(
            Block(
                microphone=_MICROPHONE,
                samples=stream.samples[first : first + _BLOCK],
                rate=RATE,
                bandwidth_hz=RATE / 2,
                first=first,
                start_ns=first * 1_000_000_000 // RATE,
                synced=False,
            )
        )
    records += pipeline.finish()
    return Heard(
        name=stream.name,
        seconds=stream.seconds,
        truth=stream.events,
        predictions=_predictions(remembering.kept, bundle),
        spans=spans([record for record in records if isinstance(record, Event)]),
    )


def decide(rules: tuple[EventRule, ...], heard: Heard, config: Config | None = None) -> list[Event]:
    """What the agent's events would be with other rules, one for each column of the scores."""
    events = Events(rules, (config or Config()).events.max_duration_s, Ids(0).new)
    told: list[Event] = []
    for prediction in heard.predictions:
        told += events.feed(prediction)
    return told + events.finish("end_of_input", round(heard.seconds * 1e9))


def only(heard: Heard, label: int) -> Heard:
    """The same stream with the scores of one label alone."""
    return msgspec.structs.replace(
        heard,
        predictions=tuple(
            msgspec.structs.replace(prediction, scores=prediction.scores[label : label + 1])
            for prediction in heard.predictions
        ),
    )


def spans(events: Sequence[Event]) -> tuple[Span, ...]:
    """Events from their starts and ends, in the order of their starts."""
    started = {event.id: event for event in events if event.phase == "start"}
    ended = {event.id: event for event in events if event.phase == "end"}
    return tuple(
        Span(
            label=event.label,
            onset_s=event.start_ns / 1e9,
            offset_s=(ended[event_id].end_ns or 0) / 1e9,
            told_s=event.made_ns / 1e9,
        )
        for event_id, event in started.items()
    )


def table(heard: Heard) -> tuple[Samples, Samples]:
    """Scores (patches, labels) and borders (patches + 1,): a patch stands for what is nearest.

    An event's onset is the middle of a patch, so each patch reaches half a patch hop from there.
    """
    scores = np.stack([prediction.scores for prediction in heard.predictions])
    middles = np.array(
        [(prediction.start_ns + prediction.end_ns) / 2e9 for prediction in heard.predictions]
    )
    borders = np.concatenate([[0.0], (middles[:-1] + middles[1:]) / 2, [heard.seconds]])
    return scores, borders.astype(np.float64)


def _predictions(kept: Sequence[Samples], bundle: Bundle) -> tuple[Prediction, ...]:
    """The scores with the times of their patches: a stream has no gap, so they follow by count."""
    patches = Patches(bundle.frontend)
    rate = bundle.frontend.rate
    return tuple(
        Prediction(
            microphone=_MICROPHONE,
            start_ns=_time_ns(number * patches.hop, rate),
            end_ns=_time_ns(number * patches.hop + patches.span, rate),
            scores=scores,
            synced=False,
            gap_before=False,
        )
        for number, scores in enumerate(kept)
    )


def _time_ns(sample: int, rate: int) -> int:
    """As the pipeline places a sample: to the microsecond."""
    return round(sample * 1e6 / rate) * 1000
