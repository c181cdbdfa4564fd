"""The same sound is found again at another level, place or quality, and no other one is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.files import read_recording
from edge_agent.frontend import Frames
from edge_agent.records import Samples
from edge_agent.resample import resample
from model_build import duplicates
from model_build.datasets import read_manifest
from model_build.duplicates import NEAR, TRACE, Pair, agreement
from tests.conftest import examples

RATE = TRACE.rate
FRAMES = Frames(TRACE)


def street(seed: int, seconds: float = 4.0) -> Samples:
    """Noise that comes and goes, with its own colour: no two seeds have anything in common."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    loud = np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(0.02, 0.3, 12))
    white = rng.standard_normal(n)
    coloured = white + rng.uniform(-0.9, 0.9) * np.concatenate([[0.0], white[:-1]])
    return (loud * coloured).astype(np.float32)


def traced(samples: Samples) -> Samples:
    return duplicates.trace(samples, FRAMES)


def test_a_clip_agrees_with_itself() -> None:
    trace = traced(street(1))
    assert agreement(trace, trace) == pytest.approx(1.0, abs=1e-9)


@given(st.floats(-40, 20), st.integers(0, 2 * RATE), st.booleans())
@settings(max_examples=examples(40))
def test_a_copy_is_found_at_any_level_and_wherever_it_begins(
    gain_db: float, cut: int, at_the_end: bool
) -> None:
    """At the end frames stay where they were; at the beginning they fall in between."""
    whole = street(2)
    part = whole[: whole.size - cut] if at_the_end else whole[cut:]
    copy = (part * 10 ** (gain_db / 20)).astype(np.float32)
    assert agreement(traced(whole), traced(copy)) > (0.999 if at_the_end else NEAR)


def test_a_copy_with_eight_bits_is_found() -> None:
    whole = street(3)
    coarse = (np.round(whole * 127) / 127).astype(np.float32)
    assert agreement(traced(whole), traced(coarse)) > NEAR


@given(st.integers(10, 10**6), st.integers(10, 10**6))
@settings(max_examples=examples(40))
def test_agreement_has_no_direction_and_other_sounds_have_none(one: int, other: int) -> None:
    a, b = traced(street(one)), traced(street(other, 3.0))
    forth, back = agreement(a, b), agreement(b, a)
    assert forth == pytest.approx(back, abs=1e-9)
    assert -1 <= forth <= 1
    if one != other:
        assert forth < NEAR - 0.1


def test_agreement_is_the_correlation_at_the_best_shift() -> None:
    """Against the definition, shift by shift, with numpy's own corrcoef of one long row."""
    a, b = traced(street(4)), traced(street(5, 2.5))
    own = [trace - trace.mean(axis=1, keepdims=True) for trace in (a, b)]
    least = -(-len(b) // 2)
    best = -1.0
    for shift in range(-(len(b) - least), len(a) - least + 1):
        first, last = max(0, shift), min(len(a), shift + len(b))
        x, y = own[0][first:last], own[1][first - shift : last - shift]
        rows = [(part - part.mean(axis=0)).ravel() for part in (x, y)]
        best = max(
            best,
            float(np.dot(*rows) / np.sqrt(np.dot(rows[0], rows[0]) * np.dot(rows[1], rows[1]))),
        )
    assert agreement(a, b) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 1024, 4000])
def test_what_is_too_short_or_silent_is_like_nothing(samples: int) -> None:
    short = traced(np.zeros(samples, np.float32))
    silent = traced(np.zeros(4 * RATE, np.float32))
    assert agreement(short, silent) == 0.0
    assert agreement(silent, silent) == 0.0
    assert duplicates.near([short, silent, short]) == []


def test_copies_are_found_among_many() -> None:
    sounds = [street(seed, 2.0) for seed in range(100, 160)]
    sounds += [0.1 * sounds[7], sounds[20][RATE // 2 :]]
    pairs = duplicates.near([traced(one) for one in sounds])
    assert [(pair.one, pair.other) for pair in pairs] == [(7, 60), (20, 61)]


def test_pairs_hang_together_in_groups() -> None:
    assert duplicates.groups([(1, 2), (5, 6), (2, 9), (9, 4)]) == [(1, 2, 4, 9), (5, 6)]
    assert duplicates.groups([]) == []


@pytest.mark.data
def test_recordings_are_recognised_in_another_quality_and_no_others_are(data_root: Path) -> None:
    """ESC-50's originals and their 8-bit copies, in which quiet rain is half hidden."""
    labels = ("rain", "crying_baby", "siren")
    clean = read_manifest(data_root / "esc50_clean.csv", data_root).clips
    coarse = read_manifest(data_root / "esc50.csv", data_root).clips
    chosen = [one for one in clean if one.label in labels and one.fold == 1]
    chosen += [one for one in coarse if one.label in labels and one.fold == 1]
    traces = []
    for clip in chosen:
        samples, rate = read_recording(data_root / clip.path)
        traces.append(traced(resample(samples, rate, RATE)))
    pairs = duplicates.near(traces)
    half = len(chosen) // 2
    assert half == 24
    assert all(pair.one < half <= pair.other for pair in pairs)
    assert all(chosen[pair.one].label == chosen[pair.other].label for pair in pairs)
    assert len({pair.one for pair in pairs}) >= 21
    assert isinstance(pairs[0], Pair)
