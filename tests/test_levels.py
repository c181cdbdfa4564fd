"""The meter against analytic levels, the clock, and itself cut otherwise."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.timeline import Timeline
from edge_agent.clock import SimulatedClock
from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from edge_agent.records import Block, Calibration
from tests.conftest import examples
from tests.metered import RATE, SECOND_NS, blocks, level, measured, sine

pytestmark = pytest.mark.arm


def test_a_full_scale_sine_at_1_khz_reads_zero_dbfs() -> None:
    readings = measured(blocks(sine(1000, 3), []))
    assert [reading.start_ns // SECOND_NS for reading in readings] == [0, 1, 2]
    # From the second second on the filter has settled.
    assert abs(level(readings[1], "LAeq_dbfs")) < 0.001
    # Read each millisecond, F misses at most the ripple between two readings.
    assert abs(level(readings[1], "LAFmax_dbfs")) < 0.01
    assert readings[1].overload


def test_calibration_shifts_the_level_and_changes_its_name() -> None:
    calibration = Calibration(offset_db=120.0, date="2026-05-02", source="calibrator")
    readings = measured(blocks(sine(1000, 2, 0.01), []), Levels(LevelsConfig(), calibration))
    assert level(readings[1], "LAeq") == pytest.approx(80.0, abs=0.001)
    assert "LAeq_dbfs" not in readings[1].values
    assert not readings[1].overload


@settings(max_examples=examples(25))
@given(
    cuts=st.lists(st.integers(1, 3 * RATE - 1), max_size=20, unique=True).map(sorted),
    seed=st.integers(0, 5),
)
def test_readings_do_not_depend_on_the_cuts(cuts: list[int], seed: int) -> None:
    samples = (0.1 * np.random.default_rng(seed).standard_normal(3 * RATE)).astype(np.float32)
    assert measured(blocks(samples, cuts)) == measured(blocks(samples, []))


def test_a_part_of_a_second_gives_no_reading() -> None:
    assert len(measured(blocks(sine(440, 2.9), []))) == 2
    assert measured(blocks(sine(440, 0.999), [])) == []


def test_a_second_is_closed_by_its_last_sample() -> None:
    meter = Levels(LevelsConfig())
    pieces = blocks(sine(440, 1), [36000])
    assert meter.feed(pieces[0]) == []
    assert [reading.made_ns for reading in meter.feed(pieces[1])] == [SECOND_NS]


def test_lost_samples_lower_what_was_heard() -> None:
    samples = sine(440, 2)
    readings = measured(blocks(samples, [24000], missed_at={24000: 24000}))
    assert [reading.heard_s for reading in readings] == [0.5, 1.0]
    assert [reading.start_ns for reading in readings] == [0, SECOND_NS]


def test_a_gap_of_minutes_gives_no_readings_for_it() -> None:
    readings = measured(blocks(sine(440, 3), [RATE], missed_at={RATE: 120 * RATE}))
    assert [reading.start_ns // SECOND_NS for reading in readings] == [0, 121, 122]


def test_digital_silence_has_no_level() -> None:
    for value in (0.0, 0.25):
        samples = np.full(RATE, value, np.float32)
        (reading,) = measured(blocks(samples, []))
        assert reading.values == {"LAeq_dbfs": None, "LAFmax_dbfs": None}
        assert set(reading.reasons.values()) == {"silent_input"}


def test_intervals_are_seconds_of_utc_whenever_the_stream_begins() -> None:
    start_ns = 1_780_000_000 * SECOND_NS + 400_000_000
    readings = measured(blocks(sine(440, 2), [], start_ns=start_ns))
    assert readings[0].start_ns == 1_780_000_000 * SECOND_NS
    assert readings[0].heard_s == pytest.approx(0.6)
    assert readings[1].heard_s == pytest.approx(1.0)


@settings(max_examples=examples(25))
@given(
    late_s=st.lists(st.floats(0, 1), min_size=12, max_size=30),
    begins_ns=st.integers(0, SECOND_NS),
)
def test_blocks_that_arrive_late_repeat_no_second(late_s: list[float], begins_ns: int) -> None:
    clock = SimulatedClock(1_780_000_000 * SECOND_NS + begins_ns)
    line = Timeline(clock, RATE)
    meter = Levels(LevelsConfig())
    noise = np.random.default_rng(3).normal(0, 0.1, RATE // 4).astype(np.float32)
    readings = []
    for number, late in enumerate(late_s):
        arrived_ns = round((number / 4 + late) * 1e9)
        start_ns, synced = line.stamp(number * len(noise), len(noise), arrived_ns)
        block = blocks(noise, [], start_ns=start_ns)[0]
        readings += meter.feed(msgspec.structs.replace(block, synced=synced))
    starts = [reading.start_ns for reading in readings]
    assert all(earlier < later for earlier, later in pairwise(starts))
    assert all(reading.heard_s <= 1.001 for reading in readings)


def test_a_clock_that_was_set_back_measures_its_seconds_again() -> None:
    hour_ns = 3600 * SECOND_NS
    meter = Levels(LevelsConfig())
    readings = [meter.feed(blocks(sine(440, 2), [], start_ns=at)[0]) for at in (hour_ns, 0)]
    assert [len(two) for two in readings] == [2, 2]


def test_another_rate_is_a_programmers_mistake() -> None:
    block = blocks(sine(440, 1), [])[0]
    wrong = Block(**{f: getattr(block, f) for f in block.__struct_fields__ if f != "rate"}, rate=8)
    with pytest.raises(ValueError, match="8 Hz, the meter takes 48000, 44100, 32000"):
        Levels(LevelsConfig()).feed(wrong)
