"""The weightings against the standard's table, the analytic curves and scipy's filter."""

import csv
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import sosfilt, tf2sos

from edge_agent.acoustics.weighting import RATES, Float, Weight, Weighting, sections

TABLE = Path(__file__).parent / "oracles" / "iec61672_table3.csv"
WEIGHTS: tuple[Weight, ...] = ("A", "C", "Z")
STEPS = {48000: 48, 44100: 49, 32000: 32}
# The highest third octave whose upper edge a rate carries.
HIGHEST_HZ = {48000: 20000, 44100: 16000, 32000: 12500}
# ACOUSTICS: the digital part's own budget; the standard's limits are the whole instrument's.
BUDGET_DB = 0.05
# Our Z begins to fall below 10 Hz, by 0.04 dB there.
DESIGNED_DB = {48000: 0.001, 44100: 0.0015, 32000: 0.011}


def gain_db(rate: int, weight: Weight, frequency_hz: float) -> float:
    z = np.exp(-2j * np.pi * frequency_hz / rate)
    gain = 1.0
    for b, a in sections(rate, weight):
        gain *= float(abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z)))
    return 20 * float(np.log10(gain))


def analytic_db(weight: Weight, frequency_hz: float) -> float:
    """IEC 61672-1:2013, Annex E, formulas E.1 to E.8, with nothing rounded."""
    f_l, f_h, f_a, d = 10**1.5, 10**3.9, 10**2.45, np.sqrt(0.5)
    b = (1e6 + f_l**2 * f_h**2 / 1e6 - d * (f_l**2 + f_h**2)) / (1 - d)
    c = f_l**2 * f_h**2
    f1, f4 = (np.sqrt((-b + sign * np.sqrt(b**2 - 4 * c)) / 2) for sign in (-1, 1))
    f2, f3 = (f_a * (3 + sign * np.sqrt(5)) / 2 for sign in (-1, 1))

    def response(f: float) -> float:
        if weight == "Z":
            return 1.0
        gain = f4**2 * f**2 / ((f**2 + f1**2) * (f**2 + f4**2))
        if weight == "A":
            gain *= f**2 / np.sqrt((f**2 + f2**2) * (f**2 + f3**2))
        return float(gain)

    return 20 * float(np.log10(response(frequency_hz) / response(1000.0)))


class Row:
    """A line of the standard's table."""

    def __init__(self, cells: list[str]) -> None:
        self.nominal_hz, self.exact_hz, a, c, self.upper_db, self.lower_db = map(float, cells)
        self.wanted_db: dict[Weight, float] = {"A": a, "C": c, "Z": 0.0}


def table() -> list[Row]:
    with TABLE.open() as file:
        return [Row(cells) for cells in csv.reader(file) if not cells[0].startswith("#")]


def test_the_analytic_curves_give_every_cell_of_the_table() -> None:
    rows = table()
    assert len(rows) == 34
    for row, weight in product(rows, WEIGHTS):
        exact_hz = 10 ** (round(10 * np.log10(row.exact_hz)) / 10)
        assert analytic_db(weight, exact_hz) == pytest.approx(row.wanted_db[weight], abs=0.0006)
    for edge_hz in (10**1.5, 10**3.9):
        assert analytic_db("C", edge_hz) == pytest.approx(-3.0103, abs=1e-4)


@pytest.mark.parametrize("rate", RATES)
def test_every_third_octave_that_the_rate_carries_is_within_class_1(rate: int) -> None:
    lines = [f"{rate} Hz: deviation from the analytic curve, dB; class 1 limits"]
    for row in table():
        if row.nominal_hz > HIGHEST_HZ[rate]:
            continue
        exact_hz = 10 ** (round(10 * np.log10(row.exact_hz)) / 10)
        found = {
            weight: gain_db(rate, weight, exact_hz) - analytic_db(weight, exact_hz)
            for weight in WEIGHTS
        }
        lines.append(
            f"{row.nominal_hz:8g}  "
            + "  ".join(f"{weight} {error:+.4f}" for weight, error in found.items())
            + f"   {row.upper_db:+g} {row.lower_db:+g}"
        )
        for weight, error_db in found.items():
            assert row.lower_db <= error_db <= row.upper_db
            assert abs(error_db) <= BUDGET_DB, (weight, row.nominal_hz)
            if weight != "Z":
                assert abs(error_db) <= DESIGNED_DB[rate], (weight, row.nominal_hz)
    print("\n".join(lines))  # noqa: T201 # `pytest -rP` shows it


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_between_the_third_octaves_the_curve_is_kept_too(rate: int, weight: Weight) -> None:
    # The upper edge of the highest third octave is what the rate carries.
    for frequency_hz in np.geomspace(10, HIGHEST_HZ[rate], 400):
        error_db = gain_db(rate, weight, frequency_hz) - analytic_db(weight, frequency_hz)
        assert abs(error_db) <= BUDGET_DB, frequency_hz


@pytest.mark.parametrize("rate", RATES)
def test_the_weightings_agree_at_1_khz(rate: int) -> None:
    # IEC 61672-1:2013, 5.5.9: 0.2 dB; ours are normalised there, and Z is flat.
    assert all(abs(gain_db(rate, weight, 1000.0)) < 1e-5 for weight in WEIGHTS)


@given(
    rate=st.sampled_from(RATES),
    weights=st.lists(st.sampled_from(WEIGHTS), min_size=1, max_size=3, unique=True).map(tuple),
    seed=st.integers(0, 1000),
    frames=st.integers(1, 4),
)
def test_the_block_filter_equals_scipys_cascade(
    rate: int, weights: tuple[Weight, ...], seed: int, frames: int
) -> None:
    step = STEPS[rate]
    # With an offset that A, C and Z all have to take away.
    samples = np.random.default_rng(seed).standard_normal(frames * 225 * step) + 0.3
    weighting = Weighting(rate, step, 225, weights)
    parts = [np.array(weighting.filter(part)) for part in samples.reshape(frames, 225, step)]
    for number, weight in enumerate(weights):
        found = np.concatenate([part[number] for part in parts]).ravel()
        # float32 at the end: 24 bits of the largest sample, 4 here.
        assert np.allclose(found, _scipy_filtered(rate, weight, samples), rtol=0, atol=2e-6)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_reset_filter_begins_anew(weight: Weight) -> None:
    noise = np.random.default_rng(1).standard_normal((250, 48))
    used, fresh = (Weighting(48000, 48, 250, (weight,)) for _ in range(2))
    used.filter(noise)
    used.reset()
    assert np.array_equal(used.filter(noise), fresh.filter(noise))


def _scipy_filtered(rate: int, weight: Weight, samples: Float) -> Float:
    rows = [tf2sos(b, a)[0] for b, a in sections(rate, weight)]
    return cast(Float, sosfilt(np.array(rows), samples))
