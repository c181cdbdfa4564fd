"""An agent that hears all and one that hears nothing get the figures that they must."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_agent.bundle import Bundle
from edge_agent.frontend import Patches
from edge_agent.records import Samples
from model_build import street
from model_build.detection import Heard, Span, listen
from model_build.judgement import Judgement, Mistake, judge, mistakes
from model_build.scenes import Plan, Streets
from model_build.streams import Stream, TrueEvent, event_free
from tests import toy_streets
from tests.bundled import uncertified


class Oracle:
    """Scores a patch of a stream by how much of an event, or of the patch, the two share."""

    def __init__(self, bundle: Bundle, stream: Stream) -> None:
        patches = Patches(bundle.frontend)
        self.labels = tuple(label.id for label in bundle.labels)
        self._events = stream.events
        self._hop_s = patches.hop / bundle.frontend.rate
        self._span_s = patches.span / bundle.frontend.rate
        self._patch = 0

    def scores(self, features: Samples) -> Samples:
        first = self._patch * self._hop_s
        self._patch += 1
        scores = np.zeros(len(self.labels), np.float32)
        for event in self._events:
            length = min(self._span_s, event.offset_s - event.onset_s)
            shared = min(event.offset_s, first + self._span_s) - max(event.onset_s, first)
            scores[self.labels.index(event.label)] = max(0.0, shared / length)
        return scores


class Deaf(Oracle):
    def scores(self, features: Samples) -> Samples:
        return np.zeros(len(self.labels), np.float32)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return uncertified()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_streets.made(tmp_path_factory.mktemp("toy"))


def _judged(
    bundle: Bundle, sounds: street.Sounds, data: Path, kind: type[Oracle]
) -> tuple[Judgement, Sequence[Heard]]:
    plan = Plan(scenes=4, rounds=1)
    scenes = [
        listen(scene, bundle, kind(bundle, scene))
        for scene in Streets("test", sounds, data, 0, plan).scenes()
    ]
    free = [
        listen(stream, bundle, kind(bundle, stream))
        for stream in event_free("test", sounds.beds, data, 0, [])
    ]
    return judge(bundle.labels, scenes, free, 1000.0), scenes


def test_who_hears_all_finds_all_in_time_and_raises_nothing_false(
    bundle: Bundle, data: Path
) -> None:
    judged, _ = _judged(bundle, street.corpus(data).test, data, Oracle)
    # The sounds are half a second long, patches a second: lengths are within the collar.
    assert judged.macro_f1 > 0.97
    assert all(share is not None and share > 0.95 for share in judged.recall_by_snr_db.values())
    assert judged.psds > 0.97
    assert judged.alarms.count == 0
    assert judged.delay.n == 4 * len(street.LABELS)
    assert judged.delay.p50_s is not None
    assert judged.delay.p95_s is not None
    # Two of three patches that hold half of the sound: at best .24 s after its middle.
    assert 0.2 < judged.delay.p50_s < judged.delay.p95_s < 1.3


def test_who_hears_nothing_finds_nothing_and_raises_nothing(bundle: Bundle, data: Path) -> None:
    judged, _ = _judged(bundle, street.corpus(data).test, data, Deaf)
    assert (judged.macro_f1, judged.psds, judged.alarms.count) == (0.0, 0.0, 0)
    assert (judged.delay.n, judged.delay.p50_s) == (0, None)
    assert {row.precision for row in judged.labels.values()} == {None}
    assert judged.mistakes == ()


def test_a_mistake_names_what_was_truly_heard(bundle: Bundle) -> None:
    truth = (
        TrueEvent(label="siren", onset_s=1, offset_s=3, snr_db=0, path=""),
        TrueEvent(label="drilling", onset_s=2.5, offset_s=9, snr_db=0, path=""),
        TrueEvent(label="siren", onset_s=20, offset_s=21, snr_db=0, path=""),
    )
    told = [
        ("siren", 1.1, 3.1),
        ("alarm", 1.0, 3.2),
        ("jackhammer", 2.9, 8.0),
        ("jackhammer", 40.0, 41.0),
        ("alarm", 1.0, 2.9),
        ("siren", 30.0, 31.0),
    ]
    spans = tuple(
        Span(label=label, onset_s=onset, offset_s=offset, told_s=onset + 1)
        for label, onset, offset in told
    )
    scene = Heard(name="scene", seconds=60, truth=truth, predictions=(), spans=spans)
    assert mistakes(bundle.labels, [scene]) == (
        Mistake(told="alarm", heard="siren", n=2),
        Mistake(told="jackhammer", heard="drilling", n=1),
        Mistake(told="jackhammer", heard=None, n=1),
        Mistake(told="siren", heard=None, n=1),
    )


@pytest.mark.data
def test_on_real_recordings_too_the_measure_has_room_for_a_good_network(
    bundle: Bundle, data_root: Path
) -> None:
    judged, scenes = _judged(bundle, street.corpus(data_root).test, data_root, Oracle)
    assert sum(len(scene.truth) for scene in scenes) == 4 * len(street.LABELS)
    assert judged.macro_f1 > 0.9
    assert judged.delay.n == 4 * len(street.LABELS)
