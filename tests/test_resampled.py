"""What the meter reads of sound that had another rate before: the whole chain, tone by tone."""

import msgspec
import numpy as np
import pytest

from edge_agent.acoustics.bands import EXACT_HZ, NOMINAL_HZ
from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from edge_agent.records import LevelReading
from edge_agent.resample import resample
from tests.metered import RATE, blocks, level, measured, sine
from tests.test_weighting import analytic_db

SETTINGS = LevelsConfig(indicators=("LAeq", "LCeq", "LZeq"), third_octaves=True)
# The highest third octave that is whole: what these rates are said to carry in docs/levels.md.
HIGHEST_HZ = {44100: 16000.0, 32000: 12500.0, 22050: 8000.0, 16000: 6300.0, 8000: 3150.0}


def read(hz: float, rate: int) -> LevelReading:
    """A second out of the middle of a tone of -20 dBFS."""
    samples = resample(sine(hz, 4, 0.1, rate), rate, RATE)
    told = [
        msgspec.structs.replace(block, bandwidth_hz=rate / 2)
        for block in blocks(samples, list(range(RATE // 4, len(samples), RATE // 4)))
    ]
    return measured(told, Levels(SETTINGS))[2]


@pytest.mark.parametrize(("rate", "highest_hz"), HIGHEST_HZ.items())
def test_every_third_octave_that_was_there_is_within_a_twentieth(
    rate: int, highest_hz: float
) -> None:
    for number, exact_hz in enumerate(EXACT_HZ[: NOMINAL_HZ.index(highest_hz) + 1]):
        reading = read(exact_hz, rate)
        assert level(reading, "LAeq_dbfs") == pytest.approx(
            -20 + analytic_db("A", exact_hz), abs=0.04
        )
        assert level(reading, "LCeq_dbfs") == pytest.approx(
            -20 + analytic_db("C", exact_hz), abs=0.04
        )
        assert level(reading, "LZeq_dbfs") == pytest.approx(-20, abs=0.05)
        assert reading.bands is not None
        # Above 63 Hz the filters have settled in two seconds.
        if exact_hz > 63:
            assert reading.bands.levels[number] == pytest.approx(-20, abs=0.03), exact_hz


@pytest.mark.parametrize(("rate", "highest_hz"), HIGHEST_HZ.items())
def test_bands_that_were_not_there_are_not_told(rate: int, highest_hz: float) -> None:
    reading = read(1000.0, rate)
    assert reading.bands is not None
    assert reading.bands.hz[-1] == highest_hz
    assert len(reading.tally.bands) == len(reading.bands.hz)
    assert reading.bandwidth_hz == rate / 2


def test_at_48_khz_all_are_told() -> None:
    reading = read(1000.0, RATE)
    assert reading.bands is not None
    assert reading.bands.hz == NOMINAL_HZ


def test_noise_of_44100_loses_what_the_resampler_cuts() -> None:
    noise = np.random.default_rng(4).normal(0, 0.05, 44100 * 6).astype(np.float32)
    natively = measured(blocks(noise, [], rate=44100), Levels(SETTINGS))[4]
    resampled = measured(blocks(resample(noise, 44100, RATE), []), Levels(SETTINGS))[4]
    lost_db = level(natively, "LAeq_dbfs") - level(resampled, "LAeq_dbfs")
    # White to 22 kHz, which no street is: 0.04 dB.
    assert 0.02 < lost_db < 0.06
