"""The whole agent behind the classifier on a simulated clock, before a broker that counts.

The worker, the outbox on a real file and the policy of edge_agent/mqtt.py are the real ones. Only
what moves in real time is replaced: the microphone, and the connection below the policy. A real
broker would make a month of it take hours.
"""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event as Flag

import msgspec
import numpy as np

from edge_agent.clock import SimulatedClock
from edge_agent.commands.agent import Agent
from edge_agent.config import MicrophoneConfig, MqttConfig
from edge_agent.connection import Accepted, Answered, Happening, Lost, Unreachable
from edge_agent.health import Monitor
from edge_agent.ids import Ids
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from edge_agent.records import (
    Alert,
    Block,
    CaptureHealth,
    EndReason,
    Event,
    LevelReading,
    Message,
    Record,
)
from tests.sample_records import SHA256, alert, encoder, ended, event, reading

_QUEUED = ("alert", "event", "level")


class Killed(BaseException):
    """The process is gone."""


class JumpingClock(SimulatedClock):
    """Its wall clock can be set."""

    def __init__(self) -> None:
        super().__init__(start_ns=1_780_000_000 * 10**9)
        self._offset_ns = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self._offset_ns

    def jump(self, seconds: float) -> None:
        self._offset_ns = max(-super().utc_ns(), self._offset_ns + round(seconds * 1e9))


class Broker:
    """Counts what it is given; can be away, or take everything and acknowledge nothing."""

    def __init__(self, rng: random.Random) -> None:
        self.up = True
        self.mute = False
        self.cut_share = 0.0
        """Of publishes that end the connection, having been taken or not."""
        self.arrived: Counter[str] = Counter()
        """By the message's id, with its number: as a subscriber counts."""
        self.kinds: Counter[str] = Counter()
        """Different messages by kind."""
        self.replayed = 0
        self.phases: dict[str, dict[int, str]] = defaultdict(dict)
        """Of alerts: phase by number."""
        self.order: list[str] = []
        """Alerts, as they came for the first time."""
        self.said: dict[str, int] = {}
        """What each message said, `replayed` apart."""
        self.faults: Counter[str] = Counter()
        """Reports of health by fault."""
        self._rng = rng

    def connection(self, *args: object) -> "Line":
        """Stands for `edge_agent.mqtt.Connection`."""
        return Line(self)

    def takes(self, message: Message) -> bool:
        """Whether the message came through."""
        if self._rng.random() < self.cut_share / 2:
            return False
        fields = msgspec.json.decode(message.payload)
        self.faults.update(fields.get("faults", []))
        if "seq" in fields:
            name = f"{fields['id']}/{fields['n']}" if "n" in fields else str(fields["id"])
            self._count(name, message, fields)
        return True

    def cuts(self) -> bool:
        return self._rng.random() < self.cut_share / 2

    def _count(self, name: str, message: Message, fields: dict[str, object]) -> None:
        self.arrived[name] += 1
        self.replayed += bool(fields["replayed"])
        # A copy differs in `replayed` at most.
        said = spoken(message)
        assert self.said.setdefault(name, said) == said
        if self.arrived[name] == 1:
            self.kinds[message.kind] += 1
        if message.kind == "alert":
            if self.arrived[name] == 1:
                self.order.append(name)
            self.phases[str(fields["id"])][int(str(fields["n"]))] = str(fields["phase"])


def spoken(message: Message) -> int:
    """What it says, its mark as a replay apart."""
    return hash(message.payload.rpartition(b',"replayed":')[0])


class Line:
    """A connection to it, as the policy knows one."""

    def __init__(self, broker: Broker) -> None:
        self.happened: deque[Happening] = deque()
        self._broker = broker
        self._mid = 0
        self._over = False

    def start(self) -> None:
        if self._broker.up:
            accepted = Accepted(
                receive_maximum=100,
                maximum_packet_size=None,
                retain_available=True,
                maximum_qos=1,
            )
            self.happened.append(accepted)
        else:
            self.happened.append(Unreachable(error="refused"))

    def publish(self, message: Message, *, retain: bool, expiry_s: int | None) -> int:
        self._mid += 1
        if self._over:
            return self._mid
        if not self._broker.up or not self._broker.takes(message) or self._broker.cuts():
            self._over = True
            self.happened.append(Lost(code=0x80, name="gone"))
        elif not self._broker.mute:
            self.happened.append(Answered(mid=self._mid, code=0, name="Success"))
        return self._mid

    def end(self) -> None:
        """Nothing is open."""

    def drop(self) -> None:
        """Nothing is open."""


class Output(MqttOutput):
    """Waits on the simulated clock, and dies with the process."""

    clock: SimulatedClock
    dead = False

    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    def close(self, farewell: Message) -> None:
        if not self.dead:
            super().close(farewell)


class MortalOutbox(Outbox):
    """Tells what it took; a killed one writes nothing more."""

    told: Counter[str]
    names: dict[str, int]
    dead = False

    def add(self, messages: Sequence[Message], record: Alert | Event | None = None) -> None:
        super().add(messages, record)
        for message in messages:
            if message.kind in _QUEUED:
                self.told[message.kind] += 1
                self.names[message.id] = spoken(message)

    def flush(self) -> None:
        if not self.dead:
            super().flush()


class Street:
    """A reading for each block; now and then an alert and its event, which go on for a while."""

    resting: tuple[str, ...] = ()

    def __init__(self, ids: Ids, clock: SimulatedClock, rng: random.Random, share: float) -> None:
        self._ids = ids
        self._clock = clock
        self._rng = rng
        self._share = share
        self._open: list[Alert] = []

    def feed(self, block: Block) -> list[Record]:
        now_ns = self._clock.utc_ns()
        level = reading(0, self._ids.new(now_ns))
        records: list[Record] = [_at(level, now_ns)]
        for one in list(self._open):
            if self._rng.random() < 0.3:
                records.append(_end(one, now_ns))
                self._open.remove(one)
        if self._rng.random() < self._share:
            raised = msgspec.structs.replace(
                alert(self._ids.new(now_ns)), start_ns=now_ns, made_ns=now_ns
            )
            heard = msgspec.structs.replace(
                event(self._ids.new(now_ns)), start_ns=now_ns, made_ns=now_ns
            )
            self._open.append(raised)
            records += [heard, raised]
        return records

    def finish(self, reason: EndReason) -> list[Record]:
        ends: list[Record] = [_end(one, self._clock.utc_ns()) for one in self._open]
        self._open.clear()
        return ends


def _at(level: LevelReading, now_ns: int) -> LevelReading:
    return msgspec.structs.replace(level, start_ns=now_ns, made_ns=now_ns)


def _end(one: Alert, now_ns: int) -> Alert:
    return msgspec.structs.replace(ended(one), start_ns=one.start_ns, end_ns=now_ns, made_ns=now_ns)


class Microphone:
    """A block each `period_s` of simulated time, until `steps` are done.

    Args:
        step: Called before each; it may change the world, raise `Killed`, and says whether the
            microphone hears.
    """

    waits = True

    def __init__(
        self, clock: SimulatedClock, period_s: float, steps: int, step: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._period_s = period_s
        self._steps = steps
        self._step = step

    @property
    def pid(self) -> int | None:
        return None

    @property
    def ended(self) -> bool:
        return self._steps <= 0

    def read(self, timeout_s: float) -> Block | None:
        if self.ended:
            return None
        self._steps -= 1
        self._clock.wait(self._period_s)
        if not self._step():
            return None
        return Block(
            microphone="mic",
            samples=np.zeros(0, np.float32),
            rate=48000,
            bandwidth_hz=24000.0,
            first=0,
            start_ns=self._clock.utc_ns(),
            synced=False,
        )

    def close(self) -> None:
        """Nothing is open."""

    def health(self) -> CaptureHealth:
        return CaptureHealth(microphone="mic", overflows=0, gaps_s=0.0, bad_samples=0, restarts=0)


class World:
    """One device's life over many processes.

    Args:
        folder: The state folder.
        seed: Of all that is random.
        max_bytes: The outbox' cap.
        share: Of blocks that raise an alert.
    """

    def __init__(self, folder: Path, seed: int, *, max_bytes: int, share: float = 0.02) -> None:
        self.rng = random.Random(seed)
        self.clock = JumpingClock()
        self.broker = Broker(self.rng)
        self.told: Counter[str] = Counter()
        self.names: dict[str, int] = {}
        """What was told, by the id of the message."""
        self.dropped: Counter[str] = Counter()
        self.kills = 0
        self.folder = folder
        self._max_bytes = max_bytes
        self._share = share

    def live(
        self, steps: int, step: Callable[[], bool] = lambda: True, *, period_s: float = 30.0
    ) -> None:
        """A process, which ends when all is done and delivered, or is killed by `step`."""
        ids = Ids(self.rng.getrandbits(64))
        sends = encoder(ids.boot)
        outbox = MortalOutbox(self.folder, self.clock, max_bytes=self._max_bytes)
        outbox.told, outbox.names = self.told, self.names
        output = Output(MqttConfig(), "earshot-test", sends.will(), self.clock, self.rng)
        output.clock = self.clock

        def watched() -> bool:
            try:
                return step()
            except Killed:
                outbox.dead = output.dead = True
                raise

        agent = Agent(
            {"mic": Microphone(self.clock, period_s, steps, watched)},
            {"mic": Street(ids, self.clock, self.rng, self._share)},
            sends,
            outbox,
            output,
            self.clock,
            Monitor(self.clock, {"mic": MicrophoneConfig()}, None, SHA256, SHA256),
            drain_s=1e9,
        )
        try:
            agent.run(Flag())
        except Killed:
            self.kills += 1
        finally:
            self.dropped.update(outbox.dropped)
            outbox.close()

    def missing(self) -> set[str]:
        """What was told and never arrived."""
        return set(self.names) - set(self.broker.arrived)
