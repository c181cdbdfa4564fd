"""The whole way: office, web server, `fetch`, guard, the real agent, a real broker.

Only systemd is played, by starting and stopping the very processes that it would.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent import heartbeat
from edge_agent.clock import SystemClock
from edge_agent.heartbeat import Beat
from edge_agent.payloads import InfoPayload
from edge_agent.records import ReleaseState
from edge_agent.updating import fetching
from edge_agent.updating.releases import Releases
from edge_agent.updating.repository import Repository
from edge_agent.updating.service import problems
from edge_agent.updating.state import State
from edge_agent.updating.trial import Limits, Trial
from tests.offices import Office, Server, serving
from tests.real.broker import Mosquitto, Subscriber, free_port, subscribed, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

CLOCK = SystemClock()
LIMITS = Limits(trial_s=45, settle_s=3, poll_s=0.5)
"""Of simulated time the other tests have plenty."""


class Systemd:
    """Starts the agent as the unit and its drop-in say, and again when it ends.

    Args:
        folder: Of the device; holds updates.json.
    """

    def __init__(self, folder: Path) -> None:
        self.runtime = folder / "run"
        self.runtime.mkdir()
        self._settings = folder / "etc" / "updates.json"
        self._config = folder / "config" / "current" / "config.json"
        self._log = (folder / "agent.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._again = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> None:
        self._again.set()
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._again.set()
        self._end()
        self._thread.join()
        self._log.close()

    def restart(self) -> None:
        self._end()
        self._again.set()

    def beat(self) -> Beat | None:
        return heartbeat.read(self.runtime)

    def problems(self, releases: Releases, number: int) -> str | None:
        return problems(releases, number)

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def _serve(self) -> None:
        noise = np.random.default_rng(1).normal(0, 0.1 * 2**15, 12_000).astype("<i2").tobytes()
        while True:
            self._again.wait()
            if self._over.is_set():
                return
            self._again.clear()
            (self.runtime / heartbeat.FILE).unlink(missing_ok=True)
            program = [sys.executable, "-m", "edge_agent"]
            guard = [*program, "config", "guard", "--settings", str(self._settings)]
            subprocess.run(guard, check=False, stdout=self._log, stderr=self._log)
            self._process = subprocess.Popen(
                [*program, "run", "--config", str(self._config)],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                env=os.environ | {"RUNTIME_DIRECTORY": str(self.runtime)},
            )
            self._play(self._process, noise)
            if not self._again.is_set():
                # It ended by itself: RestartSec=
                self._over.wait(2)
            self._again.set()

    def _play(self, process: "subprocess.Popen[bytes]", noise: bytes) -> None:
        assert process.stdin is not None
        try:
            while process.poll() is None:
                process.stdin.write(noise)
                process.stdin.flush()
                CLOCK.wait(0.25)
        except BrokenPipeError:
            process.wait()
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


class Device:
    """A device whose agent listens to noise on its stdin."""

    def __init__(self, path: Path, office: Office, url: str) -> None:
        etc = path / "etc"
        etc.mkdir(parents=True)
        settings = {"repository": url, "device": "ear-1", "state_dir": str(path / "config")}
        (etc / "updates.json").write_bytes(msgspec.json.encode(settings))
        self._root = (office.repo / "metadata" / "1.root.json").read_bytes()
        self._url = url
        self.releases = Releases(path / "config")
        self.systemd = Systemd(path)
        self.told: list[str] = []

    def update(self) -> State:
        """As `edge-agent update` does."""
        trial = Trial(self.releases, self.systemd, CLOCK, self.told.append, LIMITS)
        with self.releases.alone():
            state = trial.resume()
            view = Repository(self.releases.tuf, self._root, fetching.origin(self._url, CLOCK))
            found = view.offer("ear-1")
            assert found is not None
            if found[0].release <= state.highest:
                return state
            release, parcel = view.parcel("ear-1", *found)
            self.releases.stage(release, parcel, None)
            return trial.take(release.release, 0.0)

    def hears(self) -> bool:
        beat = self.systemd.beat()
        return beat is not None and beat.ack_ns is not None and beat.inference_ns is not None


def site(folder: Path, port: int, megabytes: int = 64) -> str:
    return (
        "microphones: {mic: {kind: stdin}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {port}}}\n"
        f"outbox: {{max_mb: {megabytes}}}\n"
        f"state_dir: {folder}\n"
    )


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as mosquitto:
        mosquitto.start()
        yield mosquitto


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "office")


@pytest.fixture
def server(office: Office) -> Iterator[Server]:
    with serving(office.repo) as server:
        yield server


def test_an_update_arrives_and_one_with_a_wrong_broker_returns_by_itself(
    tmp_path: Path, mosquitto: Mosquitto, office: Office, server: Server
) -> None:
    state_dir, nobody = tmp_path / "state", free_port()
    office.publish(1, site(state_dir, mosquitto.port))
    device = Device(tmp_path / "device", office, server.url)
    seed = msgspec.json.encode(
        {
            "microphones": {"mic": {"kind": "stdin"}},
            "mqtt": {"host": "127.0.0.1", "port": mosquitto.port},
            "state_dir": str(state_dir),
        }
    )
    (tmp_path / "device" / "etc" / "agent.json").write_bytes(seed)
    device.systemd.start()
    with subscribed(mosquitto, topic="+/+/+/info") as city:
        _updates(tmp_path, mosquitto, office, device, city, nobody)


def told(city: Subscriber) -> list[ReleaseState]:
    """What each `info` said of the release."""
    return [
        one.release
        for one in city.payloads("info")
        if isinstance(one, InfoPayload) and isinstance(one.release, ReleaseState)
    ]


def _updates(
    tmp_path: Path,
    mosquitto: Mosquitto,
    office: Office,
    device: Device,
    city: Subscriber,
    nobody: int,
) -> None:
    state_dir = tmp_path / "state"
    try:
        wait_for(device.hears, "the agent runs from its seed", 60)
        calibration = state_dir / "calibration.json"
        calibration.write_text('{"v": 1, "microphones": {}}')

        state = device.update()
        assert (state.state, state.good) == ("current", 1), (state, device.told)

        office.publish(2, site(state_dir, nobody))
        state = device.update()
        assert (state.state, state.number, state.good) == ("rolled_back", 2, 1), state
        assert f"the broker 127.0.0.1:{nobody} acknowledged nothing" in state.reason
        wait_for(device.hears, "the agent works as before", 60)
        # With the next health, if not at the connection already.
        wait_for(lambda: told(city)[-1].state == "rolled_back", "the office hears of it", 90)
        last = told(city)[-1]
        assert (last.number, last.in_force, last.reason) == (2, 1, state.reason)

        office.publish(3, site(state_dir, mosquitto.port, 32))
        state = device.update()
        assert (state.state, state.good, state.previous) == ("current", 3, 1), state
        assert calibration.read_text() == '{"v": 1, "microphones": {}}'
    finally:
        device.systemd.close()
