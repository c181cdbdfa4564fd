"""A device that takes updates, in simulated time: the real folder, guard and updater.

Only the agent is played: it reads the real configuration in force by the real reader, and shows in
its heartbeat what the real one would show of it.
"""

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edge_agent import __version__, configfile
from edge_agent.clock import SimulatedClock
from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.heartbeat import Beat
from edge_agent.release import SCHEMA, Parcel, Release
from edge_agent.updating.guard import guard
from edge_agent.updating.releases import Releases
from edge_agent.updating.state import State
from edge_agent.updating.trial import Trial

START_NS = 1_790_000_000_000_000_000
GOOD: Mapping[str, object] = {
    "site": {"site": "harbour", "device": "ear-1"},
    "mqtt": {"host": "mq.example"},
}
WRONG_BROKER = {**GOOD, "mqtt": {"host": "mq.exmaple"}}
WRONG_MICROPHONE = {**GOOD, "microphones": {"mic": {"device": "hw:CARD=gone"}}}
CRASHES = {**GOOD, "site": {"site": "crash", "device": "ear-1"}}
SLOWER = {**GOOD, "outbox": {"max_mb": 32}}
"""A release that changes nothing about the connection."""
TOY = b"a model" * 1000
_START_S = 3.0
_RESTART_S = 2.0


class PlayedAgent:
    """The agent's service: started by systemd, with the real guard before each start.

    Args:
        releases: The device's.
        seeds: Where its first configuration stands.
        clock: Moves only when somebody waits.
        boot: Of the kernel.
        brokers: Hosts that answer.
    """

    def __init__(
        self,
        releases: Releases,
        seeds: tuple[Path, ...],
        clock: SimulatedClock,
        boot: str,
        brokers: set[str],
    ) -> None:
        self.brokers = brokers
        self.faults: set[str] = set()
        self.late_faults: set[str] = set()
        """Noticed half a minute after a start."""
        self.starts: list[int | None] = []
        """The release of each."""
        self._releases = releases
        self._seeds = seeds
        self._clock = clock
        self._boot = boot
        self._next_ns: int | None = None
        self._started_ns: int | None = None
        self._config: Config | None = None
        self._ack_ns: int | None = None
        self._sha256 = ""

    def restart(self) -> None:
        """As systemd does without being waited for."""
        self._started_ns = None
        self._next_ns = self._clock.monotonic_ns()
        self._turn()

    def _turn(self) -> None:
        while self._next_ns is not None and self._next_ns <= self._clock.monotonic_ns():
            guard(self._releases, self._seeds, self._clock, lambda: self._boot)
            path = self._releases.path / "current" / "config.json"
            self.starts.append(self._releases.in_force())
            self._config = None
            with contextlib.suppress(ConfigError):
                self._config = configfile.load(path).config
            if self._config is None or self._config.site.site == "crash":
                self._next_ns += round((_START_S + _RESTART_S) * 1e9)
                continue
            self._started_ns = self._next_ns + round(_START_S * 1e9)
            self._ack_ns = None
            self._sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            self._next_ns = None

    def beat(self) -> Beat | None:
        """What its heartbeat says now."""
        self._turn()
        now_ns = self._clock.monotonic_ns()
        if self._config is None or self._started_ns is None or now_ns < self._started_ns:
            return None
        faults = set(self.faults)
        if now_ns - self._started_ns > 30_000_000_000:
            faults |= self.late_faults
        hears = "gone" not in self._config.microphones["mic"].device
        if not hears:
            faults.add("mic_missing:mic")
        reached = self._config.mqtt.host in self.brokers
        if not reached:
            faults.add("mqtt_away")
        since = now_ns if now_ns > self._started_ns else None
        if reached:
            self._ack_ns = since
        return Beat(
            at_ns=now_ns,
            started_ns=self._started_ns,
            ready=True,
            block_ns=since if hears else None,
            inference_ns=since if hears else None,
            ack_ns=self._ack_ns,
            faults=tuple(sorted(faults)),
            config_sha256=self._sha256,
        )

    def problems(self, releases: Releases, number: int) -> str | None:
        """The reader's opinion; that of the whole agent takes a process."""
        found = configfile.problems_of(releases.config(number))
        return str(found[0]) if found else None


class Device:
    """A device with release 41 in force.

    Args:
        path: For its files.
        boot: Of the kernel; with another one it is the same device after a cut of power.
        clock: Given on after a cut.
    """

    def __init__(self, path: Path, boot: str = "boot-1", utc_ns: int = START_NS) -> None:
        self.path = path
        self.told: list[str] = []
        self.clock = SimulatedClock(utc_ns)
        self.releases = Releases(path / "config")
        self.seeds = (path / "etc" / "agent.json",)
        self.calibration = path / "state" / "calibration.json"
        self.agent = PlayedAgent(
            self.releases, self.seeds, self.clock, boot, {"mq.example", "mq2.example"}
        )
        self.trial = Trial(
            self.releases, self.agent, self.clock, self.told.append, boot=lambda: boot
        )

    def set_up(self, number: int = 41) -> "Device":
        """From the seed to a release that works."""
        self.seeds[0].parent.mkdir(parents=True)
        self.seeds[0].write_bytes(msgspec.json.encode(GOOD))
        self.calibration.parent.mkdir()
        self.calibration.write_text("measured here")
        self.boot()
        assert self.update(number, {**GOOD, "outbox": {"max_mb": 16}}).state == "current"
        return self

    def boot(self) -> None:
        """systemd starts the service."""
        self.agent.restart()
        self.clock.wait(20)
        self.agent.beat()

    def state(self) -> State:
        found = self.releases.read_state()
        assert found is not None
        return found

    def update(self, number: int, settings: Mapping[str, object]) -> State:
        """What `edge-agent update` does when it has fetched a release."""
        state = self.trial.resume()
        if number <= state.highest:
            return state
        release, parcel = packed(number, settings)
        self.releases.stage(release, parcel, (Path("models/toy"), toy_model()))
        return self.trial.take(number, 0.0)

    def in_force(self) -> object:
        """The settings that the service reads."""
        return msgspec.json.decode((self.releases.path / "current" / "config.json").read_bytes())


def toy_model() -> bytes:
    """A packed folder with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as files:
        entry = tarfile.TarInfo("model.tflite")
        entry.size = len(TOY)
        files.addfile(entry, io.BytesIO(TOY))
    return packed.getvalue()


def packed(number: int, settings: Mapping[str, object]) -> tuple[Release, Parcel]:
    """A release as the office makes it."""
    config = msgspec.json.encode(settings).decode()
    release = Release(
        device="ear-1",
        release=number,
        config_sha256=hashlib.sha256(config.encode()).hexdigest(),
        model="street",
        model_sha256="0" * 64,
        schema=SCHEMA,
        agent=__version__,
        source=None,
        calibration=None,
    )
    return release, Parcel(config=config, release=msgspec.json.encode(release).decode())
