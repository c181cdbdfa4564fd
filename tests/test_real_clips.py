"""The meter on real recordings, against the analytic curves, PyOctaveBand and scipy."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soxr

from edge_agent.acoustics.bands import EXACT_HZ
from edge_agent.acoustics.weighting import Float, Weight
from edge_agent.capture.files import read_recording
from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from tests.metered import blocks, measured
from tests.test_weighting import analytic_db
from tests.third_octaves import RATE, let_out, ours_db, pyoctavebands_db, scipys_db

SETTINGS = LevelsConfig(indicators=("LAeq", "LCeq"))
# The bands below and above ours, for what a band's neighbours hold.
AROUND_HZ = (10**1.1, 10**1.2, *EXACT_HZ)


@pytest.fixture(scope="module")
def clips(data_root: Path) -> list[Float]:
    """Every other of the recordings that hold the whole band, at 48 kHz."""
    chosen = sorted((data_root / "full_rate").glob("*.ogg"))[::2]
    assert len(chosen) == 26
    found = []
    for path in chosen:
        samples, rate = read_recording(path)
        found.append(np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float64))
    return found


@cache
def curve(weight: Weight) -> tuple[Float, Float]:
    """The analytic curve: frequencies, Hz, and gains, dB, close enough to interpolate."""
    grid_hz = np.geomspace(1.0, RATE / 2, 4000)
    return grid_hz, np.array([analytic_db(weight, hz) for hz in grid_hz])


def analytic_level(samples: Float, weight: Weight) -> float:
    """The weighted energy, in the frequency domain, dB."""
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    frequencies_hz = np.fft.rfftfreq(2 * len(samples), 1 / RATE)
    grid_hz, curve_db = curve(weight)
    gain_db = np.interp(np.log(np.maximum(frequencies_hz, 1.0)), np.log(grid_hz), curve_db)
    power = np.square(np.abs(spectrum)) * 10 ** (gain_db / 10)
    power[frequencies_hz < 1.0] = 0.0
    return 10 * float(np.log10((2 * power.sum() - power[-1]) / (2 * len(samples))))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("weight", ["A", "C"])
def test_the_level_of_a_clip_is_that_of_the_analytic_curve(
    clips: list[Float], weight: Weight
) -> None:
    for number, clip in enumerate(clips):
        # In whole seconds, with one in which the filter's tail is let out; not of digital silence,
        # which has no level.
        length = -(-len(clip) // RATE) + 1
        quiet = 1e-7 * np.random.default_rng(number).standard_normal(length * RATE - len(clip))
        samples = np.concatenate([clip, quiet]).astype(np.float32)
        readings = measured(blocks(samples, []), Levels(SETTINGS))
        energies = [
            10 ** (level / 10)
            for reading in readings
            if (level := reading.values[f"L{weight}eq_dbfs"]) is not None
        ]
        found_db = 10 * np.log10(sum(energies) * RATE / 2)
        wanted_db = analytic_level(samples.astype(np.float64), weight)
        # Issue 4 asks 0.05 dB; 0.01 is what the design reaches with room to spare.
        assert found_db == pytest.approx(wanted_db, abs=0.01), number


@pytest.mark.data
@pytest.mark.slow
def test_third_octaves_of_clips_agree_with_both_oracles(clips: list[Float]) -> None:
    against_pyoctaveband, against_scipy, sums = [], [], []
    for clip in clips:
        samples = let_out(clip)
        ours = ours_db(samples)
        around = scipys_db(samples, AROUND_HZ)
        scipys = around[2:]
        # A band far below its neighbour measures the neighbour's skirt, which no two designs share.
        below = np.maximum(around[1:-1], np.append(around[3:], -np.inf)) - scipys
        kept = (scipys > scipys.max() - 60) & (below < 6)
        against_pyoctaveband += (ours - pyoctavebands_db(samples))[kept].tolist()
        against_scipy += (ours - scipys)[kept].tolist()
        sums.append(_sum_db(ours) - _band_limited_db(samples))
    assert len(against_scipy) > 500
    errors_db = np.abs(against_pyoctaveband)
    print(  # noqa: T201 # `pytest -rP` shows it
        f"{len(errors_db)} bands, to PyOctaveBand: median {np.median(errors_db):.3f}, "
        f"p99 {np.percentile(errors_db, 99):.3f}, max {errors_db.max():.3f}; "
        f"to scipy: max {np.abs(against_scipy).max():.3f}; sums {np.abs(sums).max():.3f} dB"
    )
    assert np.percentile(errors_db, 99) <= 0.2
    # The design asks 0.35 dB; bands at lower rates are those of the full rate still.
    assert np.abs(against_scipy).max() <= 0.02
    assert np.abs(sums).max() <= 0.2


def _sum_db(levels_db: Float) -> float:
    return 10 * float(np.log10(np.sum(10 ** (levels_db / 10))))


def _band_limited_db(samples: Float) -> float:
    """The mean square between the outermost edges."""
    spectrum = np.square(np.abs(np.fft.rfft(samples)))
    frequencies_hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    edge = 10**0.05
    inside = (frequencies_hz >= EXACT_HZ[0] / edge) & (frequencies_hz <= EXACT_HZ[-1] * edge)
    return 10 * float(np.log10(2 * spectrum[inside].sum() / len(samples) ** 2))
