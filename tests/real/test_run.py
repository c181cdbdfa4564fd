"""The installed command as a service: a process, a real mosquitto, sound on its stdin."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_agent.payloads import AlertPayload, HealthPayload, LevelPayload, StatusPayload
from tests.real.broker import Mosquitto, Subscriber, free_port, subscribed, wait_for

pytestmark = pytest.mark.real

_CONFIG = """
microphones:
  mic: {{{microphone}}}
alerts:
  loud: {{indicator: LAeq, above_dbfs: -40, for_s: 1}}
mqtt: {{host: 127.0.0.1, port: {port}}}
state_dir: {folder}/state
"""


class Service:
    """`edge-agent run` with noise at -20 dBFS on its stdin, in real time."""

    def __init__(self, folder: Path, port: int) -> None:
        config = folder / "agent.yaml"
        config.write_text(_CONFIG.format(microphone="kind: stdin", port=port, folder=folder))
        self.log = folder / "agent.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
                stdin=subprocess.PIPE,
                stderr=log,
            )
        self._writer = threading.Thread(target=self._write)
        self._writer.start()

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(10)
        self._writer.join()
        return code

    def _write(self) -> None:
        noise = np.random.default_rng(1).normal(0, 0.1 * 2**15, 12_000).astype("<i2").tobytes()
        stdin = self.process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while self.process.poll() is None:
                stdin.write(noise)
                stdin.flush()
                time.sleep(0.25)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()


@contextmanager
def serving(folder: Path, port: int) -> Iterator[Service]:
    service = Service(folder, port)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.end(signal.SIGKILL)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        yield broker


def levels(subscriber: Subscriber) -> list[LevelPayload]:
    return [one for one in subscriber.payloads("/levels/") if isinstance(one, LevelPayload)]


def alerts(subscriber: Subscriber) -> list[AlertPayload]:
    return [one for one in subscriber.payloads("/alerts/") if isinstance(one, AlertPayload)]


def statuses(subscriber: Subscriber) -> list[tuple[str, str | None]]:
    found = subscriber.payloads("/status")
    return [(one.state, one.reason) for one in found if isinstance(one, StatusPayload)]


def test_a_level_comes_each_second_and_sigterm_ends_all_that_is_open(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with subscribed(mosquitto) as subscriber, serving(tmp_path, mosquitto.port) as service:
        wait_for(lambda: len(levels(subscriber)) >= 3, "three levels arrive", 30)
        wait_for(lambda: len(alerts(subscriber)) >= 1, "the alert starts")
        started = time.monotonic()
        assert service.end(signal.SIGTERM) == 0, service.log.read_text()
        assert time.monotonic() - started < 5
        wait_for(lambda: len(statuses(subscriber)) == 2, "the last status arrives")
        assert statuses(subscriber) == [("online", None), ("offline", "stopped")]
        # An A-weighted level of white noise at -20 dBFS (RMS 0.1; a sine of full scale is 0 dBFS,
        # hence +3) lies between that and 3 dB below: the curve is within 1.3 dB from 1 to 6 kHz
        # and falls on both sides.
        whole = [one for one in levels(subscriber) if one.complete]
        assert all(one.laeq_dbfs == pytest.approx(-19, abs=2.5) for one in whole)
        starts = [one.start for one in levels(subscriber)]
        assert len(set(starts)) == len(starts)
        ends = [one for one in alerts(subscriber) if one.phase == "end"]
        assert [one.end_reason for one in ends] == ["stopped"]
        assert any(isinstance(one, HealthPayload) for one in subscriber.payloads("/health"))


def test_after_kill_9_the_will_comes_and_the_next_start_ends_the_alert(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with subscribed(mosquitto) as subscriber:
        with serving(tmp_path, mosquitto.port) as first:
            wait_for(lambda: len(alerts(subscriber)) >= 1, "the alert starts", 30)
            first.end(signal.SIGKILL)
        wait_for(lambda: ("offline", "lost") in statuses(subscriber), "the will arrives")
        with serving(tmp_path, mosquitto.port) as second:
            wait_for(
                lambda: any(one.end_reason == "restart" for one in alerts(subscriber)),
                "the alert is ended",
                30,
            )
            second.end(signal.SIGTERM)
        opened = {one.id for one in alerts(subscriber) if one.phase == "start"}
        ended = [one.id for one in alerts(subscriber) if one.phase == "end"]
        # Exactly one end for each start, whoever sent it.
        assert sorted(opened) == sorted(ended)


def test_without_a_broker_it_starts_keeps_what_it_hears_and_stops_in_time(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, free_port()) as service:
        wait_for(lambda: (tmp_path / "state" / "outbox.db").exists(), "it starts", 30)
        wait_for(lambda: "fault" in service.log.read_text(), "it listens", 30)
        started = time.monotonic()
        assert service.end(signal.SIGINT) == 0
        assert time.monotonic() - started < 5


@pytest.mark.data
def test_a_recording_is_delivered_and_the_service_ends_with_it(
    tmp_path: Path, mosquitto: Mosquitto, data_root: Path
) -> None:
    clip = data_root / "urbansound8k" / "fold1" / "101415-3-0-2.opus"  # 4 s of a dog
    config = tmp_path / "agent.yaml"
    microphone = f"kind: file, path: {clip}"
    config.write_text(_CONFIG.format(microphone=microphone, port=mosquitto.port, folder=tmp_path))
    with subscribed(mosquitto) as subscriber:
        command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        wait_for(lambda: ("offline", "stopped") in statuses(subscriber), "the last word")
        periods = [one.period_s for one in levels(subscriber)]
        # Four seconds in real time: a UTC minute may end in them.
        assert periods.count(1) >= 4
        assert periods.count(60) == len(periods) - periods.count(1) <= 1


def test_the_default_name_is_refused_at_a_broker_elsewhere(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("mqtt: {host: broker.example}\n")
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"{config}: site.device: 'local' at the broker" in ended.stderr
    assert "two devices of one name would throw each other out" in ended.stderr
    assert "site: {device: ear-0042}" in ended.stderr


def test_a_state_folder_belongs_to_one_agent(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with subscribed(mosquitto) as subscriber, serving(tmp_path, mosquitto.port) as first:
        wait_for(lambda: len(alerts(subscriber)) >= 1, "the first one's alert starts", 30)
        command = [sys.executable, "-m", "edge_agent", "run", "--config"]
        second = subprocess.run(
            [*command, str(tmp_path / "agent.yaml")],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 2, second.stderr
        assert f"{tmp_path / 'state'}: is in use by another agent" in second.stderr
        assert "give this one a `state_dir` of its own" in second.stderr
        assert first.process.poll() is None
        assert [one.phase for one in alerts(subscriber) if one.phase == "end"] == []


def test_a_recording_that_breaks_off_ends_its_alert_and_not_the_others(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 48_000 * 8)
    for name, seconds in (("whole", 8), ("broken", 5), ("second", 6)):
        path = tmp_path / f"{name}.flac"
        soundfile.write(path, noise[: 48_000 * seconds], 48_000)  # noqa: TID251
        if name != "whole":
            # Only the decoder finds that the end of a FLAC is missing.
            path.write_bytes(path.read_bytes()[:-1000])
    broken = tmp_path / "broken.flac"
    config = tmp_path / "agent.yaml"
    microphones = (
        "kind: file, path: broken.flac}\n"
        "  second: {kind: file, path: second.flac}\n"
        "  other: {kind: file, path: whole.flac"
    )
    config.write_text(_CONFIG.format(microphone=microphones, port=mosquitto.port, folder=tmp_path))
    with subscribed(mosquitto) as subscriber:
        ended = subprocess.run(
            [sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        wait_for(lambda: ("offline", "stopped") in statuses(subscriber), "the last word")
        assert ended.returncode == 2, ended.stderr
        assert f"ERROR microphone mic ended: {broken}: " in ended.stderr
        assert "ERROR microphone second ended: " in ended.stderr
        wrong, hint = ended.stderr.splitlines()[-2:]
        assert wrong.startswith(f"edge-agent: {broken}: ")
        assert hint.startswith("  ")
        assert "Traceback" not in ended.stderr
        heard = {one.microphone: 0.0 for one in levels(subscriber)}
        for one in levels(subscriber):
            heard[one.microphone] += one.period_s
        assert heard["other"] >= 7
        started = {one.id for one in alerts(subscriber) if one.phase == "start"}
        closed = [one.id for one in alerts(subscriber) if one.phase == "end"]
        assert len(started) == 3
        assert sorted(started) == sorted(closed)
