"""What the sound says about the microphone: each fault by hand, hysteresis by property."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.input_faults import FRAME_S, RULES, InputFaults, Watch
from edge_agent.records import Block, Calibration, LevelReading, Samples
from edge_agent.resample import resample
from tests.sample_records import reading

RATE = 48_000
FRAME = round(RATE * FRAME_S)


def sound(seconds: float, rms: float = 0.01, seed: int = 1) -> Samples:
    noise = np.random.default_rng(seed).normal(0, rms, round(seconds * RATE))
    return np.clip(noise, -1, 1).astype(np.float32)


def tone(seconds: float, amplitude: float, hz: float = 440.0, rate: int = RATE) -> Samples:
    """A sine as a 16-bit converter gives it, cut at the ends of its scale."""
    time_s = np.arange(round(seconds * rate)) / rate
    cut = np.clip(amplitude * np.sin(2 * np.pi * hz * time_s), -1, 32767 / 32768)
    return cut.astype(np.float32)


def level(value: float) -> Samples:
    return np.full(FRAME, value, np.float32)


def block(samples: Samples, missed: int = 0) -> Block:
    return Block(
        microphone="mic",
        samples=samples,
        rate=RATE,
        bandwidth_hz=24_000.0,
        first=0,
        start_ns=0,
        synced=False,
        missed=missed,
    )


def changes(faults: InputFaults, samples: Samples) -> list[tuple[float, tuple[str, ...]]]:
    """When what stands changed, in seconds of `samples`, and to what."""
    found, last = [], faults.standing
    for at in range(0, len(samples), FRAME):
        faults.block(block(samples[at : at + FRAME]))
        if faults.standing != last:
            last = faults.standing
            found.append(((at + FRAME) / RATE, last))
    return found


# The ill sound, and after how many seconds of it the fault comes.
ILL: dict[str, tuple[Samples, float]] = {
    "dead": (np.zeros(FRAME, np.float32), 5.0),
    "stuck": (level(0.3), 5.0),
    "dc": (level(0.06) + sound(FRAME_S), 60.0),
    # The third clipped frame is the first beyond 1 % of a minute's 240.
    "clipped": (tone(FRAME_S, 1.3), 60.5),
}


@pytest.mark.parametrize("name", ILL)
def test_a_fault_comes_after_its_time_and_goes_after_ten_healthy_seconds(name: str) -> None:
    ill, raise_s = ILL[name]
    faults = InputFaults()
    assert changes(faults, sound(30)) == []
    assert changes(faults, np.tile(ill, 4 * 70)) == [(raise_s, (name,))]
    # A minute's share of clipped frames is down to two of 240 after 238 healthy ones.
    clear_s = 10.0 + (59.25 if name == "clipped" else 0.0)
    assert changes(faults, sound(120)) == [(clear_s, ())]


@pytest.mark.parametrize(
    "healthy",
    [
        # Just below each limit: the offset, its relation to the sound, the run at the extremes.
        level(0.049) + sound(FRAME_S, 0.001),
        level(0.06) + sound(FRAME_S, 0.021),
        np.where(np.arange(FRAME) % 50 < 2, 1.0, 0.1).astype(np.float32),
        # One step of 16 bits, now and then, is sound.
        np.where(np.arange(FRAME) % 5000 == 0, 2.0**-15, 0.0).astype(np.float32),
        tone(FRAME_S, 0.99),
    ],
    ids=["offset", "offset-in-sound", "two-in-a-row", "one-step", "loud"],
)
def test_what_is_just_within_the_limits_is_healthy(healthy: Samples) -> None:
    assert changes(InputFaults(), np.tile(healthy, 4 * 130)) == []


@pytest.mark.parametrize(
    "ill",
    [
        level(-0.06) + sound(FRAME_S, 0.018),
        np.where(np.arange(FRAME) % 6000 < 3, -1.0, 0.01).astype(np.float32),
    ],
    ids=["dc", "three-in-a-row"],
)
def test_what_is_just_beyond_the_limits_is_ill(ill: Samples) -> None:
    assert len(changes(InputFaults(), np.tile(ill, 4 * 61))) == 1


def test_one_cause_has_one_name() -> None:
    # All samples at the end of the scale: neither an offset nor an overload of the sound.
    assert changes(InputFaults(), np.tile(level(-1.0), 4 * 70)) == [(5.0, ("stuck",))]


def test_a_bang_that_is_clipped_is_no_fault_and_a_lorry_each_minute_is_one() -> None:
    bang = np.concatenate([tone(3, 2.0), sound(117)])
    assert changes(InputFaults(), np.tile(bang, 3)) == []
    lorries = np.concatenate([tone(3, 2.0), sound(42)])
    # It comes with the third, and stays without a break.
    assert changes(InputFaults(), np.tile(lorries, 8)) == [(90.25, ("clipped",))]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_a_converted_rate_hides_neither_a_stuck_input_nor_a_clipped_one(rate: int) -> None:
    stuck = resample(np.full(rate * 10, -0.7, np.float32), rate, RATE)
    assert [what for _, what in changes(InputFaults(), stuck)] == [("stuck",)]
    clipped = resample(tone(65, 1.3, 300.0, rate), rate, RATE)
    assert [what for _, what in changes(InputFaults(), clipped)] == [("clipped",)]


def test_a_gap_neither_raises_nor_clears() -> None:
    faults = InputFaults()
    stood = []
    for samples, missed_s in (
        (np.zeros(3 * RATE + FRAME // 2, np.float32), 0),
        # What was half a frame is forgotten: what comes behind the gap begins one of its own.
        (np.zeros(2 * RATE - FRAME // 2, np.float32), 3600),
        (np.zeros(FRAME, np.float32), 0),
        (sound(9.5), 3600),
        (sound(0.5, seed=2), 0),
    ):
        faults.block(block(samples, missed_s * RATE))
        stood.append(faults.standing)
    assert stood == [(), (), ("dead",), ("dead",), ()]


KINDS = [*(ill for ill, _ in ILL.values()), sound(FRAME_S), sound(FRAME_S, 0.3)]
AFTERWARDS = sound(12)
SCRIPT = st.lists(
    st.tuples(st.integers(0, len(KINDS) - 1), st.integers(1, 25)), min_size=1, max_size=4
)
# A block of one sample among larger ones: all of one sample would take minutes.
SIZES = st.lists(st.integers(FRAME // 20, 3 * FRAME), min_size=1, max_size=4).map(lambda a: [1, *a])


@given(SCRIPT, SIZES)
def test_however_the_blocks_are_cut_the_faults_are_the_same(
    script: list[tuple[int, int]], sizes: list[int]
) -> None:
    samples = np.concatenate([np.tile(KINDS[kind], count) for kind, count in script])
    whole = InputFaults()
    whole.block(block(samples))
    parts, at, turn = InputFaults(), 0, 0
    while at < len(samples):
        size = sizes[turn % len(sizes)]
        parts.block(block(samples[at : at + size]))
        at, turn = at + size, turn + 1
    assert parts.standing == whole.standing
    # And so is what they do afterwards.
    assert changes(parts, AFTERWARDS) == changes(whole, AFTERWARDS)


@given(
    st.sampled_from(sorted(RULES)),
    st.lists(st.tuples(st.booleans(), st.integers(1, 700)), max_size=30),
)
def test_no_fault_flaps(name: str, script: list[tuple[bool, int]]) -> None:
    rule = RULES[name]
    watch = Watch(rule)
    stood = []
    for ill, count in script:
        for _ in range(count):
            watch.feed(ill)
            stood.append(watch.standing)
    runs = [(standing, len(list(run))) for standing, run in groupby(stood)]
    for standing, length in runs[:-1]:
        assert length >= (rule.clear_after if standing else rule.raise_after - 1)


@given(st.lists(st.integers(0, 1200), min_size=1, max_size=40))
def test_a_fault_stands_by_the_last_ten_minutes_of_levels(pieces: list[int]) -> None:
    """Against the definition, read naively: 600 seconds below raise it, 10 above clear it."""
    faults = InputFaults(noise_floor_dbfs=-80.0)
    history: list[bool] = []
    standing = False
    for turn, count in enumerate(pieces):
        quiet = turn % 2 == 0
        for _ in range(count if quiet else count // 60):
            faults.reading(reading(laeq_dbfs=-80.1 if quiet else -80.0))
            history.append(quiet)
            if not standing:
                standing = len(history) >= 600 and all(history[-600:])
            else:
                standing = any(history[-10:])
            assert faults.standing == (("too_quiet",) if standing else ())


def quiet_for(minutes: int, floor: float | None, one: LevelReading) -> tuple[str, ...]:
    faults = InputFaults(noise_floor_dbfs=floor)
    for _ in range(minutes * 60):
        faults.reading(one)
    return faults.standing


def test_too_quiet_needs_a_floor_and_a_level() -> None:
    assert quiet_for(20, None, reading(laeq_dbfs=-120.0)) == ()
    assert quiet_for(20, -80.0, reading(laeq_dbfs=None)) == ()
    assert quiet_for(9, -80.0, reading(laeq_dbfs=-90.0)) == ()
    assert quiet_for(10, -80.0, reading(laeq_dbfs=-90.0)) == ("too_quiet",)


@pytest.mark.parametrize(("laeq_db", "expected"), [(39.9, ("too_quiet",)), (40.1, ())])
def test_the_floor_is_the_converters_whatever_the_calibration(
    laeq_db: float, expected: tuple[str, ...]
) -> None:
    calibration = Calibration(offset_db=120.0, date="2026-05-02", source="calibrator")
    one = LevelReading(
        id="",
        microphone="mic",
        period_s=1,
        start_ns=0,
        made_ns=1_000_000_000,
        values={"LAeq": laeq_db},
        reasons={},
        heard_s=1.0,
        bandwidth_hz=24_000.0,
        overload=False,
        under_range=False,
        calibration=calibration,
        synced=False,
    )
    assert quiet_for(10, -80.0, one) == expected
