"""A broker that is mute or away for long, a wall clock that jumps: what was sent and what came."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.outbox import Outbox
from tests.ledger import Ledger
from tests.simulated import JumpingClock, Killed, World

PLENTY = 50_000_000
YEAR_S = 365 * 86400.0


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made(tmp_path, monkeypatch, PLENTY)


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int) -> World:
    found = World(folder, seed=3, max_bytes=max_bytes)
    monkeypatch.setattr("edge_agent.mqtt.Connection", found.broker.connection)
    monkeypatch.setattr("edge_agent.machine._megabytes", lambda *_: None)
    return found


def assert_all_came(world: World) -> None:
    assert world.missing() == set()
    assert dict(world.broker.kinds) == dict(world.told)
    assert sum(world.dropped.values()) == 0
    # Each with its own time, and word for word.
    assert world.broker.said == world.names
    for by_n in world.broker.phases.values():
        assert [by_n[n] for n in sorted(by_n)] == ["start", "end"]


def away_until(world: World, seconds: float, *, mute: bool = False) -> Callable[[], bool]:
    """What happens at each step: the broker comes, or comes to its senses, after so long."""

    def step() -> bool:
        there = world.clock.monotonic_ns() > seconds * 1e9
        world.broker.up, world.broker.mute = there or mute, not there
        return True

    world.broker.up = world.broker.mute = mute
    return step


def test_what_a_mute_broker_was_given_comes_again_and_all_of_it(world: World) -> None:
    world.live(1000, away_until(world, 3 * 3600, mute=True))
    assert_all_came(world)
    # It was given the same again and again: a window at each attempt.
    assert sum(world.broker.arrived.values()) > len(world.broker.arrived) + 20
    assert world.broker.replayed > 0


@pytest.mark.slow
def test_nothing_is_lost_while_the_broker_is_away_for_three_days(world: World) -> None:
    world.live(4 * 2880, away_until(world, 3 * 86400))
    assert_all_came(world)
    assert world.broker.replayed >= 3 * 2880 - 1
    assert max(world.broker.arrived.values()) == 1


@pytest.mark.slow
def test_nothing_stored_is_lost_where_the_agent_is_killed_each_day_of_them(world: World) -> None:
    goes_on = away_until(world, 3 * 86400)

    def step() -> bool:
        if world.clock.monotonic_ns() >= (world.kills + 1) * 86400e9 and world.kills < 3:
            raise Killed
        return goes_on()

    for _ in range(4):
        world.live(2880 + 10, step)
    assert world.kills == 3
    # A kill costs the last batch: here a level each half minute, so one or two.
    assert len(world.missing()) <= 2 * world.kills
    assert world.broker.kinds["alert"] == world.told["alert"]
    assert world.broker.kinds["event"] == world.told["event"]
    assert world.broker.replayed >= 3 * 2880 - 10


@pytest.mark.slow
def test_the_cap_costs_the_oldest_levels_and_each_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = made(tmp_path, monkeypatch, 1_000_000)
    world.live(4 * 2880, away_until(world, 3 * 86400))
    assert world.dropped["level"] > 1000
    assert world.dropped["alert"] == world.dropped["event"] == 0
    for kind in ("alert", "event", "level"):
        assert world.broker.kinds[kind] + world.dropped[kind] == world.told[kind]


@pytest.mark.parametrize("jump_s", [30 * YEAR_S, -50 * YEAR_S, -3600.0])
def test_a_clock_that_jumps_while_rows_wait_changes_neither_order_nor_count(
    world: World, jump_s: float
) -> None:
    """docs/mqtt.md: file by `start`, count by `seq`; ages come from a clock that never steps."""
    goes_on, steps = away_until(world, 7200), 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        if steps in (60, 120):
            world.clock.jump(jump_s if steps == 60 else -jump_s)
        return goes_on()

    world.live(600, step)
    assert_all_came(world)
    assert world.broker.replayed >= 230
    # While they wait the older alert leaves first, whatever the wall clock said.
    told = [name for name in world.names if name in set(world.broker.order)]
    assert world.broker.order == told
    assert max(world.broker.arrived.values()) == 1


@pytest.mark.parametrize("jump_s", [30 * YEAR_S, -50 * YEAR_S])
def test_no_age_follows_the_wall_clock(tmp_path: Path, jump_s: float) -> None:
    clock, ledger = JumpingClock(), Ledger()
    outbox = Outbox(tmp_path / "state", clock, max_bytes=PLENTY)
    ledger.feed(outbox, clock, 5)
    clock.jump(jump_s)
    outbox.turn()
    assert outbox.health().oldest_s == 5.0
    rows = outbox.take(10, 10)
    assert [row.message for row in rows] == list(ledger.made.values()), "none is replayed yet"
    for row in rows:
        outbox.give_back(row.key)
    clock.wait(5)
    outbox.turn()
    # The batch is due now, and not in fifty years.
    shutil.copytree(tmp_path / "state", tmp_path / "cut")
    assert len(Outbox(tmp_path / "cut", clock, max_bytes=PLENTY)) == 5
    ledger.take_all(outbox)
    # Ten seconds old is the first alone.
    assert ledger.replayed == {next(iter(ledger.made))}
