"""Delivery to brokers that misbehave; mosquitto, which does not, is in tests/real."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent.clock import SystemClock
from edge_agent.config import MqttConfig
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from tests.real.broker import OddBroker, Publish, free_port, wait_for
from tests.sample_records import alert, encoder, level_messages, stamp

RECEIVE_MAXIMUM_2 = b"\x00\x00\x03\x21\x00\x02"
MAXIMUM_PACKET_512 = b"\x00\x00\x05\x27\x00\x00\x02\x00"
NO_RETAIN = b"\x00\x00\x02\x25\x00"
REFUSED = b"\x00\x87\x00"
UNSUPPORTED = b"\x00\x84\x00"


class Delivery:
    """Outbox and output as the agent's worker turns them."""

    def __init__(self, port: int, **settings: object) -> None:
        config = MqttConfig(host="127.0.0.1", port=port, **settings)  # type: ignore[arg-type] # by name
        clock = SystemClock()
        self.outbox = Outbox(None, clock, max_bytes=10_000_000)
        self.output = MqttOutput(
            config, "earshot-test", encoder().will(), clock, random.Random(3), backlog_wait_s=0
        )

    def turn(self) -> None:
        self.output.turn()
        for result in self.output.results():
            match result.outcome:
                case "done":
                    self.outbox.acknowledge(result.key)
                case "keep":
                    self.outbox.give_back(result.key)
                case "strike":
                    self.outbox.strike(result.key)
                case "set_aside":
                    self.outbox.set_aside(result.key)
        room = self.output.room()
        for row in self.outbox.take(room, room, self.output.blocked()):
            self.output.send(row.key, row.message)
        self.output.wait(0.02)

    def delivered(self) -> bool:
        self.turn()
        return self.outbox.empty()


def network_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if "mqtt" in one.name}


@contextmanager
def delivering(port: int, **settings: object) -> Iterator[Delivery]:
    delivery = Delivery(port, **settings)
    before = network_threads()
    try:
        yield delivery
    finally:
        delivery.output.close(encoder().status(stamp(), "stopped"))
        delivery.outbox.close()
        # The thread that connects ends by itself, when the operating system lets it.
        wait_for(lambda: not network_threads() - before, "no thread is left behind")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_acknowledges_gets_each_row_once(version: str) -> None:
    with OddBroker() as broker, delivering(broker.port, version=version) as delivery:
        messages = level_messages(50)
        delivery.outbox.add(messages)
        wait_for(delivery.delivered, "all rows are delivered")
        assert [one.payload for one in broker.published] == [one.payload for one in messages]


def test_the_receive_maximum_is_kept() -> None:
    with (
        OddBroker(connack=RECEIVE_MAXIMUM_2, puback_delay_s=0.01) as broker,
        delivering(broker.port) as delivery,
    ):
        delivery.outbox.add(level_messages(20))
        wait_for(delivery.delivered, "all rows are delivered")
        assert delivery.output.health().window == 2
        assert broker.most_unanswered <= 2


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_never_acknowledges_is_left_and_nothing_is_lost(version: str) -> None:
    silent = OddBroker(puback=lambda _: None)
    with (
        silent as broker,
        delivering(broker.port, version=version, window=5, ack_timeout_s=1) as delivery,
    ):
        delivery.outbox.add(level_messages(30))

        def left_twice() -> bool:
            delivery.turn()
            return broker.connections >= 3

        wait_for(left_twice, "the second connection is given up")
        assert len(delivery.outbox) == 30
        by_connection = [
            sum(one.connection == number for one in broker.published) for number in (1, 2)
        ]
        assert by_connection == [5, 5]
        assert "no PUBACK for 1 s" in str(delivery.output.health().last_error)


def test_back_off_grows_over_a_broker_that_closes_at_each_publish() -> None:
    with (
        OddBroker(puback=lambda _: -1) as broker,
        delivering(broker.port, window=1) as delivery,
    ):
        delivery.outbox.add(level_messages(3))
        turned = threading.Event()
        timer = threading.Timer(4.0, turned.set)
        timer.start()
        while not turned.is_set():
            delivery.turn()
        timer.join()
        # 0, then 1, 2, 4 s later, each times 0.5 to 1.5: in 4 s at most 0, .5, 1.5, 3.5.
        assert 2 <= broker.connections <= 4
        assert len(delivery.outbox) == 3


def test_one_poisonous_row_is_set_aside_and_the_rest_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_agent.mqtt.BACK_OFF_S", 0.05)
    messages = level_messages(8)

    def refuses_the_third(publish: Publish) -> int:
        return -1 if publish.payload == messages[2].payload else 0

    with OddBroker(puback=refuses_the_third) as broker, delivering(broker.port) as delivery:
        delivery.outbox.add(messages)
        wait_for(delivery.delivered, "the others are delivered")
        assert delivery.outbox.health().set_aside == 1
        taken = {one.payload for one in broker.published}
        assert {one.payload for one in messages} == taken


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_nothing_is_lost_over_connections_that_are_cut_at_random(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.mqtt.BACK_OFF_S", 0.02)
    rng = random.Random(11)
    messages = level_messages(250)

    # A cut throws away what waits unread in the socket, and the acknowledgements on their way.
    def cuts(_: Publish) -> int:
        return -1 if rng.random() < 0.05 else 0

    with OddBroker(puback=cuts) as broker, delivering(broker.port, version=version) as delivery:
        delivery.outbox.add(messages)
        wait_for(delivery.delivered, "all rows are delivered")
        assert broker.connections > 5
        assert delivery.outbox.health().set_aside == 0
        found = {msgspec.json.decode(one.payload)["id"] for one in broker.published}
        assert found == {one.id for one in messages}
        # At most a window of repetitions for each cut.
        assert len(broker.published) - len(messages) <= 20 * broker.connections


def test_a_denied_topic_is_named_and_does_not_hold_up_the_others() -> None:
    def denies_levels(publish: Publish) -> int:
        return 0x87 if "levels" in publish.topic else 0

    with OddBroker(puback=denies_levels) as broker, delivering(broker.port) as delivery:
        delivery.outbox.add([*level_messages(1), *encoder().encode(alert(), stamp())])

        def told() -> bool:
            delivery.turn()
            return len(delivery.outbox) == 1 and bool(delivery.output.faults())

        wait_for(told, "the alert is delivered")
        assert delivery.output.faults() == ["mqtt_denied:earshot/default/local/levels/1s"]


def test_a_busy_broker_gets_the_row_again_later() -> None:
    answers = iter([0x97, 0, 0])
    with (
        OddBroker(puback=lambda _: next(answers)) as broker,
        delivering(broker.port) as delivery,
    ):
        delivery.outbox.add(level_messages(1))
        wait_for(delivery.delivered, "the row is delivered at the second attempt")
        assert len(broker.published) == 2


def test_a_row_above_the_packet_size_never_leaves() -> None:
    with OddBroker(connack=MAXIMUM_PACKET_512) as broker, delivering(broker.port) as delivery:
        small = encoder().states(stamp())
        delivery.outbox.add([*level_messages(1), *small])
        assert len(level_messages(1)[0].payload) < 512  # it is the topic that makes it too long
        wait_for(delivery.delivered, "the small one is delivered")
        assert delivery.outbox.health().set_aside == 1
        assert [one.payload for one in broker.published] == [small[0].payload]


def test_a_refusal_is_named_and_the_password_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.mqtt.REFUSED_BACK_OFF_S", 0.05)
    secret = tmp_path / "password"
    secret.write_text("first\n")
    with (
        OddBroker(connack=REFUSED) as broker,
        delivering(broker.port, username="ear", password_file=str(secret)) as delivery,
    ):

        def refused() -> bool:
            delivery.turn()
            return bool(delivery.output.faults())

        wait_for(refused, "the refusal is seen")
        assert delivery.output.faults() == ["mqtt_refused:Not authorized"]
        secret.write_text("second\n")

        def tried_again() -> bool:
            delivery.turn()
            return any(one.endswith(b"second") for one in broker.connects)

        wait_for(tried_again, "the new password is used")
        assert broker.connects[0].endswith(b"\x00\x03ear\x00\x05first")


def test_auto_falls_back_to_the_older_version_and_stays_there() -> None:
    with OddBroker(connack=UNSUPPORTED) as broker, delivering(broker.port) as delivery:

        def tried_both() -> bool:
            delivery.turn()
            return len(broker.connects) >= 3

        wait_for(tried_both, "three attempts were made")
        # The byte after the protocol's name is the version: 5, then 4 for 3.1.1.
        assert [body[6] for body in broker.connects[:3]] == [5, 4, 4]


def test_retained_states_go_out_plain_where_the_broker_keeps_none() -> None:
    with OddBroker(connack=NO_RETAIN) as broker, delivering(broker.port) as delivery:
        delivery.outbox.add(encoder().states(stamp()))
        wait_for(delivery.delivered, "the state is delivered")
        assert delivery.output.faults() == ["mqtt_no_retain"]


def test_a_missing_broker_is_an_error_in_words_and_not_an_exception() -> None:
    with delivering(free_port()) as delivery:

        def tried() -> bool:
            delivery.turn()
            return delivery.output.health().last_error is not None

        wait_for(tried, "the attempt has failed")
        assert "ConnectionRefusedError" in str(delivery.output.health().last_error)


def test_a_broker_that_says_nothing_does_not_hold_up_the_end() -> None:
    with OddBroker(connack=None) as broker, delivering(broker.port) as delivery:

        def connecting() -> bool:
            delivery.turn()
            return bool(broker.connects)

        wait_for(connecting, "CONNECT was sent")
        assert not delivery.output.connected
