"""Mixing by power is what mixing of waves would give, and bends stay within what was asked."""

import msgspec
import numpy as np
import pytest

from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames
from edge_agent.records import Samples
from model_build.augment import Bench, Drawer, Recipe, to_levels, to_power
from model_build.datasets import Clip
from model_build.features import Features, looped, raw, white_noise

SETTINGS = raw(FrontendSettings())
FLOOR = SETTINGS.floor_value


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(white_noise(SETTINGS), Recipe())


def _levels(samples: Samples) -> Samples:
    return Frames(SETTINGS).batch(samples)


def test_power_and_levels_are_each_others_inverse() -> None:
    levels = np.linspace(-70, 30, 64, dtype=np.float32)[None]
    # At -70 dB the floor of -80 is taken off and put on again in float32.
    assert to_levels(to_power(levels, FLOOR), FLOOR) == pytest.approx(levels, abs=1e-3)


def test_the_sum_of_powers_is_the_mixture_of_the_waves() -> None:
    rng = np.random.default_rng(1)
    one, two = (0.1 * rng.standard_normal(160000).astype(np.float32) for _ in range(2))
    by_power = to_power(_levels(one), FLOOR) + to_power(_levels(two), FLOOR)
    by_wave = to_power(_levels(one + two), FLOOR)
    # Interference averages out: some 500 frames of 5 bins and more, 16 dB overlap.
    difference_db = 10 * np.log10(by_power.mean(axis=0) / by_wave.mean(axis=0))
    assert np.abs(difference_db).max() < 0.7


def test_a_part_stands_over_its_bed_by_the_ratio_that_was_asked(bench: Bench) -> None:
    rng = np.random.default_rng(2)
    part, bed = rng.random((2, 48, 64)).astype(np.float32)
    mixed = bench.mixed([part], [10.0], bed)
    assert (mixed - bed).sum() / bed.sum() == pytest.approx(10.0, rel=1e-4)


def test_without_a_bed_a_part_stays_as_it_was(bench: Bench) -> None:
    part = np.random.default_rng(3).random((48, 64)).astype(np.float32)
    assert np.array_equal(bench.mixed([part], [10.0], np.zeros_like(part)), part)


@pytest.mark.parametrize("level_db", [-40.0, -10.0])
def test_a_mixture_is_heard_at_the_level_of_white_noise_of_that_level(
    bench: Bench, level_db: float
) -> None:
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(160000) * 10 ** (level_db / 20)
    as_wave = to_power(_levels(noise.astype(np.float32)), FLOOR).mean(axis=0).sum()
    part = rng.random((48, 64)).astype(np.float32)
    as_power = bench.heard(part, level_db, rng).mean(axis=0).sum()
    assert 10 * np.log10(as_power / as_wave) == pytest.approx(0.0, abs=0.2)


def test_bends_follow_the_generator_alone(bench: Bench) -> None:
    part = np.ones((48, 64), np.float32)
    one, two, other = (bench.bent(part, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_masks_blank_at_most_what_was_asked(bench: Bench) -> None:
    levels = np.random.default_rng(7).random((48, 64)).astype(np.float32)
    for seed in range(20):
        masked = bench.masked(levels, np.random.default_rng(seed))
        changed = masked != levels
        assert changed.all(axis=0).sum() <= 8
        assert changed.all(axis=1).sum() <= 8
        assert set(masked[changed]) <= {levels.mean()}


def test_a_sound_is_not_drawn_from_its_pauses() -> None:
    levels = np.full((500, 64), -80, np.float16)
    levels[200:260] = 0
    frames = Features(
        clips=(Clip(path="a", label="dog_bark", origin="set", group="a"),),
        rows=levels,
        starts=np.array([0, 500]),
        rms_dbfs=np.zeros(1, np.float32),
        skipped=(),
    )
    drawer = Drawer(frames, SETTINGS)
    rng = np.random.default_rng(8)
    heard = [drawer.patch(0, rng)[0].max() > 0.5 for _ in range(200)]
    # A single draw hits the sound in 107 of 453 places; four draws miss it in a third.
    assert np.mean(heard) > 0.55


def test_a_short_clip_is_repeated_and_a_long_one_left_alone() -> None:
    assert looped(np.array([1, 2], np.float32), 5).tolist() == [1, 2, 1, 2, 1]
    assert looped(np.arange(6, dtype=np.float32), 5).tolist() == [0, 1, 2, 3, 4, 5]


def test_raw_features_are_neither_standardised_nor_clipped() -> None:
    shipped = msgspec.structs.replace(SETTINGS, mean=(-20.0,), std=(15.0,), clip=4.0)
    assert raw(shipped) == SETTINGS
