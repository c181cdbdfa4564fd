"""Every indicator against its definition, and what the meter says when it cannot tell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config import Indicator, LevelsConfig
from edge_agent.levels import GRID, Levels
from edge_agent.records import Calibration, LevelReading, Samples
from tests.metered import RATE, SECOND_NS, blocks, measured, sine

ALL: tuple[Indicator, ...] = (
    *("LAeq", "LCeq", "LZeq", "LAE", "LAFmax", "LAFmin", "LASmax", "LCpeak"),
)
CALIBRATION = Calibration(offset_db=-0.5, date="2026-05-02", source="calibrator")


def read(
    samples: Samples,
    rate: int = RATE,
    start_ns: int = 0,
    calibration: Calibration | None = None,
    noise_floor_dbfs: float | None = None,
    missed_at: dict[int, int] | None = None,
) -> list[LevelReading]:
    meter = Levels(LevelsConfig(indicators=ALL), calibration, noise_floor_dbfs)
    cuts = sorted(missed_at or {})
    return measured(blocks(samples, cuts, start_ns, missed_at, rate), meter)


def noise(seconds: float, rate: int = RATE, seed: int = 1, gain: float = 0.1) -> Samples:
    rng = np.random.default_rng(seed)
    return (gain * rng.standard_normal(round(seconds * rate))).astype(np.float32)


@pytest.mark.parametrize("rate", GRID)
def test_a_steady_tone_at_1_khz_reads_the_same_by_all(rate: int) -> None:
    reading = read(sine(1000, 8, 0.5, rate), rate)[-1]
    level_dbfs = 20 * np.log10(0.5)
    for name in ("LAeq", "LCeq", "LZeq", "LAE", "LAFmax", "LAFmin"):
        # F ripples by 0.01 dB at twice the tone's frequency.
        assert reading.values[f"{name}_dbfs"] == pytest.approx(level_dbfs, abs=0.012), name
    # After eight time constants S lacks e^-8: 0.0015 dB.
    assert reading.values["LASmax_dbfs"] == pytest.approx(level_dbfs, abs=0.005)
    # A peak stands on the same scale as an RMS, 3.01 dB above it for a sine.
    assert reading.values["LCpeak_dbfs"] == pytest.approx(level_dbfs + 3.0103, abs=0.02)


def test_weightings_part_at_63_hz() -> None:
    reading = read(sine(63.0957, 3, 0.5))[-1]
    level_dbfs = 20 * np.log10(0.5)
    assert reading.values["LZeq_dbfs"] == pytest.approx(level_dbfs - 0.001, abs=0.01)
    assert reading.values["LCeq_dbfs"] == pytest.approx(level_dbfs - 0.818, abs=0.01)
    assert reading.values["LAeq_dbfs"] == pytest.approx(level_dbfs - 26.194, abs=0.01)


def test_the_exposure_of_half_a_second_is_3_db_below_its_mean() -> None:
    reading = read(noise(1.5), start_ns=SECOND_NS // 2)[0]
    assert reading.heard_s == 0.5
    mean, exposure = reading.values["LAeq_dbfs"], reading.values["LAE_dbfs"]
    assert mean is not None
    assert exposure == pytest.approx(mean - 3.0103, abs=1e-4)


def test_an_offset_of_the_converter_is_in_no_level() -> None:
    samples = noise(20, gain=0.01)
    # Z's high-pass at 1 Hz needs its time.
    plain, shifted = (read(one)[-1].values for one in (samples, samples + np.float32(0.2)))
    for name in plain:
        assert plain[name] == pytest.approx(shifted[name], abs=0.001), name


def test_calibration_shifts_every_level_by_the_same_also_when_negative() -> None:
    plain, calibrated = (read(noise(7), calibration=c)[-1].values for c in (None, CALIBRATION))
    for name in ALL:
        bare = plain[f"{name}_dbfs"]
        assert bare is not None
        assert calibrated[name] == pytest.approx(bare - 0.5, abs=1e-9), name
    assert set(calibrated) == set(ALL)


def test_extremes_wait_until_they_have_settled() -> None:
    readings = read(noise(7))
    unsettled = [{name for name, value in one.values.items() if value is None} for one in readings]
    assert unsettled[0] == {"LAFmin_dbfs", "LASmax_dbfs"}
    assert unsettled[1:5] == [{"LASmax_dbfs"}] * 4
    assert unsettled[5:] == [set(), set()]
    assert readings[0].reasons == {"LAFmin_dbfs": "settling", "LASmax_dbfs": "settling"}


def test_a_gap_lets_them_settle_anew() -> None:
    readings = read(noise(13), missed_at={7 * RATE: 3 * RATE})
    settled = [one.values["LASmax_dbfs"] is not None for one in readings]
    assert settled == [False] * 5 + [True] * 2 + [False] * 5 + [True]


def test_fast_is_sampled_eight_times_a_second_once_it_has_settled() -> None:
    for rate in GRID:
        readings = read(noise(4, rate), rate)
        assert [sum(one.tally.fast.values()) for one in readings] == [0, 8, 8, 8], rate


def test_a_stream_that_begins_anywhere_has_eight_samples_in_each_full_second() -> None:
    readings = read(noise(5), start_ns=1_780_000_000 * SECOND_NS + 123_456_789)
    assert [sum(one.tally.fast.values()) for one in readings[2:-1]] == [8] * len(readings[2:-1])


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_a_dead_microphone_is_never_loud(value: float) -> None:
    for reading in read(np.full(3 * RATE, value, np.float32)):
        assert set(reading.values.values()) == {None}
        assert set(reading.reasons.values()) == {"silent_input"}
        assert (reading.tally.heard_us, reading.tally.silent_us) == (0, 1_000_000)
        assert reading.tally.energies == {}


def test_the_filters_memory_of_silence_is_no_level() -> None:
    samples = np.concatenate([noise(2), np.zeros(12 * RATE + 9000, np.float32), noise(2)])
    for reading in read(samples)[2:]:
        for name, value in reading.values.items():
            assert value is None or value > -160.0, name
        assert all(tenths > -1600 for tenths in reading.tally.fast)


def test_overload_is_flagged_at_either_end_of_the_scale() -> None:
    for peak in (0.9991, -0.9991, 0.5):
        samples = noise(2, gain=0.01)
        samples[RATE + 100] = peak
        readings = read(samples)
        assert [one.overload for one in readings] == [False, abs(peak) > 0.9]
        assert [one.tally.overload_s for one in readings] == [0, int(abs(peak) > 0.9)]


def test_a_level_near_the_microphones_own_noise_is_under_range() -> None:
    # LAeq of this noise is about -64 dBFS; the floor lies 3 dB below the own noise, 7 dB count.
    for floor_dbfs, under in ((-76.0, False), (-72.0, True), (None, False)):
        reading = read(noise(2, gain=5e-4), noise_floor_dbfs=floor_dbfs)[-1]
        level_dbfs = reading.values["LAeq_dbfs"]
        assert level_dbfs is not None
        assert -66 < level_dbfs < -62.5
        assert reading.under_range is under
        assert reading.tally.under_range_s == int(under)


@settings(max_examples=30)
@given(
    cuts=st.lists(st.integers(1, 3 * 44100 - 1), max_size=20, unique=True).map(sorted),
    rate=st.sampled_from(sorted(GRID)),
    begins_ms=st.integers(0, 999),
)
def test_no_reading_depends_on_the_cuts(cuts: list[int], rate: int, begins_ms: int) -> None:
    samples = noise(3, rate)
    start_ns = 1_780_000_000 * SECOND_NS + begins_ms * 1_000_000
    config = LevelsConfig(indicators=ALL, third_octaves=True)
    cuts = [cut for cut in cuts if cut < len(samples)]
    whole, parted = (
        measured(blocks(samples, at, start_ns, rate=rate), Levels(config)) for at in ([], cuts)
    )
    assert whole == parted
    assert len(whole) >= 2


def test_what_no_indicator_needs_is_not_measured() -> None:
    meter = Levels(LevelsConfig(indicators=("LAFmax",), slow_indicators=("L10",)))
    reading = measured(blocks(noise(2), []), meter)[-1]
    assert set(reading.tally.energies) == {"A"}
    assert set(reading.tally.highest) == {"LAFmax"}
