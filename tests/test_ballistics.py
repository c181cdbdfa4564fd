"""F and S against scipy's filter and the standard's decay rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from edge_agent.acoustics.ballistics import TAU_S, Ballistics, Speed
from edge_agent.records import Samples

GRIDS = ((48000, 48), (44100, 49), (32000, 32))


def _squares(steps: int, step: int) -> Samples:
    return np.square(np.random.default_rng(2).standard_normal((steps, step), np.float32))


@pytest.mark.parametrize(("rate", "step"), GRIDS)
@pytest.mark.parametrize("speed", ["F", "S"])
def test_the_weighting_is_the_exponential_mean_at_every_grid_point(
    rate: int, step: int, speed: Speed
) -> None:
    squares = _squares(3000, step)
    mean, found = Ballistics(rate, step, (speed,)).feed(squares)
    decay = np.exp(-1 / (rate * TAU_S[speed]))
    exact = squares.astype(np.float64)
    oracle = lfilter([1 - decay], [1, -decay], exact.ravel())[step - 1 :: step]
    # 1e-6 is 0.000004 dB.
    assert np.allclose(found, oracle, rtol=1e-6)
    assert np.allclose(mean, exact.mean(axis=1), rtol=1e-6)


@given(cuts=st.lists(st.integers(1, 499), max_size=6, unique=True).map(sorted))
def test_short_frames_equal_long_ones(cuts: list[int]) -> None:
    squares = _squares(500, 48)
    whole = Ballistics(48000, 48, ("F", "S")).feed(squares)
    parted = Ballistics(48000, 48, ("F", "S"))
    parts = [parted.feed(part) for part in np.split(squares, cuts)]
    for number, values in enumerate(whole):
        joined = np.concatenate([part[number] for part in parts])
        assert np.allclose(joined, values, rtol=1e-6)


# IEC 61672-1:2013, 5.8.3: the rate at which a reading falls, dB/s, and its limits.
@pytest.mark.parametrize(
    ("speed", "nominal", "upper", "lower"), [("F", 34.7, 3.8, -3.7), ("S", 4.3, 0.8, -0.7)]
)
@pytest.mark.parametrize(("rate", "step"), GRIDS)
def test_readings_decay_as_the_standard_asks(
    rate: int, step: int, speed: Speed, nominal: float, upper: float, lower: float
) -> None:
    steps = rate // step
    ballistics = Ballistics(rate, step, (speed,))
    ballistics.feed(np.ones((8 * steps, step), np.float32))
    (_, fading) = ballistics.feed(np.zeros((steps + 1, step), np.float32))
    rate_db = 10 * float(np.log10(fading[0] / fading[-1]))
    assert lower <= rate_db - nominal <= upper
    # Exactly 10 lg(e) / tau.
    assert rate_db == pytest.approx(10 * np.log10(np.e) / TAU_S[speed], abs=1e-6)


def test_a_steady_signal_reads_its_mean_square() -> None:
    _, fast, slow = Ballistics(48000, 48, ("F", "S")).feed(np.full((20_000, 48), 0.25, np.float32))
    assert fast[-1] == pytest.approx(0.25, rel=1e-6)
    assert slow[-1] == pytest.approx(0.25, rel=1e-6)
