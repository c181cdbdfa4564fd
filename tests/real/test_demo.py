"""The demo as a user starts it, and its broker with real clients."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.commands import loopback
from edge_agent.commands.loopback import HOST, LoopbackBroker, Subscriber
from edge_agent.config import AlertConfig, SiteConfig
from edge_agent.errors import BrokerError
from edge_agent.messages import Encoder
from edge_agent.records import Message, Stamp
from tests.sample_records import alert, event, reading

pytestmark = pytest.mark.real

PREFIX = "earshot/default/local"
STAMP = Stamp(utc_ns=1_780_300_800_000_000_000, synced=True, up_ms=1000)


def _demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "edge_agent", "demo", *arguments]


@contextmanager
def _publisher(port: int) -> Iterator[Client]:
    client = Client(
        CallbackAPIVersion.VERSION2, client_id="device", protocol=MQTTProtocolVersion.MQTTv311
    )
    client.connect(HOST, port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _publish(client: Client, messages: list[Message]) -> None:
    for message in messages:
        sent = client.publish(message.topic, message.payload, message.qos, message.retain)
        sent.wait_for_publish(10)


def _encoder() -> Encoder:
    rules = {"emergency": AlertConfig(labels=("siren",))}
    return Encoder(SiteConfig(), "earshot", rules, "street", "ab" * 32, "00" * 8)


def _all(subscriber: Subscriber) -> list[Message]:
    """What arrived until the farewell."""
    assert subscriber.farewell.wait(10)
    found = []
    while (message := subscriber.next(0.1)) is not None:
        found.append(message)
    return found


@pytest.mark.slow
def test_the_scene_is_heard_through_the_broker(tmp_path: Path) -> None:
    run = subprocess.run(_demo("--json"), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    *lines, last = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr
    summary = last["summary"]
    assert list(summary) == ["heard", "missed", "false"]
    assert {"siren", "car_horn"} <= set(summary["heard"])
    assert {"jackhammer", "gun_shot"} & set(summary["heard"])
    assert all(list(line) == ["topic", "qos", "retain", "payload"] for line in lines)
    levels = [line["payload"] for line in lines if line["topic"] == f"{PREFIX}/levels/1s"]
    # 30 s of sound that begin within a second of the UTC grid touch 31 of its seconds; the parts
    # at both ends may be left out.
    assert 29 <= len(levels) <= 31
    assert len({level["start"] for level in levels}) == len(levels)
    events = [line["payload"] for line in lines if line["topic"] == f"{PREFIX}/events"]
    started = {event["id"] for event in events if event["phase"] == "start"}
    assert started == {event["id"] for event in events if event["phase"] == "end"}
    alerts = [line["payload"] for line in lines if re.search(r"/alerts/\w+$", line["topic"])]
    assert {alert["rule"] for alert in alerts} >= {"emergency", "horn"}


def test_an_interrupt_ends_the_demo_with_its_verdict(tmp_path: Path) -> None:
    with subprocess.Popen(
        _demo("--json"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline()
        run.send_signal(signal.SIGINT)
        rest, errors = run.communicate(timeout=30)
    assert run.returncode == 1, errors
    assert "Traceback" not in errors
    # The first sound begins at 2.5 s; what was not played cannot be missed.
    assert json.loads(rest.splitlines()[-1])["summary"]["missed"] == []


@pytest.mark.arm
def test_without_a_terminal_there_is_no_colour(tmp_path: Path) -> None:
    run = subprocess.run(
        _demo("--seconds", "2"), cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "\x1b" not in run.stdout
    assert "LAeq" in run.stdout
    assert "mosquitto_sub -h 127.0.0.1" in run.stdout


def test_a_terminal_of_letters_only_still_gets_its_lines(tmp_path: Path) -> None:
    run = subprocess.run(
        _demo("--seconds", "2"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "LAeq" in run.stdout
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0"])
def test_a_length_that_is_none_is_refused_in_words(seconds: str) -> None:
    run = subprocess.run(_demo("--seconds", seconds), capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "Invalid value for '--seconds'" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("package", ["amqtt", "rich"])
def test_a_missing_extra_is_told_with_the_line_that_installs_it(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = ['demo'];"
        "from edge_agent.cli import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        f"edge-agent: the demo needs {package}, which is not installed",
        '  Install the extra: pip install "earshot[demo]"',
    ]


def test_messages_arrive_once_and_as_they_were_published() -> None:
    encoder = _encoder()
    sent = [
        message
        for record in (reading(), event(), alert())
        for message in encoder.encode(record, STAMP)
    ]
    with LoopbackBroker() as broker, Subscriber(broker.port, PREFIX) as subscriber:
        with _publisher(broker.port) as client:
            _publish(client, [encoder.status(STAMP), *sent, *sent])
            _publish(client, [encoder.status(STAMP, "stopped")])
        arrived = _all(subscriber)
    told = [(message.topic, message.payload, message.qos, message.retain) for message in arrived]
    assert told == [(message.topic, message.payload, 1, message.retain) for message in sent]


def test_a_copy_that_had_waited_is_no_second_message() -> None:
    encoder = _encoder()
    (message,) = encoder.encode(reading(), STAMP)
    late = msgspec.structs.replace(
        message, payload=message.payload.replace(b'"replayed":false', b'"replayed":true')
    )
    assert late.payload != message.payload
    with LoopbackBroker() as broker, Subscriber(broker.port, PREFIX) as subscriber:
        with _publisher(broker.port) as client:
            _publish(client, [message, late, encoder.status(STAMP, "stopped")])
        assert [found.payload for found in _all(subscriber)] == [message.payload]


def test_a_neighbours_retained_messages_and_states_at_rest_are_left_out() -> None:
    encoder = _encoder()
    foreign = SiteConfig(device="neighbour")
    stranger = Encoder(foreign, "earshot", {}, "street", "ab" * 32, "11" * 8)
    with LoopbackBroker() as broker, _publisher(broker.port) as client:
        # Somebody who asks for everything makes the broker send retained messages to everybody.
        client.subscribe("#", qos=1)
        _publish(client, [stranger.status(STAMP, "stopped"), *encoder.states(STAMP)])
        with Subscriber(broker.port, PREFIX) as subscriber:
            _publish(client, [encoder.status(STAMP, "stopped")])
            assert _all(subscriber) == []


def test_a_port_that_was_taken_meanwhile_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    free = loopback._free_port
    with LoopbackBroker() as first:
        ports = iter([first.port, first.port])
        monkeypatch.setattr(loopback, "_free_port", lambda: next(ports, None) or free())
        with LoopbackBroker() as second, Subscriber(second.port, PREFIX):
            assert second.port != first.port


def test_a_machine_without_ports_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackBroker() as first:
        monkeypatch.setattr(loopback, "_free_port", lambda: first.port)
        with pytest.raises(BrokerError, match="found no port on loopback"), LoopbackBroker():
            pass
    assert "demo-broker" not in {thread.name for thread in threading.enumerate()}


def test_a_rule_that_rests_is_named_on_stderr(tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("alerts: {loud: {indicator: LAeq, above_db: 70, for_s: 1}}\n")
    command = _demo("--json", "--seconds", "2", "--config", str(config))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.count("alerts.loud: rests, for `above_db` needs a calibrated") == 1
    assert "rests" not in done.stdout
