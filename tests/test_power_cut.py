"""A database cut or overwritten anywhere: the agent starts, goes on, and invents nothing."""

import logging
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.clock import SimulatedClock
from edge_agent.outbox import Outbox
from tests.ledger import Ledger

PLENTY = 10_000_000
CUTS = 32

Damage = Callable[[Path, random.Random], None]


def cut_log(folder: Path, rng: random.Random) -> None:
    cut(folder / "outbox.db-wal", rng)


def cut_database(folder: Path, rng: random.Random) -> None:
    cut(folder / "outbox.db", rng)


def cut_both(folder: Path, rng: random.Random) -> None:
    cut_log(folder, rng)
    cut_database(folder, rng)


def overwrite(folder: Path, rng: random.Random) -> None:
    """Eight pieces of 16 bytes anywhere in database and log."""
    for _ in range(8):
        path = folder / rng.choice(["outbox.db", "outbox.db-wal"])
        with path.open("r+b") as file:
            file.seek(rng.randrange(max(1, path.stat().st_size)))
            file.write(rng.randbytes(16))


def spoil(folder: Path, rng: random.Random) -> None:
    """Three pages anywhere in the database, behind the back of whoever has it open."""
    # Another's write makes it forget the pages that it has in memory.
    other = sqlite3.connect(folder / "outbox.db", isolation_level=None)
    other.execute("INSERT INTO set_aside (topic, payload) VALUES ('', '')")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with (folder / "outbox.db").open("r+b") as file:
        for _ in range(3):
            file.seek(rng.randrange((folder / "outbox.db").stat().st_size // 4096) * 4096)
            file.write(rng.randbytes(4096))


def cut(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size + 1))


def left_by_a_cut(folder: Path, target: Path, ledger: Ledger, rng: random.Random) -> None:
    """An outbox at work, partly delivered, its files copied between two of its steps."""
    clock = SimulatedClock()
    outbox = Outbox(folder, clock, max_bytes=PLENTY)
    for _ in range(rng.randint(1, 4)):
        ledger.feed(outbox, clock, rng.randint(5, 60))
        ledger.take(outbox, rng.randint(0, 15))
        if rng.random() < 0.3:
            clock.wait(3600)
            outbox.turn()
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("ballast"))
    outbox.close()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut_log, cut_database, cut_both, overwrite])
def test_an_agent_starts_and_delivers_whatever_was_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    set_aside = recovered = 0
    for seed in range(CUTS):
        rng, ledger = random.Random(seed), Ledger(seed)
        left_by_a_cut(tmp_path / f"{seed}", tmp_path / f"{seed}-cut", ledger, rng)
        damage(tmp_path / f"{seed}-cut", rng)
        known, delivered = set(ledger.made), set(ledger.arrived)
        caplog.clear()
        clock = SimulatedClock()
        outbox = Outbox(tmp_path / f"{seed}-cut", clock, max_bytes=PLENTY)
        told = [re.search(r"(\d+) rows recovered", message) for message in caplog.messages]
        assert len([one for one in told if one]) == outbox.damaged <= 1
        set_aside += outbox.damaged
        recovered += sum(int(one[1]) for one in told if one)
        outbox.left_open()
        ledger.feed(outbox, clock, 30)
        ledger.take_all(outbox)
        # Whatever is delivered is what was made, byte by byte: the ledger compares. What was told
        # since the start is there whole.
        assert set(ledger.made) - known <= set(ledger.arrived)
        assert outbox.writable
        if damage is cut_log and not outbox.damaged and delivered:
            assert max(ledger.arrived.values()) <= 2
        outbox.close()
    # The cuts did reach what they were meant to.
    if damage in (cut_database, cut_both):
        assert set_aside > CUTS / 2
    if damage is overwrite:
        assert 0 < set_aside < CUTS
        assert recovered > 0


@pytest.mark.slow
def test_damage_that_shows_late_costs_what_stood_on_its_pages_and_nothing_new(
    tmp_path: Path,
) -> None:
    found = waited = lost = 0
    for seed in range(CUTS):
        rng, ledger, clock = random.Random(seed), Ledger(seed), SimulatedClock()
        outbox = Outbox(tmp_path / f"{seed}", clock, max_bytes=PLENTY)
        ledger.feed(outbox, clock, 400)
        spoil(tmp_path / f"{seed}", rng)
        for _ in range(40):
            if not outbox.damaged:
                ledger.feed(outbox, clock, 1)
        # Those of the last ten seconds are in memory still.
        before, known = len(ledger.made), set(list(ledger.made)[:-10])
        ledger.feed(outbox, clock, 40)
        ledger.take_all(outbox)
        assert set(ledger.made) - known <= set(ledger.arrived)
        assert outbox.writable
        if outbox.damaged:
            found, waited = found + 1, waited + before
            lost += len(known - set(ledger.arrived))
        outbox.close()
    assert found > CUTS / 2
    # Three of some eighty pages are gone, or one that leads to others.
    assert lost < waited / 2


def test_a_damaged_database_says_what_was_open(tmp_path: Path) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(tmp_path, clock, max_bytes=PLENTY)
    ledger.feed(outbox, clock, 400)
    outbox.close()
    path = tmp_path / "outbox.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(random.Random(1).randbytes(4096))
    again = Outbox(tmp_path, clock, max_bytes=PLENTY)
    assert again.damaged == 1
    assert len(again.left_open()) == ledger.sent["alert"] + ledger.sent["event"]
    again.close()


def test_the_log_is_cut_to_nothing_each_hour(tmp_path: Path) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    outbox = Outbox(tmp_path, clock, max_bytes=PLENTY)
    ledger.feed(outbox, clock, 3590)
    assert (tmp_path / "outbox.db-wal").stat().st_size > 0
    # Nothing is written on the way: the levels of the last seconds wait for their batch.
    clock.wait(10)
    outbox.flush()
    outbox.turn()
    assert (tmp_path / "outbox.db-wal").stat().st_size == 0
    outbox.close()


def test_a_row_on_its_way_outlasts_damage(tmp_path: Path) -> None:
    clock, ledger = SimulatedClock(), Ledger()
    first = Outbox(tmp_path, clock, max_bytes=PLENTY)
    ledger.feed(first, clock, 40)
    first.close()
    outbox = Outbox(tmp_path, clock, max_bytes=PLENTY)
    rows = outbox.take(10, 10)
    spoil(tmp_path, random.Random(1))
    ledger.feed(outbox, clock, 40)
    assert outbox.damaged == 1
    for row in rows:
        outbox.give_back(row.key)
    ledger.take_all(outbox)
    assert {row.message.id for row in rows} <= set(ledger.arrived)
    outbox.close()


def test_what_is_set_aside_is_told_once_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "outbox.db").write_bytes(b"no database at all, but long enough" * 100)
    Outbox(tmp_path, SimulatedClock(), max_bytes=PLENTY).close()
    (line,) = caplog.messages
    assert re.search(r"outbox.db: .*; moved to .*set-aside/000001, 0 rows recovered$", line)
