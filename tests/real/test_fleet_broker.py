"""The broker's files as `fleet broker` writes them, in a real mosquitto, with real certificates."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import MqttConfig, TlsConfig
from edge_agent.connection import Accepted, Answered, Connection, Happening, Version
from edge_agent.records import Message
from tests.fleets import edge_agent
from tests.real.broker import Subscriber, program, wait_for
from tests.real.fleetbroker import Broker
from tests.sealed import issued, opened, sealed

pytestmark = pytest.mark.real

NOT_AUTHORIZED = 0x87
VERSIONS: tuple[Version, ...] = ("5", "3.1.1")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    fleet = issued(
        sealed(folder / "fleet"), "--broker", "127.0.0.1", "--reader", "city", "--reader", "panel"
    )
    broker = Broker(folder, fleet)
    with broker:
        broker.start()
        yield broker


def heard(broker: Broker, tls: TlsConfig, version: Version, *topics: str) -> list[Happening]:
    """What the agent's own connection is answered, for one message to each topic."""
    config = MqttConfig(host="127.0.0.1", port=broker.port, tls=tls)
    connection = Connection(config, "whatever", None, version, lambda: None)
    connection.start()
    wait_for(lambda: bool(connection.happened), "the broker answers")
    found: list[Happening] = [connection.happened.popleft()]
    if isinstance(found[0], Accepted):
        for topic in topics:
            message = Message(id="x", kind="state", topic=topic, payload=b"1", qos=1, retain=False)
            connection.publish(message, retain=False, expiry_s=None)
        wait_for(lambda: len(connection.happened) == len(topics), "all are acknowledged")
        found += connection.happened
    connection.drop()
    return found


def listener(broker: Broker, name: str) -> Subscriber:
    certificate, key = broker.pair(f"readers/{name}")
    before = broker.log().count("SUBACK")
    who = ("--cafile", str(broker.place / "ca.crt"), "--cert", str(certificate), "--key", str(key))
    subscriber = Subscriber(broker.port, "-h", "127.0.0.1", *who)
    wait_for(lambda: broker.log().count("SUBACK") > before, "mosquitto_sub subscribes")
    return subscriber


@pytest.mark.parametrize("version", VERSIONS)
def test_a_device_writes_below_its_own_topics_alone(broker: Broker, version: Version) -> None:
    own = "earshot/example-city/market-01/levels/1s"
    foreign = ("earshot/example-city/market-02/levels/1s", "other/x", "$SYS/x", "earshot/x")
    city = listener(broker, "city")
    try:
        tls = broker.tls("devices/market-01")
        answers = heard(broker, tls, version, *foreign, own)[1:]
        wait_for(lambda: bool(city.messages()), "the city hears it")
        # Sent before the one that arrived.
        assert [message.topic for message in city.messages()] == [own]
    finally:
        city.end()
    codes = [answer.code for answer in answers if isinstance(answer, Answered)]
    # A refusal that cannot be told from success is why 3.1.1 is warned of.
    refused = NOT_AUTHORIZED if version == "5" else 0
    assert codes[:4] == [refused] * 4
    assert codes[4] in (0, 0x10)


def test_the_name_in_the_certificate_is_the_client_whatever_it_calls_itself(
    broker: Broker,
) -> None:
    heard(broker, broker.tls("devices/market-02"), "5")
    assert "as market-02 (" in broker.log()
    assert "as whatever" not in broker.log()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_device_hears_nothing(broker: Broker, version: Version) -> None:
    certificate, key = broker.pair("devices/market-02")
    who = ("--cafile", str(broker.place / "ca.crt"), "--cert", str(certificate), "--key", str(key))
    protocol = {"5": "mqttv5", "3.1.1": "mqttv311"}[version]
    ask = [
        program("mosquitto_sub"),
        "-p",
        str(broker.port),
        "-h",
        "127.0.0.1",
        *who,
        "-V",
        protocol,
    ]
    before = broker.log().count("SUBACK to market-02")
    with subprocess.Popen(
        [*ask, "-v", "-t", "#", "-t", "earshot/#", "-W", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as listening:
        wait_for(lambda: broker.log().count("SUBACK to market-02") > before, "it asks")
        heard(broker, broker.tls("devices/market-01"), "5", "earshot/example-city/market-01/events")
        assert "earshot/" not in listening.communicate(timeout=20)[0]


def test_a_panel_hears_alerts_and_health_and_no_levels(broker: Broker) -> None:
    panel = listener(broker, "panel")
    own = "earshot/example-city/market-01"
    topics = [f"{own}/levels/1s", f"{own}/events", f"{own}/health", f"{own}/alerts/loud"]
    try:
        heard(broker, broker.tls("devices/market-01"), "5", *topics)
        wait_for(lambda: len(panel.messages()) > 1, "the panel hears two")
        assert [message.topic for message in panel.messages()] == topics[2:]
    finally:
        panel.end()


def strangers(broker: Broker, folder: Path) -> dict[str, TlsConfig]:
    """Certificates that must be of no use."""
    # Another fleet's, of the same name.
    other = issued(sealed(folder / "other"))
    key = folder / "other.key"
    key.write_bytes(opened(other, "devices/market-01.key"))
    ca = str(broker.place / "ca.crt")
    return {
        "stranger": TlsConfig(
            ca=ca, certificate=str(other / "identities" / "devices" / "market-01.crt"), key=str(key)
        ),
        "none": TlsConfig(ca=ca),
        "a broker's own": broker.tls("brokers/127.0.0.1"),
    }


def test_strangers_are_refused(broker: Broker, tmp_path: Path) -> None:
    for who, tls in strangers(broker, tmp_path).items():
        before = broker.log().count("New client connected")
        for version in VERSIONS:
            (answer,) = heard(broker, tls, version, "earshot/example-city/market-01/events")
            assert not isinstance(answer, Accepted), who
        assert broker.log().count("New client connected") == before, who


def test_revoked_it_is_refused_after_a_reload_and_a_connection_that_stands_is_not_ended(
    broker: Broker,
) -> None:
    tls = broker.tls("devices/depot-01")
    copies = TlsConfig(
        ca=tls.ca, certificate=str(broker.place / "kept.crt"), key=str(broker.place / "kept.key")
    )
    assert tls.certificate is not None
    assert tls.key is not None
    shutil.copy(tls.certificate, broker.place / "kept.crt")
    shutil.copy(tls.key, broker.place / "kept.key")
    own = "earshot/example-city/depot-01/events"
    config = MqttConfig(host="127.0.0.1", port=broker.port, tls=copies)
    standing = Connection(config, "standing", None, "5", lambda: None)
    standing.start()
    wait_for(lambda: bool(standing.happened), "it is connected")
    done = edge_agent("fleet", "identity", "revoke", "depot-01", cwd=broker.fleet)
    assert done.returncode == 0, done.stderr
    assert "a connection that stands is not ended by that" in done.stdout
    shutil.copy(broker.fleet / "identities" / "crl.pem", broker.place / "crl.pem")
    broker.reload()
    standing.happened.clear()
    message = Message(id="x", kind="state", topic=own, payload=b"1", qos=1, retain=False)
    standing.publish(message, retain=False, expiry_s=None)
    wait_for(lambda: bool(standing.happened), "the standing one is answered")
    assert isinstance(standing.happened[0], Answered)
    standing.end()
    for version in VERSIONS:
        (answer,) = heard(broker, copies, version, own)
        assert not isinstance(answer, Accepted)
    # The others go on.
    assert len(heard(broker, broker.tls("devices/market-01"), "5", own.replace("depot", "x"))) == 2


def test_a_fleet_of_two_brokers_asks_which_one(tmp_path: Path) -> None:
    path = issued(sealed(tmp_path / "fleet"))
    table = (path / "fleet.csv").read_text().splitlines()
    rows = [
        f"{row},{extra}"
        for row, extra in zip(table, ("mqtt.host", "", "", "b.example"), strict=True)
    ]
    (path / "fleet.csv").write_text("\n".join(rows) + "\n")
    done = edge_agent("fleet", "broker", "--out", "out", cwd=path)
    assert done.returncode == 2
    assert (
        "the devices go to 2 brokers: mq.example-city.example:8883, b.example:8883" in done.stderr
    )
    done = edge_agent("fleet", "broker", "nowhere", "--out", "out", cwd=path)
    assert "nowhere: no device goes there" in done.stderr
    done = edge_agent("fleet", "broker", "b.example", "--out", "out", cwd=path)
    assert "Make it: edge-agent fleet identity issue --broker b.example" in done.stderr
    assert not (path / "out").exists()
