"""What is kept of a stream is what the agent's pipeline made of it."""

import numpy as np
import pytest

from edge_agent import resources
from edge_agent.bundle import Bundle, load
from edge_agent.config import EventsConfig, LevelsConfig
from edge_agent.frontend import Patches
from edge_agent.labels import event_rules
from edge_agent.levels import Levels
from edge_agent.pipeline import Sensing
from edge_agent.records import Block, Samples
from model_build.audible import RATE
from model_build.detection import Heard, decide, listen, only, spans, table
from model_build.streams import Stream

SECONDS = 9


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(resources.root() / "models" / "street")


class Loudness:
    """Scores each label by the patch's level, so that the truth of a test is in its sound."""

    def __init__(self, bundle: Bundle) -> None:
        self.labels = tuple(label.id for label in bundle.labels)

    def scores(self, features: Samples) -> Samples:
        level = features.mean() if features.ndim == 2 else features[0]
        loud = 1 / (1 + np.exp(-2 * (float(level) + 1)))
        return np.linspace(0.3, 1, len(self.labels), dtype=np.float32) * np.float32(loud)


@pytest.fixture(scope="module")
def stream() -> Stream:
    """Loud in the seconds 3 to 6."""
    noise = np.random.default_rng(5).standard_normal(SECONDS * RATE)
    loudness = np.repeat([1e-4, 0.2, 1e-4], 3 * RATE)
    samples = (noise * loudness).astype(np.float32)
    return Stream(name="toy", samples=samples, events=(), sha256="0" * 64)


@pytest.fixture(scope="module")
def heard(stream: Stream, bundle: Bundle) -> Heard:
    return listen(stream, bundle, Loudness(bundle))


def test_the_pipelines_events_are_those_of_the_kept_scores(heard: Heard, bundle: Bundle) -> None:
    assert heard.spans
    assert spans(decide(event_rules(bundle.labels, EventsConfig()), heard)) == heard.spans


def test_a_label_alone_gives_its_own_events(heard: Heard, bundle: Bundle) -> None:
    rules = event_rules(bundle.labels, EventsConfig())
    alone = [
        span
        for at in range(len(rules))
        for span in spans(decide(rules[at : at + 1], only(heard, at)))
    ]
    assert sorted(alone, key=lambda span: span.label) == sorted(
        heard.spans, key=lambda span: span.label
    )


def test_predictions_have_the_times_that_the_agent_gives_them(
    stream: Stream, heard: Heard, bundle: Bundle
) -> None:
    sensing = Sensing(
        Levels(LevelsConfig()), Patches(bundle.frontend), bundle.frontend.rate, Loudness(bundle)
    )
    sensing.feed(
        Block(
            microphone="stream",
            samples=stream.samples,
            rate=RATE,
            bandwidth_hz=RATE / 2,
            first=0,
            start_ns=0,
            synced=False,
        )
    )
    sensing.finish()
    assert len(heard.predictions) == len(sensing.predictions)
    for kept, wanted in zip(heard.predictions, sensing.predictions, strict=True):
        assert (kept.start_ns, kept.end_ns) == (wanted.start_ns, wanted.end_ns)
        assert np.array_equal(kept.scores, wanted.scores)


def test_an_event_is_told_when_its_sound_was_heard_and_not_before(heard: Heard) -> None:
    span = heard.spans[-1]
    # A patch is a second long and counts as soon as a part of it is loud: half a second each way.
    assert span.onset_s == pytest.approx(3.0, abs=0.6)
    assert span.offset_s == pytest.approx(6.0, abs=0.6)
    assert 3.0 < span.told_s < 6.0


def test_the_table_of_scores_covers_the_stream_without_a_hole(heard: Heard) -> None:
    scores, borders = table(heard)
    assert scores.shape == (len(heard.predictions), 14)
    assert borders.shape == (len(heard.predictions) + 1,)
    assert (borders[0], borders[-1]) == (0.0, heard.seconds)
    assert np.all(np.diff(borders) > 0)
    # Patches begin every 0.24 s.
    assert np.diff(borders)[1:-1] == pytest.approx(0.24, abs=1e-5)
