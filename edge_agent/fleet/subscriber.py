"""A subscriber that is somebody else's: mosquitto_sub, whose lines are counted.

It writes to a file, so that a busy simulation never holds it up: what a slow subscriber has not
read yet is in the broker's memory, and dies with it.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.fleet.tools import found

_READY_S: Final = 15.0
_SESSION_S: Final = 3600
_FORMAT: Final = "%U %t %p"
"""When it came in by the wall clock, s with nanoseconds; topic; payload."""


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was subscribed to."""

    at_ns: int
    """UTC."""
    topic: str
    payload: bytes


class Subscriber:
    """Listens from entering the context to leaving it; comes back by itself.

    Args:
        host: Of the broker.
        port: Of the broker.
        prefix: What the topics begin with.
        name: Under which the broker keeps what it misses.
        clock: Of the waiting.
    """

    def __init__(self, host: str, port: int, prefix: str, name: str, clock: Clock) -> None:
        self._broker = ("-h", host, "-p", str(port), "-V", "mqttv5")
        self._prefix = prefix
        self._name = name
        self._clock = clock
        self._folder = tempfile.TemporaryDirectory(prefix="earshot-subscriber-")
        self._place = Path(self._folder.name) / "heard"
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        """Subscribe.

        Raises:
            BrokerError: The broker does not let us.
            EarshotError: mosquitto's clients are not installed.
        """
        session = ("-c", "-i", self._name, "-x", str(_SESSION_S), "-q", "1")
        command = [found("mosquitto_sub"), *self._broker, *session]
        self._place.touch()
        with self._place.open("ab") as heard:
            self._process = subprocess.Popen(
                [*command, "-t", f"{self._prefix}/#", "-F", _FORMAT],
                stdout=heard,
                stderr=subprocess.DEVNULL,
            )
        self._file = self._place.open("rb")
        begun_ns = self._clock.monotonic_ns()
        while not self._place.stat().st_size:
            if self._clock.monotonic_ns() - begun_ns > _READY_S * 1e9:
                self.__exit__(None, None, None)
                raise BrokerError(
                    f"broker {self._broker[1]}:{self._broker[3]}: takes no subscription",
                    hint="The simulation has to be let in there without a password.",
                )
            self._probe()
            self._clock.wait(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._file.close()
            self._folder.cleanup()

    def arrived(self) -> Iterator[Arrived]:
        """What came in since this was last asked."""
        lines = (self._rest + self._file.read()).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            at, _, rest = line.partition(b" ")
            topic, _, payload = rest.partition(b" ")
            seconds, _, fraction = at.decode("ascii").partition(".")
            at_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])
            yield Arrived(at_ns=at_ns, topic=topic.decode(), payload=payload)

    def _probe(self) -> None:
        """Something to hear, as there is no other word for being subscribed."""
        said = ("-t", f"{self._prefix}/probe", "-m", "there")
        subprocess.run(
            [found("mosquitto_pub"), *self._broker, *said], check=False, capture_output=True
        )
