"""What systemd is told: ready, how it goes, that the agent lives, that it stops.

The protocol is a datagram of lines to a socket that the environment names (sd_notify(3)). Without
that name nothing is sent, so whoever starts the agent by hand notices nothing of it.

The watchdog is fed by progress alone. A microphone that is missing and a broker that is away are
no reason to starve it, as a restart would mend neither; a worker that no longer turns is.
"""

import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence

import msgspec

from edge_agent.clock import Clock

_FEEDS_PER_PATIENCE = 3
_WORKER = "worker"
_OUTBOX = "outbox"


class Supervisor(msgspec.Struct, frozen=True, kw_only=True):
    """Where systemd listens, and how long it waits for a sign of life."""

    address: str | None = None
    patience_s: float | None = None
    """None: it has no watchdog."""


def take_supervisor(environment: MutableMapping[str, str]) -> Supervisor:
    """What systemd told this process; taken out, so that no child takes it for its own."""
    address = environment.pop("NOTIFY_SOCKET", "")
    patience_us = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "")
    watched = patience_us.isdecimal() and int(patience_us) > 0 and pid in ("", str(os.getpid()))
    return Supervisor(
        address=address or None, patience_s=int(patience_us) / 1e6 if watched else None
    )


class Watchdog:
    """Decides when to feed: everything moved since the last time, and a third of the wait is over.

    Args:
        patience_s: How long systemd waits; None: it is never due.
        parts: What has to move.
        now_ns: Monotonic time.
    """

    def __init__(self, patience_s: float | None, parts: Iterable[str], now_ns: int) -> None:
        self._every_ns = None if patience_s is None else patience_s * 1e9 / _FEEDS_PER_PATIENCE
        self._parts = set(parts)
        self._still = set(self._parts)
        self._fed_ns = now_ns

    def moved(self, part: str) -> None:
        """It made progress."""
        self._still.discard(part)

    def gone(self, part: str) -> None:
        """It came to its end, and will not move any more."""
        self._parts.discard(part)
        self._still.discard(part)

    def due(self, now_ns: int) -> bool:
        """Whether to feed now; then all has to move again before the next time."""
        if self._every_ns is None or self._still or now_ns - self._fed_ns < self._every_ns:
            return False
        self._still = set(self._parts)
        self._fed_ns = now_ns
        return True


class Service:
    """The agent as systemd sees it; told of progress by the worker, as it happens.

    Args:
        clock: Its monotonic time paces the feeding.
        microphones: Their names; each has to give blocks, or to be waited for.
        supervisor: By default there is none, and nothing is sent.
    """

    def __init__(
        self, clock: Clock, microphones: Iterable[str], supervisor: Supervisor | None = None
    ) -> None:
        supervisor = supervisor or Supervisor()
        self._clock = clock
        self._address = _address(supervisor.address)
        parts = [_microphone(name) for name in microphones] + [_WORKER, _OUTBOX]
        self._watchdog = Watchdog(supervisor.patience_s, parts, clock.monotonic_ns())
        self._ready = False
        self._stopping = False
        self._status = ""

    @property
    def ready(self) -> bool:
        """Whether that was told."""
        return self._ready

    def heard(self, microphone: str) -> None:
        """A block came from it and was worked on."""
        self._watchdog.moved(_microphone(microphone))
        self._be_ready()

    def waits(self, microphone: str) -> None:
        """It gives nothing, and whoever watches over it knows: its next start has a time."""
        self._watchdog.moved(_microphone(microphone))

    def ended(self, microphone: str) -> None:
        """A recording is over."""
        self._watchdog.gone(_microphone(microphone))

    def kept_house(self, faults: Sequence[str], *, microphone_faulty: bool) -> None:
        """The outbox made its step, and the faults are known.

        Args:
            faults: The worst first.
            microphone_faulty: One of them names a microphone: the agent is as ready as it can be.
        """
        self._watchdog.moved(_OUTBOX)
        if microphone_faulty:
            self._be_ready()
        status = _in_words(faults)
        if status != self._status and self._send(f"STATUS={status}"):
            self._status = status

    def turned(self) -> None:
        """The worker went once round: what there was is consumed."""
        self._watchdog.moved(_WORKER)
        if self._watchdog.due(self._clock.monotonic_ns()):
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        if not self._stopping:
            self._stopping = self._send("STOPPING=1")

    def _be_ready(self) -> None:
        if not self._ready:
            self._ready = self._send("READY=1")

    def _send(self, line: str) -> bool:
        """Whether it was taken; a systemd that takes nothing must not hold up the sound."""
        if self._address is None:
            return True
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as link:
            try:
                link.sendto(line.encode(), self._address)
            except OSError:
                return False
        return True


def _address(name: str | None) -> bytes | None:
    """As the kernel takes it: a leading @ stands for the abstract namespace's zero byte."""
    if name is None:
        return None
    return b"\0" + os.fsencode(name[1:]) if name.startswith("@") else os.fsencode(name)


def _microphone(name: str) -> str:
    return f"microphone {name}"


def _in_words(faults: Sequence[str]) -> str:
    if not faults:
        return "listening"
    others = len(faults) - 1
    return faults[0] + (f", and {others} more" if others else "")
