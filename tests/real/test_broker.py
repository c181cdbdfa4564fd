"""The worker and a real mosquitto: nothing lost, nothing twice after de-duplication, all in words.

What the microphone hears is written in a script, so that each test knows what must arrive.
"""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent.clock import SystemClock
from edge_agent.commands.agent import Agent
from edge_agent.config import MicrophoneConfig, MqttConfig
from edge_agent.health import Monitor
from edge_agent.ids import Ids
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from edge_agent.payloads import (
    AlertPayload,
    EventPayload,
    HealthPayload,
    LevelPayload,
    StatePayload,
    StatusPayload,
)
from tests.real.broker import Mosquitto, Subscriber, program, subscribed, wait_for
from tests.real.script import PacedSource, Script
from tests.sample_records import SHA256, encoder

pytestmark = pytest.mark.real


class Running:
    """An agent on a thread of the test's process."""

    def __init__(
        self, port: int, folder: Path | None, *, blocks: int, period_s: float, **mqtt: object
    ) -> None:
        clock = SystemClock()
        ids = Ids(random.getrandbits(64))
        sends = encoder(ids.boot)
        self.script = Script(ids)
        self.source = PacedSource(blocks, period_s)
        self.outbox = Outbox(folder, clock, max_bytes=10_000_000)
        config = MqttConfig(host="127.0.0.1", port=port, **mqtt)  # type: ignore[arg-type] # by name
        self.output = MqttOutput(
            config, "earshot-test", sends.will(), clock, random.Random(), backlog_wait_s=0
        )
        self.agent = Agent(
            {"mic": self.source},
            {"mic": self.script},
            sends,
            self.outbox,
            self.output,
            clock,
            Monitor(clock, {"mic": MicrophoneConfig()}, folder, SHA256, SHA256),
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.agent.run(self.stop)
        self.outbox.close()


@contextmanager
def running(
    port: int,
    folder: Path | None = None,
    *,
    blocks: int = 10**9,
    period_s: float = 0.01,
    **mqtt: object,
) -> Iterator[Running]:
    agent = Running(port, folder, blocks=blocks, period_s=period_s, **mqtt)
    try:
        yield agent
    finally:
        agent.stop.set()
        agent.thread.join(10)
        assert not agent.thread.is_alive()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Makes brokers that are not started yet, and ends them after the test."""
    with ExitStack() as stack:
        yield lambda *settings: stack.enter_context(Mosquitto(tmp_path, *settings))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        yield broker


HISTORIAN = ("-i", "historian", "-c")
"""Options of a subscriber for which a broker keeps what it misses."""


def remembers(folder: Path) -> str:
    """Settings of a broker that knows its subscribers after a restart."""
    return (
        "allow_anonymous true\npersistence true\nautosave_on_changes true\nautosave_interval 1\n"
        f"persistence_location {folder}/\nmax_queued_messages 0\nmax_inflight_messages 0\n"
    )


def heard(subscriber: Subscriber) -> list[tuple[str, int | None]]:
    """Keys of the queued messages that arrived, repetitions included."""
    keys: list[tuple[str, int | None]] = []
    for payload in subscriber.payloads(""):
        if isinstance(payload, LevelPayload):
            keys.append((payload.id, None))
        elif isinstance(payload, EventPayload | AlertPayload):
            keys.append((payload.id, payload.n))
    return keys


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_every_message_arrives_once_and_in_its_order(mosquitto: Mosquitto, version: str) -> None:
    with (
        subscribed(mosquitto) as subscriber,
        running(mosquitto.port, blocks=100, version=version) as agent,
    ):
        agent.thread.join(20)
        wait_for(lambda: len(heard(subscriber)) >= 130, "130 messages arrive")
        found = heard(subscriber)
        assert len(found) == len(set(found))
        assert set(found) == agent.script.told
        numbers = [
            payload.seq
            for payload in subscriber.payloads("")
            if isinstance(payload, LevelPayload | EventPayload | AlertPayload)
        ]
        assert numbers == list(range(1, 131))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_nothing_is_lost_when_the_broker_is_restarted_again_and_again(
    tmp_path: Path,
    brokers: Callable[..., Mosquitto],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    version: str,
) -> None:
    caplog.set_level("INFO", "edge_agent.mqtt")
    # The back-off is judged elsewhere; here it would only make ten restarts long.
    monkeypatch.setattr("edge_agent.mqtt.BACK_OFF_S", 0.3)
    # A killed mosquitto loses some of what it has acknowledged for a subscriber that is away
    # (seen in its log), so here it ends as at a restart; tests/test_mqtt.py cuts harder.
    broker = brokers(remembers(tmp_path))
    broker.start()
    with (
        subscribed(broker, *HISTORIAN) as subscriber,
        running(broker.port, tmp_path / "state", version=version) as agent,
    ):
        for restarts in range(10):
            before = agent.output.health().connects
            count = len(heard(subscriber))
            # On a busy machine the broker passes on what it has not acknowledged yet.
            wait_for(
                lambda least=count, told=restarts: (  # type: ignore[misc] # bound
                    len(heard(subscriber)) > least
                    and sum("delivering again" in one for one in caplog.messages) >= told
                ),
                "messages flow",
            )
            broker.stop()
            wait_for(
                lambda: (
                    not agent.output.connected
                    and "Refused" in str(agent.output.health().last_error)
                ),
                "the agent misses it",
            )
            broker.start()
            wait_for(
                lambda least=before: agent.output.health().connects > least,  # type: ignore[misc]
                "the agent comes back",
            )
        agent.source.last()
        agent.thread.join(40)
        assert not agent.thread.is_alive()
        wait_for(lambda: set(heard(subscriber)) >= agent.script.told, "the rest arrives", 10)
        assert set(heard(subscriber)) == agent.script.told
    told = [message.partition(": ")[2] for message in caplog.messages]
    assert told.count("delivering again") == 10
    assert not any("Unspecified" in message for message in told)


def test_an_agent_starts_without_a_broker_and_delivers_when_it_comes(
    tmp_path: Path, brokers: Callable[..., Mosquitto]
) -> None:
    broker = brokers(remembers(tmp_path))
    broker.start()
    # Known before, so that the broker keeps for it what the agent may send first.
    with subscribed(broker, *HISTORIAN):
        broker.stop()
    with running(broker.port, tmp_path / "state", blocks=50) as agent:
        wait_for(lambda: agent.source.ended, "all blocks are heard")
        wait_for(lambda: agent.output.health().last_error is not None, "an attempt fails")
        broker.start()
        with subscribed(broker, *HISTORIAN) as subscriber:
            wait_for(lambda: set(heard(subscriber)) == agent.script.told, "all arrive")
            agent.thread.join(10)


def test_what_waited_for_the_next_start_arrives_as_replayed(
    tmp_path: Path, brokers: Callable[..., Mosquitto]
) -> None:
    broker = brokers()
    with running(broker.port, tmp_path / "state", blocks=5) as first:
        wait_for(lambda: first.source.ended, "all blocks are heard")
        first.stop.set()
        first.thread.join(10)
    broker.start()
    with subscribed(broker) as subscriber, running(broker.port, tmp_path / "state", blocks=0):
        wait_for(lambda: set(heard(subscriber)) >= first.script.told, "the rows arrive")
        backlog = [one for one in subscriber.payloads("") if getattr(one, "replayed", False)]
        kinds = [type(one) for one in backlog]
        assert kinds == [AlertPayload, EventPayload, *[LevelPayload] * 5]
        # The first start left its alert open; the second ends it, and says so as live news.
        ends = [
            one
            for one in subscriber.payloads("alerts")
            if isinstance(one, AlertPayload) and one.phase == "end"
        ]
        assert [(one.end_reason, one.n, one.replayed) for one in ends] == [("restart", 1, False)]


def test_the_retained_topics_tell_a_late_subscriber_how_things_stand(
    mosquitto: Mosquitto,
) -> None:
    with subscribed(mosquitto) as first, running(mosquitto.port, period_s=0.05):
        wait_for(lambda: bool(first.payloads("/health")), "the first health arrives")
        wait_for(lambda: bool(first.payloads("/status")), "and so does the status")
        with subscribed(mosquitto, "--retained-only") as subscriber:
            wait_for(lambda: len(subscriber.messages()) >= 3, "the retained messages arrive")
            found = {type(one) for one in subscriber.payloads("")}
            assert found == {StatusPayload, StatePayload, HealthPayload}
            (status,) = subscriber.payloads("/status")
            assert isinstance(status, StatusPayload)
            assert (status.state, status.reason) == ("online", None)


def test_a_stopped_agent_says_so_and_sends_no_will(mosquitto: Mosquitto) -> None:
    with subscribed(mosquitto, topic="+/+/+/status") as subscriber:
        with running(mosquitto.port) as agent:
            wait_for(lambda: len(subscriber.messages()) == 1, "online arrives")
            started = time.monotonic()
            agent.stop.set()
            agent.thread.join(10)
            # The promise for SIGTERM is 5 s.
            assert time.monotonic() - started < 5
        wait_for(lambda: len(subscriber.messages()) == 2, "offline arrives")
        states = [msgspec.json.decode(one.payload) for one in subscriber.messages()]
        assert [(one["state"], one["reason"]) for one in states] == [
            ("online", None),
            ("offline", "stopped"),
        ]


def test_a_wrong_password_is_named_and_a_mended_one_gets_in(
    tmp_path: Path, brokers: Callable[..., Mosquitto], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.mqtt.REFUSED_BACK_OFF_S", 0.5)
    passwords = tmp_path / "passwords"
    command = [program("mosquitto_passwd"), "-b", "-c", str(passwords), "local", "right"]
    subprocess.run(command, check=True, capture_output=True)
    broker = brokers(f"allow_anonymous false\npassword_file {passwords}\n")
    broker.start()
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    with running(broker.port, blocks=20, username="local", password_file=str(secret)) as agent:
        wait_for(
            lambda: agent.output.faults() == ["mqtt_refused:Not authorized"], "the fault is named"
        )
        secret.write_text("right\n")
        agent.thread.join(15)
        assert not agent.thread.is_alive()
        assert agent.output.health().connects == 1


def test_a_denied_topic_is_seen_with_mqtt_5(
    tmp_path: Path, brokers: Callable[..., Mosquitto]
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write earshot/+/+/levels/#\ntopic write earshot/+/+/status\n")
    broker = brokers(f"allow_anonymous true\nacl_file {acl}\n")
    broker.start()
    with running(broker.port, period_s=0.05) as agent:
        wait_for(
            lambda: "mqtt_denied:earshot/default/local/events" in agent.output.faults(),
            "the denial is named",
        )
        wait_for(lambda: agent.output.health().connects == 1, "and the connection stays")
