"""Each condition does to a known sound what its name and its value say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.records import Samples
from model_build import conditions
from model_build.audible import RATE
from model_build.features import level_dbfs


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def tone(hz: float, peak: float = 0.5, seconds: float = 1.0) -> Samples:
    t = np.arange(round(seconds * RATE)) / RATE
    sound: Samples = (peak * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    return sound


@given(st.floats(-60, 0))
def test_the_peak_comes_to_the_level(peak_dbfs: float) -> None:
    peak = np.abs(conditions.at_level(tone(440), peak_dbfs, rng())).max()
    assert 20 * np.log10(peak) == pytest.approx(peak_dbfs, abs=0.001)


@given(st.floats(-10, 60))
def test_the_noise_lies_so_far_below_the_sound(snr_db: float) -> None:
    sound = tone(440)
    noise = conditions.in_noise(sound, snr_db, rng()) - sound
    # The deviation of the level of a second of white noise is 0.03 dB.
    assert level_dbfs(sound) - level_dbfs(noise) == pytest.approx(snr_db, abs=0.15)


@pytest.mark.parametrize(("hz", "gain_db"), [(60, -24), (1000, 0), (4000, 9), (8000, -8)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_microphones_response_is_a_share_of_its_decibels(
    hz: float, gain_db: float, share: float
) -> None:
    sound = tone(hz)
    heard = conditions.through_cheap_microphone(sound, share, rng())
    assert level_dbfs(heard) - level_dbfs(sound) == pytest.approx(share * gain_db, abs=0.1)


def test_the_converter_cuts_off_what_is_beyond_full_scale() -> None:
    driven = conditions.clipped(tone(440, peak=0.2), 12.0, rng())
    assert np.abs(driven).max() == pytest.approx(10 ** (12 / 20), rel=1e-5)
    heard = conditions.converted(driven)
    assert (heard.min(), heard.max()) == (-1.0, 1 - 1 / 32768)
    inside = np.abs(driven) < 0.99
    assert np.abs(heard - driven)[inside].max() <= 0.5 / 32768 + 1e-7


@pytest.mark.parametrize("t60_s", [0.3, 1.0])
def test_a_click_rings_for_the_reverberation_time(t60_s: float) -> None:
    click = np.zeros(3 * RATE, np.float32)
    click[100] = 0.5
    heard = conditions.in_room(click, t60_s, rng())
    assert heard.size == click.size
    assert not heard[:100].any() or np.abs(heard[:100]).max() < 1e-6
    tail = heard[101:].astype(np.float64)
    # As strong as the direct sound, which lies on one sample together with the tail's first.
    assert np.square(tail).sum() == pytest.approx(0.25, rel=0.02)
    # Schroeder 1965: what is left of the energy falls by 60 dB in the reverberation time.
    left_db = 10 * np.log10(np.square(tail)[::-1].cumsum()[::-1][: round(0.5 * t60_s * RATE)])
    slope = np.polyfit(np.arange(left_db.size) / RATE, left_db, 1)[0]
    assert slope == pytest.approx(-60 / t60_s, rel=0.03)


def test_silence_stays_silence_except_in_noise() -> None:
    silence = np.zeros(RATE, np.float32)
    for condition in conditions.CONDITIONS:
        for value in condition.values:
            assert not condition.apply(silence, value, rng()).any()
