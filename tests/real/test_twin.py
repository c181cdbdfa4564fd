"""Two devices of one name, and a broker that flaps, before a real mosquitto.

mosquitto 2.0 gives neither of them a reason. The clock runs twenty times as fast as the one on the
wall, so that half a minute of it is waited for in two seconds.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config import MqttConfig
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from tests.real.broker import Mosquitto, wait_for
from tests.sample_records import encoder, level_messages, stamp

pytestmark = pytest.mark.real

FASTER = 20


class Fast(SystemClock):
    def monotonic_ns(self) -> int:
        return super().monotonic_ns() * FASTER


class Device:
    """Delivers a message at each connection, as `status` is."""

    def __init__(self, port: int, seed: int, version: str) -> None:
        config = MqttConfig(host="127.0.0.1", port=port, version=version)  # type: ignore[arg-type]
        self._clock = Fast()
        self._outbox = Outbox(None, self._clock, max_bytes=1_000_000)
        self.output = MqttOutput(
            config, "twin", encoder().will(), self._clock, random.Random(seed), backlog_wait_s=0
        )
        self.delivered = 0
        self.waits_s: list[float] = []
        self._lost_ns: int | None = None

    def turn(self) -> None:
        was = self.output.connected
        self.output.turn()
        now_ns = self._clock.monotonic_ns()
        if was and not self.output.connected:
            self._lost_ns = now_ns
        if self.output.take_newly_connected():
            if self._lost_ns is not None:
                self.waits_s.append((now_ns - self._lost_ns) / 1e9)
            self._outbox.add(level_messages(1))
        for result in self.output.results():
            self.delivered += result.outcome == "done"
            if result.outcome == "done":
                self._outbox.acknowledge(result.key)
            else:
                self._outbox.give_back(result.key)
        for row in self._outbox.take(self.output.room(), 5, frozenset()):
            self.output.send(row.key, row.message)

    def close(self) -> None:
        self.output.close(encoder().status(stamp(), "stopped"))
        self._outbox.close()


@contextmanager
def devices(port: int, number: int, version: str) -> Iterator[list[Device]]:
    found = [Device(port, seed, version) for seed in range(number)]
    try:
        yield found
    finally:
        for device in found:
            device.close()


def all_turn(found: list[Device], condition: Callable[[], bool]) -> Callable[[], bool]:
    def turned() -> bool:
        for device in found:
            device.turn()
        return condition()

    return turned


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_devices_of_one_name_are_found_out_and_stop_fighting(
    tmp_path: Path, version: str
) -> None:
    with Mosquitto(tmp_path) as broker, devices_before(broker, 2, version) as found:
        one, other = found

        def told() -> bool:
            return any("mqtt_twin" in device.output.faults() for device in found)

        wait_for(all_turn(found, told), "one of them says so", 60)
        assert "mqtt_twin" in one.output.faults() or "mqtt_twin" in other.output.faults()
        away = one if "mqtt_twin" in one.output.faults() else other
        left = other if away is one else one
        wait_for(all_turn(found, lambda: left.output.connected), "the other one has its place", 30)
        assert not away.output.connected


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_flaps_is_met_again_within_seconds_and_accused_of_nothing(
    tmp_path: Path, version: str
) -> None:
    with Mosquitto(tmp_path) as broker, devices_before(broker, 1, version) as found:
        (device,) = found
        for flaps in range(1, 5):
            wait_for(
                all_turn(found, lambda n=flaps: device.delivered >= n),  # type: ignore[misc] # bound
                "it delivers",
                30,
            )
            # Back before the device comes again: nothing tells it from a twin.
            broker.kill()
            broker.start()
            wait_for(all_turn(found, lambda: not device.output.connected), "it is lost")
            assert device.output.faults() == []
        wait_for(all_turn(found, lambda: device.delivered >= 5), "it delivers at last", 30)
        assert device.output.faults() == []
        # 1, 2, 4 and 8 s, each times 0.5 to 1.5, and a second of this machine's.
        for wait_s, most_s in zip(device.waits_s, (1.5, 3, 6, 12), strict=True):
            assert wait_s <= most_s + FASTER


@contextmanager
def devices_before(broker: Mosquitto, number: int, version: str) -> Iterator[list[Device]]:
    broker.start()
    with devices(broker.port, number, version) as found:
        yield found
