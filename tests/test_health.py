"""The heartbeat: ages that no step of the clock can fake, and the steps themselves."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.clock import SimulatedClock
from edge_agent.config import MicrophoneConfig
from edge_agent.health import Monitor, worst_first
from edge_agent.records import Block, Health, MqttHealth, OutboxHealth
from tests.sample_records import SHA256

HOUR_S = 3600.0


class SettableClock(SimulatedClock):
    """A wall clock that somebody sets while time passes."""

    def __init__(self) -> None:
        super().__init__(1_780_000_000_000_000_000)
        self._set_ns = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self._set_ns

    def set_by(self, seconds: float) -> None:
        self._set_ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def monitor(clock: SettableClock, tmp_path: Path) -> Monitor:
    # The folder is empty: a machine that tells nothing.
    return Monitor(clock, {"mic": MicrophoneConfig()}, None, SHA256, SHA256, tmp_path)


def block(clock: SettableClock) -> Block:
    return Block(
        microphone="mic",
        samples=np.zeros(0, np.float32),
        rate=48000,
        bandwidth_hz=24000.0,
        first=0,
        start_ns=clock.utc_ns(),
        synced=False,
    )


def report(monitor: Monitor) -> Health:
    return monitor.report(
        monitor.faults([]),
        [],
        OutboxHealth(rows=0, waiting={}, bytes=0, oldest_s=0.0, dropped={}, set_aside=0),
        MqttHealth(version=None, connects=0, last_error=None, window=20, unheard=0),
    )


@pytest.mark.parametrize("step_s", [-HOUR_S, 0.0, HOUR_S])
def test_each_link_of_the_chain_has_its_age_whatever_the_wall_clock_does(
    monitor: Monitor, clock: SettableClock, step_s: float
) -> None:
    told = report(monitor)
    assert (told.last_block_s, told.last_inference_s, told.last_ack_s) == (None, None, None)
    monitor.acknowledged()
    clock.wait(2)
    monitor.inference()
    clock.wait(0.5)
    monitor.block(block(clock), [])
    clock.set_by(step_s)
    clock.wait(1)
    told = report(monitor)
    assert (told.last_block_s, told.last_inference_s, told.last_ack_s) == (1.0, 1.5, 3.5)


def test_steps_of_the_wall_clock_are_counted_and_told(
    monitor: Monitor, clock: SettableClock
) -> None:
    for set_s in (0.0, 0.4, HOUR_S, 0.0, -0.6, 0.0):
        clock.wait(1)
        clock.set_by(set_s)
        monitor.faults([])
    clock.wait(2)
    told = report(monitor).clock
    # 0.4 s is none; the last was a second before the last look.
    assert (told.steps, told.last_step_s, told.last_step_age_s) == (2, -0.6, 3.0)


def test_slewing_is_no_step_however_long_it_goes_on(monitor: Monitor, clock: SettableClock) -> None:
    for _ in range(3600):
        clock.wait(1)
        clock.set_by(0.0005)  # the most that the kernel slews
        monitor.faults([])
    told = report(monitor).clock
    assert (told.steps, told.last_step_s, told.last_step_age_s) == (0, None, None)


def test_what_loses_sound_stands_before_what_only_lacks_something() -> None:
    faults = ["alert_uncalibrated:loud", "clock_unsynced", "dead:mic", "mqtt_refused:password"]
    assert worst_first(faults)[:2] == ["dead:mic", "mqtt_refused:password"]
