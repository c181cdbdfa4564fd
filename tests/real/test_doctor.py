"""The doctor at a real broker: let in, refused, not understood, not there."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import configfile
from edge_agent.commands.doctor_broker import broker as asked
from edge_agent.commands.finding import Finding
from tests.real.broker import Mosquitto, OddBroker, free_port, program, subscribed, wait_for
from tests.real.test_tls import Certificates, certificates  # noqa: F401 (a fixture)

pytestmark = pytest.mark.real

TOPIC = "earshot/quai-nord/ear-0042/doctor"


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with one account, which may write below its device only."""
    passwords, rules = tmp_path / "passwords", tmp_path / "acl"
    passwords.touch(mode=0o600)
    subprocess.run(
        [program("mosquitto_passwd"), "-b", str(passwords), "ear", "hunter-7"],
        check=True,
        capture_output=True,
    )
    rules.write_text("user ear\ntopic write earshot/quai-nord/ear-0042/#\n")
    rules.chmod(0o600)
    with Mosquitto(tmp_path, f"password_file {passwords}\nacl_file {rules}\n") as broker:
        broker.start()
        yield broker


def finding(folder: Path, port: int, more: str = "", device: str = "ear-0042") -> Finding:
    config = folder / "agent.yaml"
    config.write_text(
        f"site: {{site: quai-nord, device: {device}}}\n"
        f"mqtt: {{host: localhost, port: {port}{more}}}\n"
    )
    return asked(configfile.load(config))


def with_password(folder: Path, word: str) -> str:
    (folder / "password").write_text(f"{word}\n")
    return ", username: ear, password_file: password"


@pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
def test_a_broker_that_takes_a_message_is_well_and_nothing_of_the_device_is_touched(
    tmp_path: Path, version: str
) -> None:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        retained = ("-t", "earshot/quai-nord/ear-0042/status", "-m", "online", "-r", "-q", "1")
        subprocess.run([program("mosquitto_pub"), "-p", str(broker.port), *retained], check=True)
        # The agent that runs, as far as the broker knows it.
        name = "earshot-quai-nord-ear-0042"
        with subscribed(broker, "-i", name) as agent:
            found = finding(tmp_path, broker.port, f", version: {version!r}")
            wait_for(lambda: any(m.topic == TOPIC for m in agent.messages()), "the message")
            told = {message.topic: message.payload for message in agent.messages()}
        assert found.status == "ok", found
        assert found.found == (
            f"localhost:{broker.port}, MQTT {version.replace('auto', '5')}, without a user name; "
            f"it acknowledged a message to {TOPIC}"
        )
        assert set(json.loads(told.pop(TOPIC))) == {"v", "time"}
        assert told == {"earshot/quai-nord/ear-0042/status": b"online"}
        log = broker.log()
        assert "as earshot-doctor-" in log
        assert "closing old connection" not in log
        assert log.count(f"as {name}") == 1
        # Who comes later finds the state as it was, and nothing of the doctor's.
        with subscribed(broker) as late:
            wait_for(lambda: bool(late.messages()), "the retained state")
            assert [message.payload for message in late.messages()] == [b"online"]


def test_the_right_password_is_let_in_and_a_wrong_one_is_told(
    tmp_path: Path, account: Mosquitto
) -> None:
    found = finding(tmp_path, account.port, with_password(tmp_path, "hunter-7"))
    assert found.status == "ok", found
    assert ", as ear; " in found.found
    assert "hunter-7" not in str(found)
    found = finding(tmp_path, account.port, with_password(tmp_path, "wrong"))
    assert found.status == "fault"
    assert "refuses the login: Not authorized" in found.found
    assert "correct user name, password" in (found.todo or "")
    (tmp_path / "password").unlink()
    found = finding(tmp_path, account.port, ", username: ear, password_file: password")
    assert found.status == "fault"
    assert f"mqtt.password_file: {tmp_path / 'password'}: No such file" in found.found


def test_an_account_that_may_not_write_there_is_told_the_topic(
    tmp_path: Path, account: Mosquitto
) -> None:
    found = finding(tmp_path, account.port, with_password(tmp_path, "hunter-7"), device="ear-1")
    assert found.status == "fault"
    assert found.found == (
        f"localhost:{account.port} takes the login and not the topic "
        "earshot/quai-nord/ear-1/doctor: Not authorized"
    )


def test_nobody_there_is_told_at_once(tmp_path: Path) -> None:
    port = free_port()
    found = finding(tmp_path, port)
    assert found.status == "fault"
    assert found.found.startswith(f"nobody answers at localhost:{port}: ")


def test_tls_that_does_not_fit_is_told_with_what_to_do(
    tmp_path: Path,
    certificates: Certificates,  # noqa: F811
) -> None:
    ours, foreign = certificates.path("ours.pem"), certificates.path("foreign.pem")
    settings = (
        f"allow_anonymous true\ncafile {ours}\ncertfile {certificates.path('server.pem')}\n"
        f"keyfile {certificates.path('server.key')}\n"
    )
    with Mosquitto(tmp_path, settings) as broker:
        broker.start()
        right = finding(tmp_path, broker.port, f", tls: {{ca: {ours}}}")
        assert right.status == "ok", right
        assert ", TLS, MQTT 5, " in right.found
        stranger = finding(tmp_path, broker.port, f", tls: {{ca: {foreign}}}")
        assert "the broker's certificate is refused" in stranger.found
        assert stranger.todo == (
            "mqtt.tls.ca must be the certificate of the authority that signed it."
        )
        plain = finding(tmp_path, broker.port)
        assert plain.status == "fault"
        assert "does not answer as an MQTT broker" in plain.found
        assert "set `mqtt.tls`" in (plain.todo or "")


def test_tls_at_a_plain_port_is_told(tmp_path: Path, certificates: Certificates) -> None:  # noqa: F811
    with Mosquitto(tmp_path) as broker:
        broker.start()
        found = finding(tmp_path, broker.port, f", tls: {{ca: {certificates.path('ours.pem')}}}")
    assert found.status == "fault"
    assert "port for TLS" in (found.todo or ""), found


def test_a_broker_that_acknowledges_nothing_is_a_fault(tmp_path: Path) -> None:
    with OddBroker(puback=lambda _: None) as broker:
        found = finding(tmp_path, broker.port)
        assert [publish.topic for publish in broker.published] == [TOPIC]
    assert found.status == "fault"
    assert "it gave no acknowledgement" in found.found


def test_a_broker_that_knows_no_mqtt_5_is_asked_again_by_3_1_1(tmp_path: Path) -> None:
    with OddBroker(connack=b"\x00\x84\x00") as broker:
        found = finding(tmp_path, broker.port)
        assert [connect[6] for connect in broker.connects] == [5, 4]
    assert found.status == "fault"
    assert "refuses the login" in found.found


def test_a_broker_without_qos_1_is_a_fault_and_one_that_retains_nothing_a_warning(
    tmp_path: Path,
) -> None:
    # Properties of CONNACK: maximum QoS 0; retain available 0.
    with OddBroker(connack=b"\x00\x00\x02\x24\x00") as broker:
        found = finding(tmp_path, broker.port)
        assert broker.published == []
    assert (found.status, "mqtt_no_qos" in found.found) == ("fault", True)
    with OddBroker(connack=b"\x00\x00\x02\x25\x00") as broker:
        found = finding(tmp_path, broker.port)
    assert (found.status, "mqtt_no_retain" in found.found) == ("warning", True)
