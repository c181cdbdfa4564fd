"""A minute in which everything fails at random, with real processes: what was told arrives.

Sound server, capture process, agent and broker are killed or go away and come back. The truth needs
no counting beside the agent: `seq` numbers all that a start of it queued, and `n` all that it told
of an alert, so what was lost would be a hole.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_agent.payloads import AlertPayload, EventPayload, LevelPayload
from tests.real.broker import Mosquitto, Subscriber, subscribed, wait_for
from tests.real.sound import CLOCK, MONO, pactl

pytestmark = [pytest.mark.real, pytest.mark.slow]

FAULTS = 16
LOUD_S = 2.0
PAUSE_S = 2.0
# A start, its first second of sound, and the batch of levels that a kill may cost.
LOST_BY_A_KILL_S = 14
BROKER = (
    "allow_anonymous true\npersistence true\nautosave_on_changes true\nautosave_interval 1\n"
    "persistence_location {folder}/\nmax_queued_messages 0\nmax_inflight_messages 0\n"
)
CONFIG = """
microphones:
  mast: {{device: mic0}}
alerts:
  loud: {{indicator: LAeq, above_dbfs: -40, for_s: 1}}
mqtt: {{host: 127.0.0.1, port: {port}, drain_per_s: 1000}}
state_dir: {folder}/state
"""


class Service:
    """`edge-agent run`, which is started again after each death, as systemd would."""

    def __init__(self, folder: Path, port: int) -> None:
        self._outbox = folder / "state" / "outbox.db"
        self._config = folder / "agent.yaml"
        self._config.write_text(CONFIG.format(folder=folder, port=port))
        self._log = folder / "agent.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(self._config)],
                stderr=log,
            )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def kill_capture(self) -> None:
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def waiting(self) -> int:
        """Rows on the disk, of all starts; what is delivered at once never gets there."""
        with closing(sqlite3.connect(self._outbox, isolation_level=None)) as database:
            (count,) = database.execute("SELECT count(*) FROM rows").fetchone()
            return int(count)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)


@contextmanager
def shouting(path: Path) -> Iterator[None]:
    """Noise for two seconds and silence for as long, again and again, while there is a sink."""
    noise = np.random.default_rng(1).normal(0, 0.1, round(48_000 * LOUD_S)).astype(np.float32)
    soundfile.write(path, noise, 48_000)  # noqa: TID251
    ended = threading.Event()

    def play() -> None:
        while not ended.wait(PAUSE_S):
            subprocess.run(["paplay", "--device=mic", str(path)], check=False, capture_output=True)

    player = threading.Thread(target=play)
    player.start()
    try:
        yield
    finally:
        ended.set()
        player.join()


def holes(numbers: set[int], first: int) -> set[int]:
    return set(range(first, max(numbers) + 1)) - numbers


def test_what_was_told_arrives_whatever_fails(server: None, tmp_path: Path) -> None:
    rng = random.Random(4)
    kills = 0
    with Mosquitto(tmp_path, BROKER.format(folder=tmp_path)) as broker:
        broker.start()
        options = ("-c", "-i", "night")
        with subscribed(broker, *options) as subscriber, shouting(tmp_path / "loud.wav"):
            service = Service(tmp_path, broker.port)
            started_ns = CLOCK.monotonic_ns()
            away_s = 0.0
            try:
                wait_for(lambda: alerts(subscriber) != [], "the first alert", 30)
                for _ in range(FAULTS):
                    CLOCK.wait(rng.uniform(1, 5))
                    match rng.choice(("agent", "capture", "broker", "sink")):
                        case "agent":
                            service.kill()
                            service.start()
                            kills += 1
                        case "capture":
                            service.kill_capture()
                            away_s += 3
                        case "broker":
                            broker.stop()
                            CLOCK.wait(rng.uniform(0, 3))
                            broker.start()
                        case "sink":
                            pactl("unload-module", "module-null-sink")
                            CLOCK.wait(rng.uniform(0, 3))
                            pactl("load-module", *MONO.split())
                            away_s += 10
                before = len(alerts(subscriber))
                wait_for(lambda: len(alerts(subscriber)) > before, "an alert after all faults", 60)
                heard_s = (CLOCK.monotonic_ns() - started_ns) / 1e9
                # What a killed start left follows up to half a minute after what is told now.
                wait_for(lambda: service.waiting() == 0, "the backlog arrives", 90)
                assert service.stop() == 0
                wait_for(lambda: all_ended(subscriber), "every alert ends")
            finally:
                service.kill()
            told = [
                one
                for one in subscriber.payloads("")
                if isinstance(one, LevelPayload | EventPayload | AlertPayload)
            ]
    assert kills
    numbers: dict[str, set[int]] = defaultdict(set)
    phases: dict[str, dict[int, str]] = defaultdict(dict)
    for one in told:
        numbers[one.boot].add(one.seq)
        if not isinstance(one, LevelPayload):
            assert phases[one.id].setdefault(one.n, one.phase) == one.phase
    assert len(numbers) == kills + 1
    for found in numbers.values():
        assert not holes(found, 1)
    for by_n in phases.values():
        assert not holes(set(by_n), 0)
        assert [by_n[n] for n in (0, max(by_n))] == ["start", "end"]
    seconds = {one.start for one in told if isinstance(one, LevelPayload)}
    assert len(seconds) >= heard_s - away_s - LOST_BY_A_KILL_S * (kills + 1)


def alerts(subscriber: Subscriber) -> list[AlertPayload]:
    found = subscriber.payloads("/alerts/")
    return [one for one in found if isinstance(one, AlertPayload)]


def all_ended(subscriber: Subscriber) -> bool:
    phases: dict[str, set[str]] = defaultdict(set)
    for one in alerts(subscriber):
        phases[one.id].add(one.phase)
    return all("end" in found for found in phases.values())
