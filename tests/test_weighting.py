"""The A weighting against the standard's table, the analytic curve and scipy's filter."""

import csv
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import sosfilt, tf2sos

from edge_agent.acoustics.ballistics import FastWeighting
from edge_agent.acoustics.weighting import RATES, AWeighting, Float, sections

TABLE = Path(__file__).parent / "oracles" / "iec61672_a.csv"


def gain_db(rate: int, frequency_hz: float) -> float:
    z = np.exp(-2j * np.pi * frequency_hz / rate)
    gain = 1.0
    for b, a in sections(rate):
        gain *= float(abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z)))
    return 20 * float(np.log10(gain))


def analytic_db(frequency_hz: float) -> float:
    """IEC 61672-1:2013, Annex E, formula E.6, with the poles rounded as it prints them."""
    f2 = frequency_hz**2
    poles = (f2 + 20.60**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194.0**2)
    return 20 * float(np.log10(12194.0**2 * f2**2 / poles)) + 2.000


def scipy_filtered(rate: int, samples: Float) -> Float:
    rows = [tf2sos(b, a)[0] for b, a in sections(rate)]
    return np.asarray(sosfilt(np.array(rows), samples))


def test_weighting_keeps_the_table_and_class_1_at_every_rate() -> None:
    with TABLE.open() as file:
        rows = [row for row in csv.reader(file) if not row[0].startswith("#")]
    for rate in RATES:
        for frequency_hz, wanted_db, upper_db, lower_db in (map(float, row) for row in rows):
            error_db = gain_db(rate, frequency_hz) - wanted_db
            # The table is rounded to 0.1 dB.
            assert abs(error_db) <= 0.05 + 0.002, (rate, frequency_hz)
            assert lower_db <= error_db <= upper_db


def test_weighting_follows_the_analytic_curve_within_two_hundredths_of_a_decibel() -> None:
    # The printed poles are rounded: that alone is worth 0.01 dB.
    for frequency_hz in np.geomspace(10, 20000, 200):
        assert abs(gain_db(48000, frequency_hz) - analytic_db(frequency_hz)) < 0.02


@given(seed=st.integers(0, 1000), frames=st.integers(1, 6))
def test_block_filter_equals_scipys_cascade(seed: int, frames: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(frames * 250 * 48) + 0.3
    weighting = AWeighting(48000, 48, 250)
    parts = [weighting.filter(part) for part in samples.reshape(frames, 250, 48)]
    # float64 throughout; what is left is the order of additions.
    assert np.allclose(np.concatenate(parts).ravel(), scipy_filtered(48000, samples), atol=1e-9)


def test_f_weighting_of_short_frames_equals_that_of_long_ones() -> None:
    squares = np.square(np.random.default_rng(1).standard_normal((500, 48)))
    whole = FastWeighting(48000, 48).feed(squares)
    parted = FastWeighting(48000, 48)
    parts = [parted.feed(part) for part in np.split(squares, [1, 7, 250, 499])]
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-12)


def test_f_decays_by_34_7_decibels_a_second() -> None:
    # IEC 61672-1:2013, 5.8.3: 34.7 dB/s, with limits of +3.8 and -3.7.
    fast = FastWeighting(48000, 48)
    fast.feed(np.ones((2000, 48)))
    fading = fast.feed(np.zeros((1000, 48)))
    assert abs(10 * np.log10(fading[0] / fading[-1]) / 0.999 - 34.7) < 0.1
