"""Seconds merged into minutes, quarters and hours: exact, in any order, through any restart."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.acoustics import tallies
from edge_agent.acoustics.percentiles import histogram
from edge_agent.acoustics.periods import Periods
from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from edge_agent.records import Calibration, LevelReading, Tally
from tests.metered import RATE, SECOND_NS, blocks, measured

INDICATORS = LevelsConfig().slow_indicators
# A full hour of UTC.
HOUR = 1_780_002_000 // 3600 * 3600
CALIBRATION = Calibration(offset_db=120.0, date="2026-05-02", source="calibrator")
RNG = np.random.default_rng(11)
LEVELS = RNG.uniform(-70, -20, (2048, 10))


def tally(seed: int) -> Tally:
    """A second's tally from a table of random levels."""
    row = LEVELS[seed % len(LEVELS)]
    return tallies.of_second(
        {"LAeq": row[0], "LCeq": row[0] + 4, "LZeq": row[0] + 6, "LAFmax": row[1], "LAFmin": row[2]}
        | {"LASmax": row[3], "LCpeak": row[4]},
        1_000_000,
        histogram(row[2:]),
        row[:3].tolist(),
        overload=seed % 1000 == 0,
        under_range=False,
    )


TALLIES = [tally(seed) for seed in range(len(LEVELS))]


def second(
    at: int,
    calibration: Calibration | None = None,
    made: Tally | None = None,
    *,
    synced: bool = True,
) -> LevelReading:
    found = TALLIES[at % len(TALLIES)] if made is None else made
    return LevelReading(
        id="",
        microphone="mic",
        period_s=1,
        start_ns=at * SECOND_NS,
        made_ns=(at + 1) * SECOND_NS,
        values={},
        reasons={},
        heard_s=found.heard_us / 1e6,
        bandwidth_hz=24000.0,
        overload=found.overload_s > 0,
        under_range=False,
        calibration=calibration,
        synced=synced,
        tally=found,
    )


def fed(seconds: list[LevelReading], periods: Periods | None = None) -> list[LevelReading]:
    periods = periods or Periods(INDICATORS)
    return [slow for one in seconds for slow in periods.feed(one)]


def value(reading: LevelReading, name: str) -> float:
    found = reading.values[name]
    assert found is not None
    return found


def test_an_hour_gives_sixty_minutes_four_quarters_and_itself() -> None:
    told = fed([second(at) for at in range(HOUR, HOUR + 3600)])
    assert [sum(one.period_s == period for one in told) for period in (60, 900, 3600)] == [60, 4, 1]
    # Each is told with its last second, at one instant the shorter first.
    assert all(one.made_ns == one.start_ns + one.period_s * SECOND_NS for one in told)
    assert [one.period_s for one in told[-3:]] == [60, 900, 3600]
    assert all(one.heard_s == one.period_s for one in told)


def test_values_follow_from_energies_extremes_and_counts() -> None:
    (minute,) = fed([second(at) for at in range(HOUR, HOUR + 60)])
    rows = LEVELS[[at % len(LEVELS) for at in range(HOUR, HOUR + 60)]]
    mean = 10 * np.log10(np.mean(10 ** (rows[:, 0] / 10)))
    # A second's level is kept to 0.01 dB.
    assert value(minute, "LAeq_dbfs") == pytest.approx(mean, abs=0.005)
    assert value(minute, "LCeq_dbfs") == pytest.approx(mean + 4, abs=0.005)
    assert value(minute, "LAE_dbfs") == pytest.approx(mean + 10 * np.log10(60), abs=0.005)
    assert value(minute, "LAFmax_dbfs") == pytest.approx(rows[:, 1].max(), abs=0.005)
    assert value(minute, "LAFmin_dbfs") == pytest.approx(rows[:, 2].min(), abs=0.005)
    assert value(minute, "L50_dbfs") == pytest.approx(np.median(rows[:, 2:]), abs=0.3)
    assert minute.bands is not None
    assert minute.bands.hz == (20.0, 25.0, 31.5)
    assert minute.bands.levels[0] == pytest.approx(mean, abs=0.005)


def test_a_calibration_shifts_all_and_changes_the_names() -> None:
    (bare,) = fed([second(at) for at in range(HOUR, HOUR + 60)])
    (calibrated,) = fed([second(at, CALIBRATION) for at in range(HOUR, HOUR + 60)])
    for name in INDICATORS:
        assert value(calibrated, name) == pytest.approx(value(bare, f"{name}_dbfs") + 120.0)
    assert calibrated.tally == bare.tally


def test_a_period_whose_end_was_not_heard_is_told_with_the_first_second_after_it() -> None:
    heard = [*range(HOUR, HOUR + 40), *range(HOUR + 70, HOUR + 120)]
    first, second_one = fed([second(at) for at in heard])
    assert (first.start_ns, first.heard_s, first.made_ns) == (
        HOUR * SECOND_NS,
        40.0,
        (HOUR + 71) * SECOND_NS,
    )
    assert (second_one.start_ns, second_one.heard_s) == ((HOUR + 60) * SECOND_NS, 50.0)


def test_after_hours_of_nothing_all_that_was_open_is_told_at_once() -> None:
    told = fed([second(at) for at in (HOUR, HOUR + 10 * 3600)])
    assert [(one.period_s, one.heard_s) for one in told] == [(60, 1.0), (900, 1.0), (3600, 1.0)]


def test_a_clock_that_is_set_back_opens_the_hour_before_again() -> None:
    told = fed([second(at) for at in (HOUR + 3600, HOUR, HOUR + 3600)])
    hours = [one for one in told if one.period_s == 3600]
    assert [one.start_ns // SECOND_NS for one in hours] == [HOUR + 3600, HOUR]


def test_silent_seconds_lower_what_was_heard_and_not_the_level() -> None:
    silent = Tally(silent_us=1_000_000)
    seconds = [second(at, made=silent if at % 2 else TALLIES[7]) for at in range(HOUR, HOUR + 60)]
    (minute,) = fed(seconds)
    assert minute.heard_s == 30.0
    assert value(minute, "LAeq_dbfs") == pytest.approx(LEVELS[7, 0], abs=0.005)
    (dead,) = fed([second(at, made=silent) for at in range(HOUR, HOUR + 60)])
    assert set(dead.values.values()) == {None}
    assert set(dead.reasons.values()) == {"silent_input"}
    assert dead.heard_s == 0.0


def test_flags_and_doubt_about_the_clock_are_kept() -> None:
    seconds = [second(at, synced=at != HOUR + 5) for at in range(HOUR, HOUR + 60)]
    seconds[9] = second(HOUR + 9, made=TALLIES[0])
    (minute,) = fed(seconds)
    assert (minute.overload, minute.synced) == (True, False)


def test_seconds_of_two_calibrations_are_not_mixed() -> None:
    seconds = [
        second(at, CALIBRATION if at >= HOUR + 20 else None) for at in range(HOUR, HOUR + 60)
    ]
    (minute,) = fed(seconds)
    assert (minute.heard_s, minute.calibration) == (40.0, CALIBRATION)


def test_without_indicators_there_are_no_slower_readings() -> None:
    assert fed([second(at) for at in range(HOUR, HOUR + 120)], Periods(())) == []


@given(
    order=st.permutations(range(40)),
    cuts=st.lists(st.integers(1, 39), unique=True, max_size=5).map(sorted),
)
def test_merging_is_exact_in_any_order_and_grouping(order: list[int], cuts: list[int]) -> None:
    parts = [TALLIES[number] for number in order]
    edges = [0, *cuts, len(parts)]
    grouped = [tallies.merge(parts[begin:end]) for begin, end in pairwise(edges)]
    assert tallies.merge(grouped) == tallies.merge(TALLIES[:40])


@pytest.mark.slow
def test_a_week_merges_into_the_same_hours_whatever_restarts() -> None:
    stops = sorted(np.random.default_rng(13).integers(1, 7 * 86400, 20).tolist())
    week = [second(HOUR + at) for at in range(7 * 86400)]
    whole = [one for one in fed(week) if one.period_s == 3600]
    found: list[LevelReading] = []
    for begin, end in pairwise([0, *stops, len(week)]):
        periods = Periods(INDICATORS)
        # After a restart the store still has the seconds of the hour; what they tell is known.
        fed(week[begin // 3600 * 3600 : begin], periods)
        found += [one for one in fed(week[begin:end], periods) if one.period_s == 3600]
    assert len(whole) == 7 * 24
    assert [(one.start_ns, one.values) for one in found] == [
        (one.start_ns, one.values) for one in whole
    ]


def test_a_minute_of_sound_is_the_sum_of_its_seconds() -> None:
    loud = np.repeat(10 ** RNG.uniform(-3, -1, 63), RATE)
    samples = (loud * RNG.standard_normal(63 * RATE)).astype(np.float32)
    config = LevelsConfig(slow_indicators=("LAeq", "L10", "L90"))
    seconds = measured(blocks(samples, [], (HOUR - 2) * SECOND_NS), Levels(config))
    (minute,) = (
        one for one in fed(seconds, Periods(config.slow_indicators)) if one.heard_s == 60.0
    )
    in_minute = seconds[2:62]
    mean = 10 * np.log10(np.mean([10 ** (value(one, "LAeq_dbfs") / 10) for one in in_minute]))
    assert value(minute, "LAeq_dbfs") == pytest.approx(mean, abs=0.003)
    assert sum(minute.tally.fast.values()) == 480
    assert value(minute, "L90_dbfs") < value(minute, "L10_dbfs")


def test_a_tally_survives_json() -> None:
    merged = tallies.merge(TALLIES[:3600])
    assert msgspec.json.decode(msgspec.json.encode(merged), type=Tally) == merged
