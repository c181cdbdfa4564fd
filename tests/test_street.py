"""Street mixtures hold what their targets say, with a teacher's opinion and without."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_agent.config import FrontendSettings
from model_build.datasets import Clip
from model_build.street import LABELS, Mixer, Sounds, Told, with_more

SETTINGS = FrontendSettings(kind="logmel")
VALUES = 3


def clip(root: Path, name: str, seed: int) -> Clip:
    """A second and a half of noise."""
    noise = np.random.default_rng(seed).normal(0, 0.1, 24_000)
    soundfile.write(root / f"{name}.wav", noise, 16_000)  # noqa: TID251
    return Clip(path=f"{name}.wav", label=name, origin="set", group=name)


@pytest.fixture(scope="module")
def mixer(tmp_path_factory: pytest.TempPathFactory) -> Mixer:
    root = tmp_path_factory.mktemp("street")
    events = tuple((clip(root, label, seed),) for seed, label in enumerate(LABELS))
    sounds = Sounds(
        events=events, beds=(clip(root, "rain", 50),), distractors=(clip(root, "frog", 51),)
    )
    return Mixer(sounds, root, SETTINGS, root / "cache")


@pytest.fixture
def told(mixer: Mixer) -> Told:
    """A teacher that is sure of nothing: each patch is a tenth of each label."""
    patches_each = 3
    rows = patches_each * len(mixer.clips)
    return Told(
        scores=np.full((rows, len(LABELS)), 0.1, np.float32),
        values=np.repeat(np.arange(rows, dtype=np.float32)[:, None], VALUES, axis=1),
        starts=np.arange(0, rows + 1, patches_each),
        settings=SETTINGS,
    )


def test_targets_are_the_labels_of_the_events(mixer: Mixer) -> None:
    patches, targets = mixer.training(np.random.default_rng(1), SETTINGS, 200)
    assert patches.shape == (200, 48, 64)
    assert set(np.unique(targets)) == {0.0, 1.0}
    assert set(targets.sum(axis=1)) == {0.0, 1.0, 2.0}
    assert targets.any(axis=0).all()


def test_a_teacher_tempers_the_labels_and_changes_no_sound(mixer: Mixer, told: Told) -> None:
    alone, labels = mixer.training(np.random.default_rng(2), SETTINGS, 100)
    taught, lessons = mixer.training(np.random.default_rng(2), SETTINGS, 100, told)
    assert np.array_equal(alone, taught)
    some = labels.any(axis=1, keepdims=True)
    tempered = 0.5 * labels + 0.05 * some
    assert lessons[:, : len(LABELS)] == pytest.approx(tempered)


def test_values_are_asked_for_where_one_event_is_heard_alone(mixer: Mixer, told: Told) -> None:
    _, lessons = mixer.training(np.random.default_rng(3), SETTINGS, 300, told)
    labels, values = lessons[:, : len(LABELS)], lessons[:, len(LABELS) :]
    asked = np.isfinite(values).all(axis=1)
    assert np.array_equal(asked, ~np.isnan(values).any(axis=1))
    assert 0 < asked.sum() < 300
    events = (labels > 0.5).sum(axis=1)
    assert set(events[asked]) == {1}
    # The rows of the one clip of that label.
    of = [[c.path for c in mixer.clips].index(f"{LABELS[i]}.wav") for i in labels.argmax(axis=1)]
    assert np.array_equal(values[asked, 0] // 3, np.array(of)[asked])


@pytest.mark.parametrize(("frame", "row"), [(0, 3), (3, 3), (10, 4), (15, 4), (27, 5), (400, 5)])
def test_the_nearest_patch_is_found(told: Told, frame: int, row: int) -> None:
    # Frames begin 3.2 before the clip, patches are 12 apart: 3.2, 15.2, 27.2.
    assert told.row(1, frame) == row


def test_sets_beside_the_corpus_add_their_events_and_nothing_else() -> None:
    def made(origin: str, label: str) -> Clip:
        return Clip(path=f"{origin}/{label}.wav", label=label, origin=origin, group=label)

    sounds = Sounds(events=((),) * len(LABELS), beds=(), distractors=())
    shot, wail = made("sesa", "gunshot"), made("sesa", "siren")
    others = made("sesa", "casual"), made("esc50", "siren"), made("esc50", "rain")
    more = with_more(sounds, (shot, wail, *others))
    found = {label: of for label, of in zip(LABELS, more.events, strict=True) if of}
    assert found == {"gun_shot": (shot,), "siren": (wail,)}
    assert (more.beds, more.distractors) == ((), ())
