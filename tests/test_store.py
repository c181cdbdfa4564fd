"""The device's own record: what is kept, what goes first, and what a kill may cost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.acoustics import tallies
from edge_agent.acoustics.percentiles import histogram
from edge_agent.acoustics.periods import Periods
from edge_agent.acoustics.tallies import level
from edge_agent.archive import Archive
from edge_agent.clock import SimulatedClock
from edge_agent.commands.service import measured_before
from edge_agent.config import LevelsConfig, StoreConfig
from edge_agent.errors import StoreError
from edge_agent.levels import Levels
from edge_agent.records import Calibration, LevelReading, Tally
from edge_agent.store import COMMIT_S, Store
from edge_agent.store_rows import reading_row, to_reading
from tests.metered import RATE, blocks, measured
from tests.sample_records import SECOND_NS, event, reading, tallied

ALL = (-(2**60), 2**60)
INDICATORS = LevelsConfig().slow_indicators
CALIBRATED = Calibration(offset_db=119.74, date="2026-09-01", source="calibrator")
counts = st.dictionaries(st.integers(-2000, 300), st.integers(1, 28_800), max_size=40)
amounts = st.integers(0, 2**200)
names = st.sampled_from(["LAFmax", "LASmax", "LCpeak"])


@given(
    tally=st.builds(
        Tally,
        heard_us=st.integers(0, 2**40),
        silent_us=st.integers(0, 2**40),
        energies=st.dictionaries(st.sampled_from("ACZ"), amounts),
        highest=st.dictionaries(names, st.integers(-20_000, 20_000)),
        lowest=st.dictionaries(st.just("LAFmin"), st.integers(-20_000, 20_000)),
        fast=counts,
        bands=st.lists(amounts, max_size=31).map(tuple),
        bands_us=st.integers(0, 2**40),
        overload_s=st.integers(0, 3600),
        under_range_s=st.integers(0, 3600),
    ),
    second=st.integers(-(2**31), 2**33),
    heard_ms=st.integers(0, 60_000),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    calibration=st.sampled_from([None, CALIBRATED]),
    reasons=st.dictionaries(st.just("LAeq"), st.just("silent_input")),
)
def test_a_reading_comes_back_as_it_was(
    tally: Tally,
    second: int,
    heard_ms: int,
    flags: tuple[bool, bool, bool],
    calibration: Calibration | None,
    reasons: dict[str, str],
) -> None:
    overload, under_range, synced = flags
    suffix = "" if calibration else "_dbfs"
    before = msgspec.structs.replace(
        reading(second),
        id="",
        values={f"{name}{suffix}": None for name in ("LAeq", "LCpeak")},
        heard_s=heard_ms / 1000,
        overload=overload,
        under_range=under_range,
        synced=synced,
        calibration=calibration,
        reasons=reasons,
        tally=tally,
    )
    row = reading_row(before)
    start_s, heard, kept, blob, why = row.values
    after = to_reading((row.series, start_s, heard, kept, blob, why))  # type: ignore[arg-type]
    offset_db = calibration.offset_db if calibration else 0.0
    for name, level_db in after.values.items():
        level_dbfs = level(tally, name.removesuffix("_dbfs"))
        assert level_db == (None if level_dbfs is None else level_dbfs + offset_db)
    assert msgspec.structs.replace(after, values={}, bands=None) == msgspec.structs.replace(
        before, values={}
    )


def test_a_second_of_the_meter_comes_back_to_a_hundredth(tmp_path: Path) -> None:
    sound = np.random.default_rng(2).normal(0, 0.05, 3 * RATE).astype(np.float32)
    told = measured(
        blocks(sound, []), Levels(LevelsConfig(indicators=("LAeq", "LAFmax", "LCpeak")))
    )
    store = Store(tmp_path, SimulatedClock(), StoreConfig())
    for one in told:
        store.add(one)
    store.close()
    found = seconds_of(tmp_path)
    assert [one.tally for one in found] == [one.tally for one in told]
    for before, after in zip(told, found, strict=True):
        for name, level_dbfs in before.values.items():
            assert after.values[name] == pytest.approx(level_dbfs, abs=0.0051)


def test_what_was_measured_and_heard_is_found_by_time_and_microphone(tmp_path: Path) -> None:
    store = Store(tmp_path, SimulatedClock(), StoreConfig())
    for second in range(10):
        store.add(reading(second))
        store.add(msgspec.structs.replace(reading(second), microphone="yard"))
    store.add(msgspec.structs.replace(reading(60), period_s=60))
    store.add(msgspec.structs.replace(reading(0), period_s=900))
    store.add(event())
    store.add(msgspec.structs.replace(event(), n=1, phase="end", end_reason="quiet"))
    store.close()
    archive = Archive(tmp_path)
    assert archive.microphones() == ["mic", "yard"]
    found = archive.seconds("mic", 3 * SECOND_NS, 6 * SECOND_NS)
    assert [one.start_ns // SECOND_NS for one in found] == [3, 4, 5]
    assert [one.start_ns // SECOND_NS for one in archive.minutes("mic", *ALL)] == [60]
    assert [(one.n, one.phase) for one in archive.events("mic", *ALL)] == [(1, "end")]
    assert archive.events("yard", *ALL) == []
    assert archive.damaged == 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_second_that_was_measured_twice_is_the_one_that_knew_its_time_and_heard_more(
    tmp_path: Path, order: int
) -> None:
    short = msgspec.structs.replace(tallied(reading(5, laeq_dbfs=-10.0)), heard_s=0.3)
    long = msgspec.structs.replace(tallied(reading(5, laeq_dbfs=-20.0)), heard_s=0.7)
    known = msgspec.structs.replace(tallied(reading(5, laeq_dbfs=-30.0)), heard_s=0.5, synced=True)
    for expected, parts in ((-20.0, [short, long]), (-30.0, [short, long, known])):
        folder = tmp_path / f"{expected}"
        store = Store(folder, SimulatedClock(), StoreConfig())
        for part in parts[::order]:
            store.add(part)
        store.close()
        assert [one.values["LAeq_dbfs"] for one in seconds_of(folder)] == [expected]


def test_what_is_oldest_goes_whatever_the_clock_says(tmp_path: Path) -> None:
    store = Store(tmp_path, SimulatedClock(), StoreConfig(seconds_days=1, minutes_days=1))
    # Written first, by a clock that was ten years ahead.
    ahead = range(10**9, 10**9 + 1000)
    for second in (*ahead, *range(86_400)):
        store.add(reading(second))
    store.close()
    kept = [one.start_ns // SECOND_NS for one in seconds_of(tmp_path)]
    assert kept == list(range(86_400))


def test_at_its_cap_seconds_make_way_for_minutes(tmp_path: Path) -> None:
    clock = SimulatedClock()
    store = Store(tmp_path, clock, StoreConfig(max_mb=1))
    for minute in range(1500):
        for second in range(60 * minute, 60 * minute + 60):
            store.add(reading(second))
        store.add(msgspec.structs.replace(reading(60 * minute), period_s=60))
        clock.wait(COMMIT_S)
        store.turn()
    store.close()
    assert (tmp_path / "store.db").stat().st_size < 1.3e6
    assert len(list(Archive(tmp_path).minutes("mic", *ALL))) == 1500
    kept = [one.start_ns // SECOND_NS for one in seconds_of(tmp_path)]
    assert 5000 < len(kept) < 30_000
    assert kept == list(range(90_000 - len(kept), 90_000))


WRITER = """
import sys
from pathlib import Path
from edge_agent.clock import SimulatedClock
from edge_agent.config import StoreConfig
from edge_agent.store import COMMIT_S, Store
from tests.sample_records import reading
clock = SimulatedClock()
store = Store(Path(sys.argv[1]), clock, StoreConfig())
second = int(sys.argv[2])
while True:
    store.add(reading(second))
    second += 1
    clock.wait(1)
    store.turn()
    print(second, flush=True)
"""


@pytest.mark.arm
def test_a_kill_costs_what_was_not_yet_committed(tmp_path: Path) -> None:
    rng = random.Random(3)
    first = 0
    lost = set()
    for _ in range(2 if "EARSHOT_EMULATED" in os.environ else 8):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline() for _ in range(rng.randrange(100, 400))]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        added = int(told[-1])
        kept = {one.start_ns // SECOND_NS for one in seconds_of(tmp_path)}
        gone = set(range(first, added)) - kept
        assert gone == set(range(added - len(gone), added))
        assert len(gone) <= COMMIT_S
        lost |= gone
        first = added + 1
    assert lost


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_hours_are_the_same_whatever_the_restarts(data: st.DataObject) -> None:
    hours = 2
    base = 1_780_002_000 // 3600 * 3600
    stops = data.draw(st.sets(st.integers(1, 3600 * hours - 1), max_size=6))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock = SimulatedClock()
        told: list[LevelReading] = []
        for first, end in pairwise([0, *sorted(stops), 3600 * hours]):
            # What `serve` puts together, as far as readings go.
            periods = Periods(INDICATORS, partial(measured_before, folder, "mic"))
            store = Store(folder, clock, StoreConfig())
            for n in range(first, end):
                one = made_second(base + n)
                store.add(one)
                told += periods.feed(one)
                clock.wait(1)
                store.turn()
            store.close()
    whole = Periods(INDICATORS)
    expected = [one for n in range(3600 * hours) for one in whole.feed(made_second(base + n))]
    # A minute in which nothing was over when it stopped is told by the start that ends it.
    assert [one for one in told if one.period_s == 3600] == expected_of(expected, 3600)
    assert [one for one in told if one.period_s == 60] == expected_of(expected, 60)


def expected_of(readings: list[LevelReading], period_s: int) -> list[LevelReading]:
    return [one for one in readings if one.period_s == period_s]


@pytest.mark.parametrize("kind", ["cut", "overwritten", "replaced"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store.db"
    fill_store(tmp_path, range(3000))
    rng = random.Random(5)
    with path.open("r+b") as file:
        if kind == "cut":
            file.truncate(path.stat().st_size // 2)
        elif kind == "overwritten":
            file.seek(4096)
            file.write(rng.randbytes(path.stat().st_size - 4096))
        else:
            file.write(b"this was a store")
    store = Store(tmp_path, SimulatedClock(), StoreConfig())
    for second in range(3000, 3100):
        store.add(reading(second))
    store.close()
    assert (store.damaged, store.dropped, store.writable) == (1, 0, True)
    assert (tmp_path / "set-aside" / "000001" / "store.db").is_file()
    assert [one.start_ns // SECOND_NS for one in seconds_of(tmp_path)] == list(range(3000, 3100))


def test_rows_that_cannot_be_read_are_counted_and_the_rest_is_given(tmp_path: Path) -> None:
    fill_store(tmp_path, range(10))
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("UPDATE seconds SET tally = x'01' WHERE start_s = 4")
    archive = Archive(tmp_path)
    found = [one.start_ns // SECOND_NS for one in archive.seconds("mic", *ALL)]
    assert found == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert archive.damaged == 1


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path, SimulatedClock(), StoreConfig())
    store.add(reading(0))
    store.flush()
    found = Archive(tmp_path).seconds("mic", *ALL)
    assert len(list(found)) == 1
    store.add(reading(1))
    store.flush()
    assert len(seconds_of(tmp_path)) == 2
    assert store.writable
    store.close()


def test_a_folder_without_a_store_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store\.db: is not there"):
        Archive(tmp_path)
    (tmp_path / "store.db").write_text("no database, but a text that is longer than a header" * 9)
    with pytest.raises(StoreError, match="file is not a database"):
        Archive(tmp_path)


def made_second(at: int) -> LevelReading:
    rng = np.random.default_rng(at)
    levels_db = rng.uniform(-70, -20, 12)
    tally = tallies.of_second(
        {"LAeq": levels_db[0], "LCeq": levels_db[1], "LAFmax": levels_db[2]},
        1_000_000,
        histogram(levels_db[4:]),
        (),
        overload=False,
        under_range=False,
    )
    return msgspec.structs.replace(reading(at), id="", values={"LAeq_dbfs": None}, tally=tally)


def fill_store(folder: Path, of: range) -> None:
    store = Store(folder, SimulatedClock(), StoreConfig())
    for second in of:
        store.add(reading(second))
    store.close()


def seconds_of(folder: Path) -> list[LevelReading]:
    return list(Archive(folder).seconds("mic", *ALL))
