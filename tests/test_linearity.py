"""Linearity over the range, and tones that sweep: what a laboratory would do with an instrument."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.acoustics.bands import EXACT_HZ, Bank, carried
from edge_agent.config import LevelsConfig
from edge_agent.levels import GRID, Levels
from edge_agent.records import LevelReading, Samples
from tests.metered import RATE, blocks, level, measured, sine
from tests.test_weighting import analytic_db

SETTINGS = LevelsConfig(
    indicators=("LAeq", "LCeq", "LZeq", "LAFmax", "LAFmin", "LASmax", "LCpeak"), third_octaves=True
)
ALL = [f"{name}_dbfs" for name in SETTINGS.indicators]


def read(samples: Samples, rate: int = RATE) -> LevelReading:
    """The last second."""
    return measured(blocks(samples, [], rate=rate), Levels(SETTINGS))[-1]


@pytest.mark.parametrize("rate", GRID)
@pytest.mark.parametrize("exact_hz", [10**1.5, 1000.0, 10**3.9, 10**4.1])
def test_levels_are_linear_over_a_hundred_decibels(rate: int, exact_hz: float) -> None:
    # IEC 61672-1:2013, 5.6.2 and 5.6.4: 0.8 dB anywhere, 0.3 dB for steps of 1 to 10 dB.
    band = EXACT_HZ.index(exact_hz)
    top = read(sine(exact_hz, 7, 1.0, rate), rate)
    assert top.bands is not None
    for down_db in (1, 2, 10, 20, 40, 60, 80, 100):
        reading = read(sine(exact_hz, 7, 10 ** (-down_db / 20), rate), rate)
        for name in ALL:
            assert level(top, name) - level(reading, name) == pytest.approx(down_db, abs=0.001)
        assert reading.bands is not None
        # IEC 61260-1:2014, 5.13: 0.5 dB over 60 dB.
        found = top.bands.levels[band], reading.bands.levels[band]
        assert found[0] is not None
        assert found[1] is not None
        assert found[0] - found[1] == pytest.approx(down_db, abs=0.001)


@settings(max_examples=20)
@given(down_db=st.floats(0, 90), hz=st.floats(100, 15_000))
def test_a_quiet_tone_reads_what_a_loud_one_does(down_db: float, hz: float) -> None:
    loud, quiet = read(sine(hz, 3)), read(sine(hz, 3, 10 ** (-down_db / 20)))
    for name in ("LAeq_dbfs", "LCeq_dbfs", "LZeq_dbfs"):
        assert level(loud, name) - level(quiet, name) == pytest.approx(down_db, abs=0.001)


def test_a_quiet_sound_is_read_beside_rumble_and_an_offset() -> None:
    # 10 Hz at -6 dBFS, as wind makes it, and an offset of the converter; 4 kHz at -100 dBFS.
    t = np.arange(6 * RATE) / RATE
    hum = 0.3 + 0.5 * np.sin(2 * np.pi * 10 * t)
    tone = 1e-5 * np.sin(2 * np.pi * EXACT_HZ[23] * t)
    alone, beside = (read(sound.astype(np.float32)) for sound in (hum, hum + tone))
    assert alone.bands is not None
    assert beside.bands is not None
    floor, found = alone.bands.levels[23], beside.bands.levels[23]
    assert floor is not None
    assert found is not None
    assert floor < -118
    # What a band lets through of tones far below it; class 1 asks 70 dB.
    assert max(level for level in alone.bands.levels[7:] if level is not None) < -100
    assert found == pytest.approx(-100, abs=0.04)


@pytest.mark.parametrize("bits", [16, 24])
def test_the_floor_is_that_of_the_converter(bits: int) -> None:
    # Dither of a step, as a converter's own noise: the meter adds nothing to it.
    step = 2.0 ** (1 - bits)
    rng = np.random.default_rng(bits)
    dither = rng.uniform(-0.5, 0.5, (2, 4 * RATE)).sum(axis=0)
    samples = (np.round(dither) * step).astype(np.float32)
    wanted_dbfs = 10 * np.log10(np.mean(np.square(samples[-RATE:], dtype=np.float64))) + 3.0103
    assert level(read(samples), "LZeq_dbfs") == pytest.approx(wanted_dbfs, abs=0.01)


def _sweep(low_hz: float, high_hz: float, seconds: int, rate: int) -> Samples:
    """An exponential sweep of -6 dBFS: it stays as long in each third octave."""
    t = np.arange(seconds * rate) / rate
    per_s = np.log(high_hz / low_hz) / seconds
    phase = 2 * np.pi * low_hz * np.expm1(per_s * t) / per_s
    return np.asarray(0.5 * np.sin(phase), np.float32)


@pytest.mark.parametrize("rate", GRID)
@pytest.mark.parametrize("seconds", [10, 40])
def test_a_sweep_leaves_the_same_in_every_band(rate: int, seconds: int) -> None:
    # IEC 61260-1:2014, 5.14, time-invariant operation: 0.4 dB of class 1.
    count = carried(rate)
    low_hz, high_hz = EXACT_HZ[0] / 2, EXACT_HZ[count - 1] * 10**0.05
    bank = Bank(rate)
    bank.feed(_sweep(low_hz, high_hz, seconds, rate))
    bank.feed(np.zeros(2 * rate, np.float32))
    found = np.array(bank.take(), dtype=np.float64) * (seconds + 2) / seconds
    third_octaves = 10 * np.log10(high_hz / low_hz)
    wanted = 0.125 / third_octaves
    errors_db = 10 * np.log10(found / wanted)
    # The sweep ends on the last band's upper edge.
    assert np.abs(errors_db[:-1]).max() < 0.4
    assert np.abs(errors_db[7:-1]).max() < 0.15


def test_a_sweep_has_the_mean_of_the_curve_that_it_ran_through() -> None:
    seconds = 20
    samples = np.append(_sweep(20, 20_000, seconds, RATE), np.zeros(RATE, np.float32))
    readings = measured(blocks(samples, []), Levels(SETTINGS))[:seconds]
    for weight in ("A", "C"):
        gains_db = [analytic_db(weight, hz) for hz in np.geomspace(20, 20_000, 3001)]
        wanted_db = 10 * np.log10(np.mean(10 ** (np.array(gains_db) / 10))) - 6.0206
        energies = [10 ** (level(one, f"L{weight}eq_dbfs") / 10) for one in readings]
        assert 10 * np.log10(np.mean(energies)) == pytest.approx(wanted_db, abs=0.01)
    # A sweep is never louder than the tone that it passes.
    assert max(level(one, "LAFmax_dbfs") for one in readings) < -6.0206 + 1.27 + 0.02
    assert max(level(one, "LCpeak_dbfs") for one in readings) < -6.0206 + 3.0103 + 0.04
