"""Disks that are full, read-only or broken, for real: a small tmpfs, filled and remounted.

What is counted: everything that was sent either arrived or is told to be dropped.
"""

import errno
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.archive import Archive
from edge_agent.clock import SimulatedClock
from edge_agent.config import StoreConfig
from edge_agent.outbox import Outbox
from edge_agent.store import Store
from tests.ledger import Ledger
from tests.sample_records import SECOND_NS, reading
from tests.simulated import World

pytestmark = pytest.mark.real

PLENTY = 10_000_000
MINUTE_S = 61


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: mounting a tmpfs needs root ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave_bytes: int = 0) -> None:
    """Somebody else takes every byte that is left, or nearly."""
    with (disk / "foreign").open("ab", buffering=0) as file:
        if leave_bytes:
            file.write(b"\xa5" * max(0, shutil.disk_usage(disk).free - leave_bytes))
            return
        for size in (65536, 4096):
            try:
                while True:
                    file.write(b"\xa5" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 # the end of the loop


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


@contextmanager
def failing_writes() -> Iterator[None]:
    """Every write to a file fails, as on a broken card; what is open stays open."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def stored_in(folder: Path, target: Path) -> Ledger:
    """What a start would deliver after a cut of power at this moment."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("ballast"))
    outbox = Outbox(target, SimulatedClock(), max_bytes=PLENTY)
    found = Ledger()
    while not outbox.empty():
        for row in outbox.take(500, 500):
            found.made[row.message.id] = row.message
            found.arrived[row.message.id] += 1
            outbox.acknowledge(row.key)
    outbox.close()
    return found


def assert_all_is_accounted_for(ledger: Ledger, outbox: Outbox) -> None:
    assert max(ledger.arrived.values()) == 1
    for kind in ("alert", "event", "level"):
        assert ledger.arrived_of(kind) + outbox.dropped[kind] == ledger.sent[kind], kind


def test_a_full_disk_costs_old_levels_for_each_alert_and_nothing_else(
    disk: Path, tmp_path: Path
) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(disk / "state", clock, max_bytes=PLENTY)
    ledger.feed(outbox, clock, 600)
    assert (disk / "state" / "ballast").stat().st_blocks * 512 >= 2**20
    fill(disk)
    for _ in range(1000):
        if not outbox.disk_full:
            ledger.feed(outbox, clock, 1)
    # Less is left than the levels of this time would take.
    fill(disk, leave_bytes=2**19)
    ledger.feed(outbox, clock, 1500)
    assert outbox.disk_full
    assert outbox.writable
    # What matters is on the full disk all the same.
    assert stored_in(disk / "state", tmp_path / "cut").arrived_of("alert") == ledger.sent["alert"]
    (disk / "foreign").unlink()
    ledger.feed(outbox, clock, MINUTE_S)
    assert not outbox.disk_full
    assert (disk / "state" / "ballast").exists()
    # All levels are on the disk again: those of the last batch may still be in memory.
    now_stored = stored_in(disk / "state", tmp_path / "later")
    assert now_stored.arrived_of("level") >= ledger.sent["level"] - outbox.dropped["level"] - 10
    ledger.take_all(outbox)
    assert_all_is_accounted_for(ledger, outbox)
    assert (outbox.dropped["alert"], outbox.dropped["event"]) == (0, 0)
    assert 0 < outbox.dropped["level"] <= 3 * (ledger.sent["alert"] + ledger.sent["event"])
    outbox.close()


def test_a_foreign_file_that_takes_the_ballasts_room_too_loses_nothing(disk: Path) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(disk / "state", clock, max_bytes=PLENTY)
    ledger.feed(outbox, clock, 300)
    for _ in range(60):
        fill(disk)
        ledger.feed(outbox, clock, 10)
    assert outbox.disk_full
    (disk / "foreign").unlink()
    ledger.feed(outbox, clock, MINUTE_S)
    assert not outbox.disk_full
    ledger.take_all(outbox)
    assert_all_is_accounted_for(ledger, outbox)
    assert outbox.dropped["alert"] == outbox.dropped["event"] == 0
    outbox.close()


def test_on_a_full_disk_no_alert_goes_while_there_is_a_level(disk: Path) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(disk / "state", clock, max_bytes=100_000)
    ledger.feed(outbox, clock, 100)
    fill(disk)
    ledger.feed(outbox, clock, 2000)
    health = outbox.health()
    assert health.bytes <= 100_000
    kept = [row.message.kind for row in outbox.take(1000, 1000)]
    # The cap is below what all alerts and events need, so that every level goes first.
    assert health.dropped["event"] > 0
    assert "level" not in kept or health.dropped["alert"] == 0
    assert health.dropped["alert"] == 0
    assert kept.count("alert") == ledger.sent["alert"]


@pytest.mark.parametrize("earlier", [False, True], ids=["new folder", "with a backlog"])
def test_an_agent_starts_on_a_full_disk(disk: Path, earlier: bool) -> None:
    ledger = Ledger()
    if earlier:
        clock = SimulatedClock()
        first = Outbox(disk / "state", clock, max_bytes=PLENTY)
        ledger.feed(first, clock, 100)
        first.close()
        (disk / "state" / "ballast").unlink()
    fill(disk)
    clock = SimulatedClock()
    second = Outbox(disk / "state", clock, max_bytes=PLENTY)
    ledger.feed(second, clock, 100)
    assert second.disk_full or not second.writable
    (disk / "foreign").unlink()
    ledger.feed(second, clock, MINUTE_S)
    assert second.writable
    assert not second.disk_full
    ledger.take_all(second)
    assert_all_is_accounted_for(ledger, second)
    second.close()


@pytest.mark.parametrize("clean", [True, False], ids=["after a clean end", "after a kill"])
def test_an_agent_on_a_read_only_disk_goes_on_from_memory_until_it_is_mended(
    disk: Path, tmp_path: Path, clean: bool
) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    first = Outbox(disk / "before", clock, max_bytes=PLENTY)
    ledger.feed(first, clock, 100)
    first.flush()
    if clean:
        first.close()
    shutil.copytree(disk / "before", disk / "state")
    first.close()
    remount(disk, "ro")
    second = Outbox(disk / "state", clock, max_bytes=PLENTY)
    ledger.feed(second, clock, 200)
    assert not second.writable
    left_open = second.left_open()
    remount(disk, "rw")
    ledger.feed(second, clock, MINUTE_S)
    assert second.writable
    # Alert and event each twenty seconds, none ended: the first start left five of each.
    assert len(left_open + second.left_open()) == 10
    stored = stored_in(disk / "state", tmp_path / "cut")
    assert set(stored.arrived) >= set(list(ledger.made)[:-11])
    ledger.take_all(second)
    assert_all_is_accounted_for(ledger, second)
    assert sum(second.dropped.values()) == 0
    second.close()


def test_a_disk_that_fails_in_mid_run_is_tried_each_minute_and_gets_what_waited(
    disk: Path, tmp_path: Path
) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(disk / "state", clock, max_bytes=PLENTY)
    ledger.feed(outbox, clock, 100)
    with failing_writes():
        ledger.feed(outbox, clock, 100)
        assert not outbox.writable
        # The broker is there meanwhile: what waits in memory leaves, alerts first.
        rows = outbox.take(1000, 1000)
        backlog = [row.message.kind for row in rows if row.backlog]
        assert backlog == sorted(backlog)
        for row in rows:
            outbox.give_back(row.key)
        ledger.take(outbox, 20)
    ledger.feed(outbox, clock, MINUTE_S)
    assert outbox.writable
    stored = stored_in(disk / "state", tmp_path / "cut")
    assert set(stored.arrived) >= set(list(ledger.made)[:-11]) - set(ledger.arrived)
    ledger.take_all(outbox)
    assert_all_is_accounted_for(ledger, outbox)
    assert sum(outbox.dropped.values()) == 0
    outbox.close()


def test_what_is_held_in_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.outbox.MEMORY_BYTES", 100_000)
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(tmp_path / "state", clock, max_bytes=PLENTY)
    with failing_writes():
        ledger.feed(outbox, clock, 1000)
        health = outbox.health()
    assert health.bytes <= 100_000
    assert health.dropped["level"] > 0
    assert health.dropped["alert"] == health.dropped["event"] == 0
    ledger.take_all(outbox)
    assert_all_is_accounted_for(ledger, outbox)
    outbox.close()


def test_the_whole_agent_tells_of_the_full_disk_and_delivers_what_it_kept(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(disk / "state", 5, max_bytes=PLENTY, share=0.1)
    monkeypatch.setattr("edge_agent.mqtt.Connection", world.broker.connection)
    monkeypatch.setattr("edge_agent.machine._megabytes", lambda *_: None)
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        world.broker.up = not 20 < steps < 900
        if 100 < steps < 950:
            fill(disk)
        elif steps == 950:
            (disk / "foreign").unlink()
        return True

    world.live(1000, step)
    assert world.broker.faults["disk_full"] > 0
    assert world.dropped["alert"] == world.dropped["event"] == 0
    for kind in ("alert", "event", "level"):
        assert world.broker.kinds[kind] + world.dropped[kind] == world.told[kind], kind


def test_a_full_disk_costs_the_store_what_came_meanwhile_and_nothing_before(disk: Path) -> None:
    store = Store(disk, SimulatedClock(), StoreConfig())
    for second in range(1000):
        store.add(reading(second))
    store.flush()
    fill(disk)
    for second in range(1000, 21_000):
        store.add(reading(second))
    store.flush()
    assert (store.writable, store.dropped) == (False, 20_000)
    (disk / "foreign").unlink()
    store.add(reading(21_000))
    store.close()
    assert store.writable
    found = Archive(disk).seconds("mic", 0, 2**60)
    assert [one.start_ns // SECOND_NS for one in found] == [*range(1000), 21_000]
