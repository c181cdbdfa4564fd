"""The end of a device, before a real mosquitto with the fleet's own certificates."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from tests.fleets import edge_agent
from tests.real.broker import Subscriber, wait_for
from tests.real.fleetbroker import Broker
from tests.sealed import issued, sealed
from tests.spoken import Voice

pytestmark = pytest.mark.real

SITE = "example-city"
TOPICS = f"earshot/{SITE}/depot-01"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    fleet = issued(sealed(tmp_path / "fleet"), "--broker", "127.0.0.1", "--reader", "office")
    table = fleet / "fleet.csv"
    rows = table.read_text().splitlines()
    words = ["state", *("active" for _ in rows[1:])]
    table.write_text("".join(f"{row},{word}\n" for row, word in zip(rows, words, strict=True)))
    with Broker(tmp_path, fleet) as broker:
        broker.start()
        yield broker


def kept(broker: Broker) -> set[str]:
    """What a reader that comes now is told of the device."""
    certificate, key = broker.pair("readers/office")
    who = ("--cafile", str(broker.place / "ca.crt"), "--cert", str(certificate), "--key", str(key))
    before = broker.log().count("SUBACK")
    office = Subscriber(broker.port, "-h", "127.0.0.1", *who)
    try:
        wait_for(lambda: broker.log().count("SUBACK") > before, "mosquitto_sub subscribes")
        wait_for(lambda: any("market-01" in one.topic for one in office.messages()), "it hears")
        return {one.topic for one in office.messages() if one.topic.startswith(f"{TOPICS}/")}
    finally:
        office.end()


def decommission(broker: Broker, *more: str, code: int = 0) -> str:
    done = edge_agent("fleet", "decommission", "depot-01", *more, cwd=broker.fleet)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stdout if code == 0 else done.stderr


def test_nothing_is_left_of_a_device_and_the_others_stay(broker: Broker) -> None:
    now_ns = SystemClock().utc_ns()
    for device in ("market-01", "depot-01"):
        voice = Voice(SITE, device)
        said = [voice.online(now_ns), voice.info(now_ns, "a" * 64, None), voice.health(now_ns)]
        broker.say(device, said)
    three = {f"{TOPICS}/{name}" for name in ("status", "info", "health")}
    assert kept(broker) == three

    told = decommission(broker, code=2)
    assert "depot-01 is connected" in told
    assert kept(broker) == three

    broker.say("depot-01", [Voice(SITE, "depot-01").encoder.will()])
    told = decommission(broker, "--dry-run")
    assert f"would be cleared at 127.0.0.1:{broker.port}: {TOPICS}/info" in told
    assert "/alerts/" in told
    assert kept(broker) == three

    told = decommission(broker)
    assert f"127.0.0.1:{broker.port} keeps nothing of depot-01 any more" in told
    assert "rm -r /etc/earshot" in told
    assert kept(broker) == set()
    rows = (broker.fleet / "fleet.csv").read_text().splitlines()
    assert [row.endswith(",retired") for row in rows[1:]] == [False, False, True]

    # Done again, it says that there is no such device any more.
    told = decommission(broker, code=2)
    assert "depot-01" in told
