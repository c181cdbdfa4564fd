"""Scenes and event-free streams hold what they say, where they say it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.errors import BuildError
from model_build import street
from model_build.audible import RATE, audible
from model_build.datasets import Skip
from model_build.features import level_dbfs
from model_build.scenes import Plan, Streets, mixed
from model_build.streams import CROSSFADE, Stream, TrueEvent, evaluation_background, event_free
from tests import toy_streets

APART = Plan(scenes=4, rounds=1, overlapping=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_streets.made(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def side(data: Path) -> street.Sounds:
    return street.corpus(data).test


@contextmanager
def _broken(path: Path, content: bytes) -> Iterator[None]:
    """The file with other content, for a while."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def _scenes(side: street.Sounds, data: Path, seed: int = 0, plan: Plan = APART) -> list[Stream]:
    return list(Streets("test", side, data, seed, plan).scenes())


def test_an_event_stands_over_its_background_by_the_snr() -> None:
    noise = 0.01 * np.random.default_rng(1).standard_normal(4 * RATE).astype(np.float32)
    for snr_db in (0.0, 12.0):
        t = np.arange(RATE) / RATE
        sound = audible((0.2 * np.sin(2 * np.pi * 500 * t)).astype(np.float32))
        assert sound is not None
        event = TrueEvent(label="siren", onset_s=2.0, offset_s=3.0, snr_db=snr_db, path="a")
        alone = mixed(noise, [(event, sound)]) - noise
        heard = slice(2 * RATE, 3 * RATE)
        assert level_dbfs(alone[heard]) - level_dbfs(noise[heard]) == pytest.approx(
            snr_db, abs=0.05
        )


def test_a_scene_does_not_clip() -> None:
    noise = 0.3 * np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)
    sound = audible(noise[:RATE])
    assert sound is not None
    event = TrueEvent(label="siren", onset_s=0.5, offset_s=1.5, snr_db=20.0, path="a")
    assert np.abs(mixed(noise, [(event, sound)])).max() <= 1.0


def test_every_label_comes_as_often_at_every_snr(side: street.Sounds, data: Path) -> None:
    heard = Counter(
        (event.label, event.snr_db) for scene in _scenes(side, data) for event in scene.events
    )
    assert set(heard) == {(name, db) for name in street.LABELS for db in street.TEST_SNRS_DB}
    assert set(heard.values()) == {1}


def test_sound_begins_at_the_onset_and_ends_at_the_offset(side: street.Sounds, data: Path) -> None:
    window = RATE // 20
    for scene in _scenes(side, data):
        for event in (event for event in scene.events if event.snr_db == 20.0):
            onset, offset = round(event.onset_s * RATE), round(event.offset_s * RATE)
            # 5 ms: the sound's own edge after two resamplings, and its fade.
            edge = RATE // 200 * 3
            before = level_dbfs(scene.samples[onset - edge - window : onset - edge])
            within = level_dbfs(scene.samples[onset + edge : onset + edge + window])
            after = level_dbfs(scene.samples[offset + edge * 4 : offset + edge * 4 + window])
            assert within - before > 15
            assert within - after > 15


def test_some_seconds_lie_between_events(side: street.Sounds, data: Path) -> None:
    for scene in _scenes(side, data):
        gaps_s = [later.onset_s - first.offset_s for first, later in pairwise(scene.events)]
        assert all(2.0 <= round(gap_s, 4) <= 5.0 for gap_s in gaps_s)


def test_overlapping_events_begin_while_the_one_before_is_heard(
    side: street.Sounds, data: Path
) -> None:
    plan = Plan(scenes=1, rounds=2, overlapping=1.0)
    (scene,) = _scenes(side, data, plan=plan)
    for first, later in pairwise(scene.events):
        assert first.onset_s < later.onset_s < first.offset_s
        assert first.label != later.label


def test_the_same_seed_gives_the_same_samples(side: street.Sounds, data: Path) -> None:
    one, two, other = (_scenes(side, data, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(one.samples, two.samples)
    assert (one.events, one.sha256) == (two.events, two.sha256)
    assert one.sha256 != other.sha256


def test_the_hash_names_the_recordings_bytes(side: street.Sounds, data: Path) -> None:
    before = _scenes(side, data)[0]
    path = data / before.events[0].path
    quieter = bytes(value // 2 for value in path.read_bytes()[44:])
    with _broken(path, path.read_bytes()[:44] + quieter):
        after = _scenes(side, data)[0]
    assert before.sha256 != after.sha256


def test_a_recording_that_is_broken_is_skipped_and_named(side: street.Sounds, data: Path) -> None:
    clips = side.events[3]
    path = data / clips[0].path
    more = msgspec.structs.replace(clips[1], path=side.events[4][0].path)
    events = list(side.events)
    events[3] = (*clips, more)
    streets = Streets("test", msgspec.structs.replace(side, events=tuple(events)), data, 0, APART)
    with _broken(path, path.read_bytes()[:100]):
        used = {event.path for scene in streets.scenes() for event in scene.events}
    assert [skip.path for skip in streets.skipped] == [clips[0].path]
    assert clips[0].path not in used


def test_a_label_of_one_clip_is_refused(side: street.Sounds, data: Path) -> None:
    events = (side.events[0][:1], *side.events[1:])
    with pytest.raises(BuildError, match=r"test side has 1 clip\(s\) of air_conditioner"):
        Streets("test", msgspec.structs.replace(side, events=events), data, 0)


def test_a_label_that_breaks_down_to_one_clip_is_refused_with_the_reason(
    side: street.Sounds, data: Path
) -> None:
    path = data / side.events[2][0].path
    refused = pytest.raises(BuildError, match=r"1 clip\(s\) of children_playing .*truncated")
    with _broken(path, path.read_bytes()[:100]), refused:
        _scenes(side, data)


def test_event_free_streams_play_each_clip_once(side: street.Sounds, data: Path) -> None:
    skipped: list[Skip] = []
    clips = (*side.beds, *side.distractors)
    made = list(event_free("test", clips, data, 0, skipped))
    assert not skipped
    # Three seconds each, less the crossfades between them.
    wanted = 3 * RATE * len(clips) - CROSSFADE * (len(clips) - 1)
    assert [stream.samples.size for stream in made] == [wanted]
    assert not made[0].events


def test_what_the_evaluation_set_holds_of_music_and_streets_is_not_counted(
    tmp_path: Path,
) -> None:
    rows = ["ambient_eval/a.wav,wind", "ambient_eval/b.wav,bigben", "ambient_eval/c.wav,streetam"]
    for row in rows:
        toy_streets.write(tmp_path / row.partition(",")[0], toy_streets.noise(1.0, 0))
    (tmp_path / "ambient_eval.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    fit, excluded = evaluation_background(tmp_path)
    assert [clip.label for clip in fit] == ["wind"]
    assert ["musical" in excluded[0].reason, "street" in excluded[1].reason] == [True, True]


def test_without_the_evaluation_set_it_is_said_so(tmp_path: Path) -> None:
    fit, excluded = evaluation_background(tmp_path)
    assert not fit
    assert "counted without it" in excluded[0].reason


@pytest.mark.data
def test_real_scenes_are_made_of_their_own_side_only(data_root: Path) -> None:
    corpus = street.corpus(data_root)
    for side in (corpus.validation, corpus.test):
        own = {clip.path for clip in side.clips()}
        streets = Streets("real", side, data_root, 0, Plan(scenes=1))
        (scene,) = streets.scenes()
        assert {event.path for event in scene.events} <= own
        assert {event.label for event in scene.events} == set(street.LABELS)
        assert 60 < scene.seconds < 600


@pytest.mark.data
def test_what_real_alarms_are_counted_on_was_never_learnt_from(data_root: Path) -> None:
    fit, excluded = evaluation_background(data_root)
    assert {clip.origin for clip in fit} == {"ambient_eval"}
    assert len(fit) + len(excluded) == 33
    corpus = street.corpus(data_root)
    learnt = {clip.group for clip in (*corpus.train.clips(), *corpus.validation.clips())}
    assert not learnt & {clip.group for clip in fit}
