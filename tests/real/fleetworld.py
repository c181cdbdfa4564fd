"""A fleet in simulated time before a real broker: thirty devices that take what is published.

Folder, guard, trial and TUF client of each device are the real ones, as are its words and its
connection, with a certificate of its own. Only the agent is played (tests/updates.py), and time
passes when the office waits.
"""

import random
import time
from pathlib import Path
from typing import Self

from edge_agent import releasestate
from edge_agent.clock import SimulatedClock, SystemClock
from edge_agent.config import MqttConfig
from edge_agent.connection import Accepted, Answered, Connection
from edge_agent.fleet.listening import Address, Listener, Reader
from edge_agent.records import Message
from edge_agent.updating import device as devices
from edge_agent.updating import fetching
from edge_agent.updating.releases import Releases
from edge_agent.updating.repository import Repository
from edge_agent.updating.trial import Trial
from tests.real.broker import wait_for
from tests.real.fleetbroker import Broker
from tests.spoken import Voice
from tests.updates import PlayedAgent

MINUTE_NS = 60_000_000_000
_SHORT_S = 1.0
"""What is shorter is a wait for the broker, which is real."""


class _DeviceClock(SimulatedClock):
    """Whoever lets it pass hears the device speak meanwhile."""

    def __init__(self, start_ns: int, device: "Device") -> None:
        super().__init__(start_ns)
        self._device = device

    def wait(self, seconds: float) -> None:
        end_ns = self.utc_ns() + round(seconds * 1e9)
        while self.utc_ns() < end_ns:
            self.advance_to(min(end_ns, self.utc_ns() + 5_000_000_000))
            self._device.speak()


class Device:
    """One device.

    Args:
        path: For its files, with the seed in `etc`.
        name: Of the device.
        site: Of its topics.
        repo: What it looks at each quarter of an hour.
        start_ns: UTC.
        model_sha256: What it runs.
    """

    def __init__(
        self, path: Path, name: str, site: str, repo: Path, start_ns: int, model_sha256: str
    ) -> None:
        self.name = name
        self.clock = _DeviceClock(start_ns, self)
        self.releases = Releases(path / "config")
        self.said: list[tuple[int, Message]] = []
        """What is to be delivered, with the time when it was said."""
        self._repo = repo
        self._root = (repo / "metadata" / "1.root.json").read_bytes()
        self._voice = Voice(site, name, model_sha256)
        self._settings = devices.Settings(repository=str(repo), device=name)
        self._next_ns = start_ns + round(random.Random(name).uniform(1, 15) * MINUTE_NS)
        self._spoke_ns = 0
        self._told: object = None
        seeds = (path / "etc" / "config.json",)
        self.agent = PlayedAgent(self.releases, seeds, self.clock, "boot-1", {"127.0.0.1"})
        self._trial = Trial(
            self.releases, self.agent, self.clock, lambda _: None, boot=lambda: "boot-1"
        )
        self.agent.restart()

    def live(self, until_ns: int) -> None:
        """Go on until then; a trial may take it further."""
        while self.clock.utc_ns() < until_ns:
            if self.clock.utc_ns() >= self._next_ns:
                self._update()
                self._next_ns = self.clock.utc_ns() + 16 * MINUTE_NS
            else:
                left_ns = min(until_ns, self._next_ns) - self.clock.utc_ns()
                self.clock.wait(left_ns / 1e9)

    def speak(self) -> None:
        """As the agent does: at a connection, each minute, and when its release changed."""
        beat, now_ns = self.agent.beat(), self.clock.utc_ns()
        if beat is None or beat.ack_ns is None:
            self._told = None
            return
        release = releasestate.read(self.releases.path / "current" / "config.json")
        told = (beat.started_ns, beat.config_sha256, release)
        if self._told is None or now_ns - self._spoke_ns >= MINUTE_NS:
            messages = [self._voice.health(now_ns, beat.faults)]
            if told != self._told:
                messages.insert(0, self._voice.info(now_ns, beat.config_sha256, release))
                messages.insert(0, self._voice.online(now_ns))
            self.said += [(now_ns, message) for message in messages]
            self._spoke_ns, self._told = now_ns, told

    def _update(self) -> None:
        state = self._trial.resume()
        view = Repository(
            self.releases.tuf, self._root, fetching.origin(str(self._repo), self.clock)
        )
        found = view.offer(self.name)
        if found is None or found[0].release <= state.highest:
            return
        release, parcel = view.parcel(self.name, *found)
        self.releases.stage(release, parcel, None)
        delay_s = devices.delay_s(self._settings, release.release, found[0].window_s)
        self._trial.take(release.release, delay_s)


class World(SimulatedClock):
    """The office's clock: whoever waits by it lets the devices live, and hears of it.

    Args:
        broker: Where all of them talk.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(SystemClock().utc_ns())
        self.devices: dict[str, Device] = {}
        self.ears: list[Ear] = []
        self.waits = 0
        self.broker = broker
        self._lines: dict[str, Connection] = {}

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        if seconds < _SHORT_S:
            time.sleep(seconds)
            return
        self.waits += 1
        self.live()

    def live(self) -> None:
        """Everybody up to now, and what was said is with the office."""
        now_ns = self.utc_ns()
        due: dict[str, list[Message]] = {}
        for name, device in self.devices.items():
            device.live(now_ns)
            due[name] = [message for at_ns, message in device.said if at_ns <= now_ns]
            device.said = device.said[len(due[name]) :]
        awaited = [
            (ear, ear.live + sum(map(len, due.values()))) for ear in self.ears if ear.subscribed
        ]
        for name, messages in due.items():
            for message in messages:
                self._line(name).publish(message, retain=message.retain, expiry_s=None)
        for name, messages in due.items():
            if messages:
                _acknowledged(self._line(name), len(messages))
        for ear, number in awaited:
            _heard(ear, number)

    def close(self) -> None:
        """End the connections."""
        for line in self._lines.values():
            line.end()

    def _line(self, name: str) -> Connection:
        if name not in self._lines:
            config = MqttConfig(
                host="127.0.0.1",
                port=self.broker.port,
                tls=self.broker.tls(f"devices/{name}"),
                window=1000,
                keepalive_s=3600,
            )
            line = self._lines[name] = Connection(config, name, None, "5", lambda: None)
            line.start()
            wait_for(lambda: bool(line.happened), "the broker answers")
            assert isinstance(line.happened.popleft(), Accepted)
        return self._lines[name]


def _acknowledged(line: Connection, number: int) -> None:
    wait_for(lambda: len(line.happened) >= number, "all is acknowledged")
    assert all(isinstance(one, Answered) and one.code < 0x80 for one in line.happened)
    line.happened.clear()


def _heard(ear: "Ear", number: int) -> None:
    wait_for(lambda: ear.live >= number or not ear.subscribed, "the office hears")


class Ear(Listener):
    """The office's listener, whose messages are counted."""

    world: World

    def __init__(
        self, address: Address, reader: Reader | None, clock: World, *others: object
    ) -> None:
        assert not others
        super().__init__(address, reader, clock)
        self.live = 0
        self.world = clock

    def __enter__(self) -> Self:
        self.world.ears.append(self)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.world.ears.remove(self)
        super().__exit__(None, None, None)

    def _on_message(self, client: object, userdata: object, message: object) -> None:
        super()._on_message(client, userdata, message)  # type: ignore[arg-type]
        self.live += not message.retain  # type: ignore[attr-defined]
