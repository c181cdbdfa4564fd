"""Many made-up devices before a real mosquitto: everything arrives, whatever happens meanwhile."""

import json
import threading
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.fleet.ledger import Ledger
from edge_agent.fleet.playing import SITE
from edge_agent.records import Message
from tests.fleets import edge_agent
from tests.real.broker import Mosquitto, free_port, subscribed, wait_for

pytestmark = pytest.mark.real


def simulated(tmp_path: Path, *arguments: str, code: int = 0) -> dict[str, object]:
    done = edge_agent("fleet", "simulate", *arguments, "--json", cwd=tmp_path, timeout_s=500)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def counts(found: dict[str, object], kind: str = "all") -> dict[str, int]:
    kinds = found["counts"]
    assert isinstance(kinds, dict)
    return {str(name): int(number) for name, number in kinds[kind].items()}


def test_storms_and_a_kill_lose_nothing_and_copies_are_told_from_news(tmp_path: Path) -> None:
    blows = ("--storms", "2", "--kills", "1")
    found = simulated(tmp_path, "100", "--for", "12", *blows, "--sirens", "10")
    for kind in ("level", "event", "alert"):
        one = counts(found, kind)
        assert one["sent"] > 50
        assert (one["missing"], one["arrived"]) == (0, one["sent"]), kind
    # What was under way at a storm came twice.
    assert 20 < counts(found)["twice"] < 500
    # A connection each at first, and after each blow.
    assert int(str(found["connects"])) >= 400
    assert (found["waiting"], found["missing"]) == (0, [])
    told = found["blows"]
    assert isinstance(told, list)
    assert sorted(blow["kind"] for blow in told) == ["kill", "storm", "storm"]


@pytest.mark.slow
def test_a_thousand_devices_for_a_minute_with_a_kill_every_alert_arrives(tmp_path: Path) -> None:
    found = simulated(tmp_path, "1000", "--for", "60", "--every", "10", "--kills", "1")
    assert counts(found, "alert")["sent"] > 1000
    for kind in ("alert", "event", "level"):
        assert counts(found, kind)["missing"] == 0


def test_at_somebody_elses_broker_others_are_told_apart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        where = ("--broker", f"127.0.0.1:{broker.port}")
        over = threading.Event()
        with subscribed(broker, topic=f"earshot/{SITE}/#") as city:
            found = simulated(tmp_path, "5", "--for", "4", *where)
            over.set()
            wait_for(
                lambda: len(city.payloads("levels/1s")) >= counts(found, "level")["sent"], "all"
            )
        # Each message is of the contract, and each device has introduced itself.
        topics = {message.topic for message in city.messages()}
        assert {f"earshot/{SITE}/sim-00000/{one}" for one in ("status", "info", "health")} <= topics
        done = edge_agent("fleet", "simulate", "5", *where, "--kills", "1", cwd=tmp_path)
        assert done.returncode == 2
        assert "is not ours to kill" in done.stderr


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:0", "127.0.0.1:{free}"])
def test_a_broker_that_is_none_is_told_in_two_lines(where: str, tmp_path: Path) -> None:
    where = where.format(free=free_port())
    done = edge_agent("fleet", "simulate", "1", "--broker", where, cwd=tmp_path)
    assert done.returncode == 2
    assert where.partition(":")[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ledger_knows_copies_strangers_and_what_never_came() -> None:
    ledger, now_ns = Ledger(), SystemClock().utc_ns()
    for name, kind in (("a", "level"), ("b/0", "alert"), ("b/1", "alert")):
        ledger.sent(
            Message(id=name, kind=kind, topic="t", payload=b"", qos=1, retain=False),  # type: ignore[arg-type] # of the test
            now_ns,
        )
    for payload in (b'{"id":"b","n":0}', b'{"id":"b","n":0}', b'{"id":"a"}', b'{"id":"x"}'):
        ledger.arrived(payload, now_ns + 2_000_000_000)
    found = ledger.counts()
    assert (found.sent, found.arrived, found.twice, found.missing, found.unknown) == (3, 2, 1, 1, 1)
    assert ledger.missing() == ["alert b/1"]
    assert ledger.counts("alert").twice == 1
    assert ledger.late_s(1) == 2.0
    assert not ledger.complete
