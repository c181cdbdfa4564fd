"""Tone bursts and peaks of IEC 61672-1:2013, tables 4 and 5, through the whole meter."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from edge_agent.records import LevelReading, Samples
from tests.metered import RATE, blocks, measured, sine

TABLE = Path(__file__).parent / "oracles" / "iec61672_table4.csv"
SETTINGS = LevelsConfig(indicators=("LAeq", "LCeq", "LAE", "LAFmax", "LASmax", "LCpeak"))
RATES = (48000, 44100, 32000)
# LASmax needs five seconds to settle.
QUIET_S = 6.0


def readings_of(samples: Samples, rate: int = RATE) -> list[LevelReading]:
    return measured(blocks(samples, [], rate=rate), Levels(SETTINGS))


def highest(readings: list[LevelReading], name: str) -> float:
    return max(value for reading in readings if (value := reading.values[name]) is not None)


def exposure(readings: list[LevelReading]) -> float:
    levels = [value for reading in readings if (value := reading.values["LAE_dbfs"]) is not None]
    return 10 * math.log10(sum(10 ** (level / 10) for level in levels))


def steady(name: str, frequency_hz: float, rate: int = RATE) -> float:
    value = readings_of(sine(frequency_hz, 3, 0.5, rate), rate)[2].values[name]
    assert value is not None
    return value


def padded(burst: Samples, rate: int = RATE, seconds: float = 3.0) -> Samples:
    # A trace of noise keeps the quiet seconds from being digital silence.
    rng = np.random.default_rng(5)
    quiet, tail = (
        (1e-7 * rng.standard_normal(round(s * rate))).astype(np.float32) for s in (QUIET_S, seconds)
    )
    return np.concatenate([quiet, burst, tail])


def rows() -> list[list[str]]:
    with TABLE.open() as file:
        return [cells for cells in csv.reader(file) if not cells[0].startswith("#")]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("cells", rows(), ids=lambda cells: f"{cells[0]}ms")
def test_a_tone_burst_reads_as_the_standard_asks(cells: list[str], rate: int) -> None:
    length_s = float(cells[0]) / 1000
    found = readings_of(padded(sine(4000, length_s, 0.5, rate), rate), rate)
    level = steady("LAeq_dbfs", 4000, rate)
    errors = {
        "F": highest(found, "LAFmax_dbfs") - level,
        "S": highest(found, "LASmax_dbfs") - level,
        "E": exposure(found) - level,
    }
    # Nominal value, upper and lower limit of F, S and E; S ends at 2 ms.
    for name, place in (("F", 1), ("S", 4), ("E", 7)):
        if cells[place]:
            nominal, upper, lower = map(float, cells[place : place + 3])
            assert lower <= errors[name] - nominal <= upper, name
    # The digital part alone keeps to the formulas behind the table: what remains is the reading
    # grid (0.04 dB), the ripple of the squared tone, and the filter's own transient below 2 ms.
    ours_db = 0.05 if length_s >= 0.002 else 0.2
    for name, tau_s in (("F", 0.125), ("S", 1.0)):
        wanted_db = 10 * math.log10(1 - math.exp(-length_s / tau_s))
        assert errors[name] == pytest.approx(wanted_db, abs=ours_db), name
    assert errors["E"] == pytest.approx(10 * math.log10(length_s), abs=ours_db)


def test_repeated_bursts_have_the_mean_of_their_share() -> None:
    # 20 bursts of 10 ms each 100 ms: 5.9 of the standard, 10 lg(n T / Tm) with E's limits.
    burst = np.concatenate([sine(4000, 0.01, 0.5), np.zeros(round(0.09 * RATE), np.float32)])
    (reading,) = measured(blocks(np.tile(burst, 10), []), Levels(SETTINGS))
    value = reading.values["LAeq_dbfs"]
    assert value is not None
    assert value - steady("LAeq_dbfs", 4000) == pytest.approx(-10.0, abs=0.03)


# Signal, its frequency, cycles played (sign for the half cycles), LCpeak - LC, class 1 limit.
PEAKS = [
    (31.5, 1.0, 2.5, 2.0),
    (500.0, 1.0, 3.5, 1.0),
    (8000.0, 1.0, 3.4, 2.0),
    (500.0, 0.5, 2.4, 1.0),
    (500.0, -0.5, 2.4, 1.0),
]


@pytest.mark.parametrize(("frequency_hz", "cycles", "nominal_db", "limit_db"), PEAKS)
def test_a_cycle_has_the_peak_that_the_standard_asks(
    frequency_hz: float, cycles: float, nominal_db: float, limit_db: float
) -> None:
    burst = np.sign(cycles) * sine(frequency_hz, abs(cycles) / frequency_hz, 0.5)
    found = highest(readings_of(padded(burst.astype(np.float32))), "LCpeak_dbfs")
    assert abs(found - steady("LCeq_dbfs", frequency_hz) - nominal_db) <= limit_db


@pytest.mark.parametrize("phase", np.linspace(0, 1, 16, endpoint=False))
def test_the_sampled_peak_of_8_khz_is_in_class_1_at_any_phase(phase: float) -> None:
    # Six samples a cycle: the sampled peak reads low by up to 0.9 dB, which class 1 allows.
    t = (np.arange(6) + phase) / RATE
    burst = (0.5 * np.sin(2 * np.pi * 8000 * t) * (t < 1 / 8000)).astype(np.float32)
    found = highest(readings_of(padded(burst)), "LCpeak_dbfs") - steady("LCeq_dbfs", 8000)
    assert -2.0 <= found - 3.4 <= 2.0
    assert found == pytest.approx(3.0, abs=0.5)
