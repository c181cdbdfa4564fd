"""The demo's street: its onsets in the waveform, its pace, and what a stranger hears in it."""

import csv
import functools
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.clock import SimulatedClock
from edge_agent.commands.scene import LAP_S, RATE, SceneSource, compose, sounds
from edge_agent.records import Block, Samples
from edge_agent.resample import resample

_FRAME = RATE // 100
_YAMNET_SAMPLES = 15600
# AudioSet's names for what the scene plays.
_FAMILIES = {
    "siren": {
        "Siren",
        "Emergency vehicle",
        "Police car (siren)",
        "Ambulance (siren)",
        "Fire engine, fire truck (siren)",
    },
    "car_horn": {"Vehicle horn, car horn, honking", "Toot", "Air horn, truck horn"},
    "alarm": {"Alarm", "Smoke detector, smoke alarm", "Fire alarm", "Beep, bleep", "Buzzer"},
    "jackhammer": {"Jackhammer", "Hammer", "Drill"},
    "gun_shot": {"Gunshot, gunfire", "Cap gun"},
}
# Siren and horn must be named so by a stranger. For the others it is enough that they are
# plausible: blows between which the echo dies are ratchets to YAMNet now and then.
_LEAST_SHARE = {
    "siren": 0.8,
    "car_horn": 0.8,
    "alarm": 0.8,
    "jackhammer": 0.5,
    "gun_shot": 0.5,
}

street = functools.cache(compose)
Teacher = Callable[[Samples], npt.NDArray[np.float32]]


@pytest.fixture(scope="session")
def classes(teacher_root: Path) -> list[str]:
    with (teacher_root / "yamnet_class_map.csv").open(encoding="utf-8") as file:
        return [row["display_name"] for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def teacher(teacher_root: Path, classes: list[str]) -> Teacher:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(teacher_root / "yamnet.tflite"), num_threads=1)
    network.allocate_tensors()
    (given,) = network.get_input_details()
    outputs = network.get_output_details()
    (answer,) = (out for out in outputs if out["shape"][-1] == len(classes))

    def scores(patch: Samples) -> npt.NDArray[np.float32]:
        network.set_tensor(given["index"], patch.reshape(given["shape"]))
        network.invoke()
        found: npt.NDArray[np.float32] = network.get_tensor(answer["index"]).reshape(-1)
        return found

    return scores


def _levels_db(samples: Samples) -> npt.NDArray[np.float64]:
    """RMS of each 10 ms, dB re full scale."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return levels


def _drained(source: SceneSource) -> list[Block]:
    blocks = []
    while not source.ended:
        block = source.read(0.1)
        if block is not None:
            blocks.append(block)
    return blocks


@pytest.mark.parametrize("seed", [0, 1])
def test_each_sound_begins_and_ends_when_the_scene_says_so(seed: int) -> None:
    levels = _levels_db(street(seed))
    # Before the first sound there is nothing but traffic, which swells by 4 dB at most.
    loud = levels > np.median(levels[:240]) + 12
    for sound in sounds(LAP_S):
        start, end = round(sound.start_s * 100), round(sound.end_s * 100)
        assert not loud[start - 100 : start].any(), sound.label
        # A siren opens in 50 ms and its echo builds up behind; nothing else is slower.
        assert loud[start : start + 10].any(), sound.label
        # A siren sinks into the traffic before it has faded out; the last beep, blow or shot of a
        # row ends before the row does, and its echo outlasts it: each by less than half a second.
        last = int(np.flatnonzero(loud[: end + 100])[-1])
        assert abs(last - end) < 50, sound.label


def test_levels_are_those_of_a_street_recording() -> None:
    samples = street(0)
    assert np.abs(samples).max() <= 10 ** (-2.5 / 20)  # peaks at -3 dBFS, traffic on top
    quiet = samples[: 2 * RATE].astype(np.float64)
    # -40 dBFS over the lap; two seconds of it lie within the swell of 4 dB.
    assert 10 * np.log10(np.mean(quiet**2)) == pytest.approx(-40, abs=4)


def test_the_same_seed_gives_the_same_street_and_another_one_does_not() -> None:
    assert np.array_equal(compose(3), compose(3))
    assert not np.array_equal(compose(3), compose(4))


def test_a_longer_demo_plays_the_scene_again() -> None:
    once, twice = sounds(LAP_S), sounds(2 * LAP_S)
    assert [sound.label for sound in twice] == 2 * [sound.label for sound in once]
    assert [sound.start_s for sound in twice[len(once) :]] == [
        sound.start_s + LAP_S for sound in once
    ]


def test_a_sound_that_was_cut_off_at_once_does_not_count() -> None:
    first = sounds(LAP_S)[0]
    assert sounds(first.start_s + 0.9) == ()
    assert sounds(first.start_s + 1.0) == (first,)


def test_blocks_follow_without_a_gap_and_hold_the_scene() -> None:
    source = SceneSource("mic", SimulatedClock(5_000_000_000), seed=0, seconds=LAP_S + 1.1)
    blocks = _drained(source)
    for last, block in pairwise(blocks):
        assert block.first == last.first + len(last.samples) + block.missed
    assert sum(len(block.samples) for block in blocks) == round((LAP_S + 1.1) * RATE)
    played = np.concatenate([block.samples for block in blocks])
    assert np.array_equal(played[: len(street(0))], street(0))
    assert {len(block.samples) for block in blocks[:-1]} == {RATE // 4}


def test_a_block_comes_when_its_last_sample_has_sounded() -> None:
    clock = SimulatedClock(5_000_000_000)
    source = SceneSource("mic", clock, seed=0, seconds=2.0)
    for count in range(1, 9):
        while (block := source.read(0.1)) is None:
            pass
        assert clock.utc_ns() == 5_000_000_000 + count * 250_000_000
        assert block.start_ns == 5_000_000_000 + (count - 1) * 250_000_000


def test_a_read_waits_no_longer_than_it_may() -> None:
    clock = SimulatedClock()
    source = SceneSource("mic", clock, seed=0)
    assert source.read(0.1) is None
    assert clock.monotonic_ns() == 100_000_000


@pytest.mark.data
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("label", list(_FAMILIES))
def test_yamnet_names_the_sound(
    teacher: Teacher, classes: list[str], label: str, seed: int
) -> None:
    (sound,) = (sound for sound in sounds(LAP_S) if sound.label == label)
    heard = resample(street(seed), RATE, 16000)
    # Patches of which at least half a second is the sound, every quarter of a second.
    begin, end = round((sound.start_s - 0.4) * 16000), round((sound.end_s + 0.4) * 16000)
    named = []
    for at in range(begin, end - _YAMNET_SAMPLES + 1, 4000):
        scores = teacher(np.ascontiguousarray(heard[at : at + _YAMNET_SAMPLES]))
        best = np.argsort(-scores)[:3]
        named.append(any(classes[i] in _FAMILIES[label] and scores[i] > 0.3 for i in best))
    assert np.mean(named) >= _LEAST_SHARE[label]
