"""Many devices in one process before a real broker, with storms and kills.

Each has its own connection, outbox and back-off, which are the agent's; one event loop waits for
all their sockets.
"""

import asyncio
import os
import random
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.config import MqttConfig
from edge_agent.connection import Version
from edge_agent.errors import EarshotError
from edge_agent.fleet.ledger import Counts, Ledger
from edge_agent.fleet.localbroker import LocalBroker, cpu_s, resident_mb
from edge_agent.fleet.loopconnection import LoopConnection
from edge_agent.fleet.playing import QUEUED, SITE, Played
from edge_agent.fleet.subscriber import Subscriber
from edge_agent.records import Message

_CONNECTING_AT_ONCE: Final = 32
"""Threads that connect; handshakes beyond these wait."""
_FILES_EACH: Final = 4
"""Descriptors of a device at most: its socket, and what paho wakes itself by."""
_TURN_S: Final = 1.0
_LOOK_S: Final = 0.05
_KEEP_ALIVE_S: Final = 5.0
_SETTLE_S: Final = 120.0
"""How long what is under way may take to arrive after the last was sent."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be played."""

    devices: int
    seconds: float
    every_s: float = 1.0
    """A level reading of each device."""
    sirens_s: float = 60.0
    """Between two sirens of a device, on average."""
    storms: int = 0
    """How often all connections are cut at once."""
    kills: int = 0
    """How often the broker is killed; it comes back after `down_s`."""
    down_s: float = 3.0
    seed: int = 0


class Blow(msgspec.Struct, frozen=True, kw_only=True):
    """A storm or a kill, and how the fleet took it."""

    kind: str
    at_s: float
    all_back_s: float
    """Until every device was connected again."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The figures."""

    wishes: Wishes
    all_connected_s: float | None
    """From the start; None: never."""
    seconds: float
    """All of it, until the last message had arrived."""
    counts: dict[str, Counts]
    """By kind, and `all`."""
    waiting: int
    """Still in outboxes at the end: never acknowledged."""
    unheard: int
    """Acknowledged, though the broker knew of no subscriber."""
    connects: int
    late_s: dict[str, float]
    """From queue to subscriber: p50, p99, max."""
    blows: tuple[Blow, ...]
    missing: tuple[str, ...]
    """Some of their ids."""
    own_cpu_s: float
    own_mb: float
    broker_cpu_s: float | None
    """None: it is not ours."""
    broker_mb: float | None


class Simulation:
    """One run.

    Args:
        wishes: What is to be played.
        mqtt: The broker.
        clock: The machine's.
        broker: Ours, which may be killed; None: somebody else's.
        tell: Gets a sentence when something happens.
    """

    def __init__(
        self,
        wishes: Wishes,
        mqtt: MqttConfig,
        clock: Clock,
        broker: LocalBroker | None,
        tell: Callable[[str], None],
    ) -> None:
        self._wishes = wishes
        self._mqtt = mqtt
        self._clock = clock
        self._broker = broker
        self._tell = tell
        self._rng = random.Random(wishes.seed)  # noqa: S311 # it makes a play
        self._ledger = Ledger()
        self._devices: list[Played] = []
        self._blows: list[Blow] = []
        self._begun_ns = clock.monotonic_ns()
        self._connected_s: float | None = None
        self._sending = True
        self._waiting = 0

    def run(self) -> Outcome:
        """Play it.

        Raises:
            EarshotError: This process may not open as many files, or the broker is not there.
        """
        _allow_files(_FILES_EACH * self._wishes.devices + 256)
        own_cpu_s = cpu_s(os.getpid())
        prefix, name = f"{self._mqtt.root}/{SITE}", f"earshot-simulate-{os.getpid()}"
        with Subscriber(self._mqtt.host, self._mqtt.port, prefix, name, self._clock) as subscriber:
            asyncio.run(self._play(subscriber))
        return self._outcome(cpu_s(os.getpid()) - own_cpu_s)

    async def _play(self, subscriber: Subscriber) -> None:
        loop = asyncio.get_running_loop()
        self._begun_ns = self._clock.monotonic_ns()
        pool = ThreadPoolExecutor(_CONNECTING_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as tasks:
                playing = [tasks.create_task(self._count(subscriber))]
                playing.append(tasks.create_task(self._blow()))
                for number in range(self._wishes.devices):
                    device = self._device(number, loop, pool)
                    playing.append(tasks.create_task(self._measure(device)))
                    playing.append(tasks.create_task(self._hear(device)))
                await asyncio.sleep(self._wishes.seconds)
                self._sending = False
                await self._settle()
                for task in playing:
                    task.cancel()
                self._waiting = sum(device.outbox.health().rows for device in self._devices)
        finally:
            for device in self._devices:
                device.close()
            await asyncio.sleep(0)
            pool.shutdown()

    def _device(
        self, number: int, loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor
    ) -> Played:
        rng = random.Random(self._rng.getrandbits(64))  # noqa: S311 # of the same play

        def connects(
            config: MqttConfig,
            client_id: str,
            will: Message | None,
            version: Version,
            notify: Callable[[], None],
        ) -> LoopConnection:
            def noticed() -> None:
                notify()
                device.turn()

            link = LoopConnection(config, client_id, will, version, noticed, loop=loop, pool=pool)
            device.link = link
            return link

        device = Played(number, self._mqtt, self._clock, rng, connects, self._sent)
        self._devices.append(device)
        return device

    def _sent(self, message: Message) -> None:
        self._ledger.sent(message, self._clock.utc_ns())

    async def _measure(self, device: Played) -> None:
        """Each device at its own moment; what waits is delivered for as long as it takes."""
        await asyncio.sleep(self._rng.random() * _TURN_S)
        alive_s = 0.0
        next_s = self._elapsed_s()
        while True:
            now_s = self._elapsed_s()
            if self._sending and now_s >= next_s:
                device.measure()
                next_s += self._wishes.every_s
            device.turn()
            if now_s - alive_s > _KEEP_ALIVE_S and isinstance(device.link, LoopConnection):
                alive_s = now_s
                device.link.keep_alive()
            await asyncio.sleep(min(_TURN_S, max(0.05, next_s - self._elapsed_s())))

    async def _hear(self, device: Played) -> None:
        while self._sending:
            await asyncio.sleep(self._rng.expovariate(1 / self._wishes.sirens_s))
            if self._sending:
                device.hear()
                device.turn()

    async def _count(self, subscriber: Subscriber) -> None:
        while True:
            for one in subscriber.arrived():
                kind = one.topic.split("/")[3:]
                if kind == ["events"] or (len(kind) == 2 and kind[0] in ("levels", "alerts")):
                    self._ledger.arrived(one.payload, one.at_ns)
            if self._connected_s is None and self._all_connected():
                self._connected_s = self._elapsed_s()
                self._tell(f"all connected after {self._connected_s:.1f} s")
            await asyncio.sleep(_LOOK_S)

    async def _blow(self) -> None:
        """Storms and kills, evenly over the time."""
        blows = ["storm"] * self._wishes.storms + ["kill"] * self._wishes.kills
        self._rng.shuffle(blows)
        for index, kind in enumerate(blows):
            due_s = (index + 1) * self._wishes.seconds / (len(blows) + 1)
            await asyncio.sleep(max(0.0, due_s - self._elapsed_s()))
            at_s = self._elapsed_s()
            if kind == "kill":
                await self._kill()
            else:
                for device in self._devices:
                    if isinstance(device.link, LoopConnection):
                        # Something is under way, and will be sent again.
                        device.measure()
                        device.turn()
                        device.link.cut()
                await asyncio.sleep(_LOOK_S)
            back_s = await self._all_back()
            self._blows.append(Blow(kind=kind, at_s=at_s, all_back_s=back_s))
            self._tell(f"{kind} at {at_s:.1f} s: all back after {back_s:.1f} s")

    async def _kill(self) -> None:
        assert self._broker is not None, "asked before"
        self._broker.kill()
        await asyncio.sleep(self._wishes.down_s)
        self._broker.start()

    async def _all_back(self) -> float:
        since_s = self._elapsed_s()
        while not self._all_connected():
            await asyncio.sleep(_LOOK_S)
        return self._elapsed_s() - since_s

    async def _settle(self) -> None:
        end_s = self._elapsed_s() + _SETTLE_S
        while not self._ledger.complete and self._elapsed_s() < end_s:
            await asyncio.sleep(_LOOK_S)

    def _all_connected(self) -> bool:
        return all(device.output.connected for device in self._devices)

    def _elapsed_s(self) -> float:
        return (self._clock.monotonic_ns() - self._begun_ns) / 1e9

    def _outcome(self, own_cpu_s: float) -> Outcome:
        used = None if self._broker is None else self._broker.used()
        ledger, health = self._ledger, [device.output.health() for device in self._devices]
        return Outcome(
            wishes=self._wishes,
            all_connected_s=self._connected_s,
            seconds=self._elapsed_s(),
            counts={kind: ledger.counts(kind) for kind in QUEUED} | {"all": ledger.counts()},
            waiting=self._waiting,
            unheard=sum(one.unheard for one in health),
            connects=sum(one.connects for one in health),
            late_s={"p50": ledger.late_s(0.5), "p99": ledger.late_s(0.99), "max": ledger.late_s(1)},
            blows=tuple(self._blows),
            missing=tuple(ledger.missing()),
            own_cpu_s=own_cpu_s,
            own_mb=resident_mb(os.getpid()),
            broker_cpu_s=None if used is None else used[0],
            broker_mb=None if used is None else used[1],
        )


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        if hard < number:
            raise EarshotError(
                f"{number} open files are needed, and this user may have {hard}",
                hint=f"Raise the limit: ulimit -Hn {number}, or play fewer devices.",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
