"""A row stays until it is acknowledged, whatever happens to the process, the disk or the cap."""

import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from edge_agent.clock import SimulatedClock
from edge_agent.errors import StoreError
from edge_agent.outbox import FRESH_S, Outbox
from edge_agent.outbox_memory import QUEUED
from edge_agent.records import Message
from tests.sample_records import alert, encoder, ended, event, level_messages, stamp

PLENTY = 1_000_000


def opened(folder: Path | None, clock: SimulatedClock | None = None, cap: int = PLENTY) -> Outbox:
    return Outbox(folder, clock or SimulatedClock(), max_bytes=cap)


def crashed(folder: Path, target: Path) -> Path:
    """What a cut of power would leave: the files as they are, nobody having closed them."""
    shutil.copytree(folder, target)
    return target


def ids_of(outbox: Outbox, limit: int = 1000) -> list[str]:
    return [row.message.id for row in outbox.take(limit, limit)]


def an_alert() -> list[Message]:
    return encoder().encode(alert(), stamp(3.44))


def test_a_row_stays_until_it_is_acknowledged(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(level_messages(1))
    (row,) = outbox.take(10, 10)
    assert outbox.take(10, 10) == []
    outbox.give_back(row.key)
    (again,) = outbox.take(10, 10)
    outbox.acknowledge(again.key)
    assert (len(outbox), outbox.empty()) == (0, True)


def test_health_counts_what_waits_by_class_wherever_it_lies(tmp_path: Path) -> None:
    clock = SimulatedClock()
    outbox = opened(tmp_path, clock)
    outbox.add(an_alert())
    queued = Counter(message.kind for message in an_alert() if message.kind in QUEUED)
    for message in level_messages(5):
        outbox.add([message])
    waits = {"alert": 0, "event": 0, "level": 5} | queued
    assert outbox.health().waiting == waits
    clock.wait(2 * FRESH_S)
    outbox.turn()
    outbox.turn()
    rows = outbox.take(100, 100)
    assert outbox.health().waiting == waits
    for row in rows:
        if row.message.kind == "alert":
            outbox.acknowledge(row.key)
            waits["alert"] -= 1
        else:
            outbox.give_back(row.key)
    outbox.add(level_messages(1))
    waits["level"] += 1
    assert outbox.health().waiting == waits
    outbox.flush()
    again = opened(crashed(tmp_path, tmp_path.parent / f"{tmp_path.name}-crashed")).health()
    assert (again.waiting, again.rows) == (waits, sum(waits.values()))


def test_a_level_acknowledged_before_its_batch_never_touches_the_disk(tmp_path: Path) -> None:
    clock = SimulatedClock()
    outbox = opened(tmp_path, clock)
    before = (tmp_path / "outbox.db-wal").stat().st_size
    for message in level_messages(60):
        outbox.add([message])
        for row in outbox.take(10, 10):
            outbox.acknowledge(row.key)
        clock.wait(1)
        outbox.turn()
    assert (tmp_path / "outbox.db-wal").stat().st_size == before


def test_an_alert_is_on_the_disk_at_once_and_a_level_within_its_batch(tmp_path: Path) -> None:
    clock = SimulatedClock()
    outbox = opened(tmp_path / "a", clock)
    outbox.add(level_messages(1))
    assert ids_of(opened(crashed(tmp_path / "a", tmp_path / "b"))) == []
    clock.wait(10)
    outbox.turn()
    assert len(ids_of(opened(crashed(tmp_path / "a", tmp_path / "c")))) == 1
    outbox.add(an_alert(), alert())
    assert ids_of(opened(crashed(tmp_path / "a", tmp_path / "d")))[0] == f"{alert().id}/0"


def test_fresh_rows_leave_in_the_order_they_were_made(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    levels = level_messages(2)
    made = [levels[0], *an_alert(), levels[1]]
    for message in made:
        outbox.add([message])
    assert ids_of(outbox) == [message.id for message in made]


def test_backlog_leaves_alerts_first_then_events_then_levels(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    levels, (an_event,) = level_messages(2), encoder().encode(event(), stamp())
    outbox.add(levels)
    outbox.add([an_event], event())
    outbox.add(an_alert(), alert())
    outbox.close()
    again = opened(tmp_path)
    assert ids_of(again) == [an_alert()[0].id, an_event.id, *(one.id for one in levels)]


def test_live_rows_do_not_wait_behind_the_backlog(tmp_path: Path) -> None:
    first = opened(tmp_path)
    old, new = level_messages(2)
    first.add([old])
    first.close()
    second = opened(tmp_path)
    second.add([new])
    assert ids_of(second) == [new.id, old.id]
    assert opened(None).take(5, 5) == []


def test_the_drain_is_limited_and_live_rows_are_not(tmp_path: Path) -> None:
    first = opened(tmp_path)
    levels = level_messages(6)
    first.add(levels[:3])
    first.close()
    second = opened(tmp_path)
    second.add(levels[3:])
    rows = second.take(10, 1)
    assert [row.message.id for row in rows] == [one.id for one in [*levels[3:], levels[0]]]
    assert [row.backlog for row in rows] == [False, False, False, True]


@pytest.mark.parametrize(("waited_s", "told"), [(FRESH_S - 0.1, False), (FRESH_S, True)])
def test_a_message_that_waited_ten_seconds_says_so(
    tmp_path: Path, waited_s: float, told: bool
) -> None:
    clock = SimulatedClock()
    outbox = opened(tmp_path, clock)
    (message,) = level_messages(1)
    outbox.add([message])
    clock.wait(waited_s)
    outbox.turn()
    (row,) = outbox.take(1, 1)
    assert msgspec.json.decode(row.message.payload)["replayed"] is told
    original = msgspec.json.decode(message.payload)
    assert msgspec.json.decode(row.message.payload) == original | {"replayed": told}


def test_a_message_of_an_earlier_start_is_replayed(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(level_messages(1))
    outbox.close()
    (row,) = opened(tmp_path).take(1, 1)
    assert row.message.payload.endswith(b',"replayed":true}')


def test_a_state_replaces_its_predecessor_and_is_not_counted(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    sends = encoder()
    on, off = sends.encode(alert(), stamp())[1:], sends.encode(ended(alert()), stamp())[1:]
    outbox.add(on)
    outbox.add(off)
    assert [row.message.payload for row in outbox.take(5, 5)] == [off[0].payload]
    assert len(outbox) == 0


def test_a_denied_topic_waits_and_the_others_pass(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    (level,) = level_messages(1)
    outbox.add([level])
    outbox.add(an_alert()[:1], alert())
    assert [row.message.kind for row in outbox.take(5, 5, {level.topic})] == ["alert"]


def test_three_strikes_set_a_row_aside_and_keep_it(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(level_messages(2))
    aside = []
    for _ in range(3):
        row = outbox.take(1, 1)[0]
        aside.append(outbox.strike(row.key))
    assert aside == [False, False, True]
    assert (len(outbox), outbox.health().set_aside) == (1, 1)
    outbox.close()
    assert opened(tmp_path).health().set_aside == 1


def test_above_the_cap_the_oldest_levels_go_first_and_alerts_last(tmp_path: Path) -> None:
    clock = SimulatedClock()
    outbox = opened(tmp_path, clock, cap=8_000)
    outbox.add(an_alert()[:1], alert())
    levels = level_messages(100)
    for message in levels:
        outbox.add([message])
        clock.wait(1)
        outbox.turn()
    health = outbox.health()
    kept = ids_of(outbox)
    assert health.bytes <= 8_000
    assert kept[0] == f"{alert().id}/0" or f"{alert().id}/0" in kept
    assert health.dropped == {"alert": 0, "event": 0, "level": 100 - (len(kept) - 1)}
    survivors = {one.id for one in levels[-(len(kept) - 1) :]}
    assert survivors < set(kept)


def test_what_was_open_is_known_to_the_next_start(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "a")
    other = msgspec.structs.replace(alert("00000000-09b0-7fd0-8a33-a538eca7e906"))
    sends = encoder()
    for record in (alert(), other, ended(alert())):
        outbox.add(sends.encode(record, stamp()), record)
    outbox.add(sends.encode(event(), stamp()), event())
    again = opened(crashed(tmp_path / "a", tmp_path / "b"))
    assert again.left_open() == [other, event()]


def test_the_oldest_age_of_an_earlier_start_counts_from_this_one(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(level_messages(1))
    outbox.close()
    clock = SimulatedClock(start_ns=10**18)
    again = opened(tmp_path, clock)
    clock.wait(30)
    assert again.health().oldest_s == 30.0


def test_a_row_changed_on_the_disk_is_dropped_and_counted(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(level_messages(3))
    outbox.close()
    with sqlite3.connect(tmp_path / "outbox.db") as damage:
        damage.execute("UPDATE rows SET payload = replace(payload, '38.2', '18.2') WHERE key = 2")
    damage.close()
    again = opened(tmp_path)
    assert len(ids_of(again)) == 2
    assert again.health().dropped["level"] == 1


def test_a_database_that_is_none_is_set_aside_and_reported(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"this is no database, but long enough to be read" * 100)
    outbox = opened(tmp_path)
    outbox.add(an_alert(), alert())
    assert outbox.damaged == 1
    assert list((tmp_path / "set-aside").glob("*/outbox.db"))
    outbox.close()
    again = opened(tmp_path)
    assert (len(again), again.damaged) == (1, 0)


def test_a_damaged_database_gives_back_what_can_be_read(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    levels = level_messages(400)
    outbox.add(levels)
    outbox.close()
    path = tmp_path / "outbox.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(random.Random(1).randbytes(4096))
    again = opened(tmp_path)
    found = ids_of(again)
    assert again.damaged == 1
    assert 0 < len(found) < 400
    assert set(found) < {one.id for one in levels}


def test_damage_under_a_running_agent_loses_no_row_in_memory(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(an_alert()[:1], alert())
    rng = random.Random(5)
    with (tmp_path / "outbox.db").open("r+b") as file:
        file.write(rng.randbytes(4096))
    with (tmp_path / "outbox.db-wal").open("r+b") as file:
        file.write(rng.randbytes(8192))
    levels = level_messages(20)
    outbox.add(levels)
    outbox.flush()
    assert len(ids_of(outbox)) == 21
    outbox.close()
    assert len(ids_of(opened(tmp_path))) == 21


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_or_invented_over_crashes_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Alerts queued, handed out and acknowledged at random, with copies as after a power cut."""
    rng = random.Random(seed)
    folder, clock, sends = tmp_path / "0", SimulatedClock(), encoder()
    outbox = opened(folder, clock)
    made: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    for step in range(60):
        record = alert(f"00000000-09b0-7fd0-8a33-{step:012x}")
        messages = sends.encode(record, stamp())[:1]
        outbox.add(messages, record)
        made.update(one.id for one in messages)
        for row in outbox.take(rng.randint(0, 4), 4):
            delivered[row.message.id] += 1
            if rng.random() < 0.7:
                outbox.acknowledge(row.key)
            else:
                outbox.give_back(row.key)
        clock.wait(rng.choice([0.1, 1, 11]))
        outbox.turn()
        if rng.random() < 0.15:
            folder = crashed(folder, tmp_path / str(step + 1))
            outbox = opened(folder, clock)
    while not outbox.empty():
        for row in outbox.take(20, 20):
            delivered[row.message.id] += 1
            outbox.acknowledge(row.key)
    assert set(delivered) == set(made)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/state: Not a directory"):
        opened(tmp_path / "file" / "state")
