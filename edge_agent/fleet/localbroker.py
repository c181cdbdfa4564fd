"""A mosquitto of our own on loopback, for as long as a simulation lasts; it may be killed."""

import os
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.fleet.tools import found

_START_S: Final = 10.0
_CONFIG: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
{user}persistence true
persistence_location {folder}/
# What it has acknowledged is on the disk within a second, and nothing is dropped for want of room.
autosave_interval 1
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_type error
log_type warning
"""


class LocalBroker:
    """From entering the context to leaving it.

    Args:
        clock: Of the waiting.
    """

    def __init__(self, clock: Clock) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.cpu_s = 0.0
        """Of those that were killed."""
        self._clock = clock
        self._folder = tempfile.TemporaryDirectory(prefix="earshot-simulate-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            BrokerError: mosquitto is not installed, or does not start.
        """
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        folder = Path(self._folder.name)
        # Started by root it would change to a user that cannot write there.
        user = "user root\n" if os.geteuid() == 0 else ""
        (folder / "mosquitto.conf").write_text(
            _CONFIG.format(port=self.port, user=user, folder=folder), encoding="utf-8"
        )
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, again after a kill.

        Raises:
            BrokerError: It does not answer.
        """
        folder = Path(self._folder.name)
        with (folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [found("mosquitto"), "-c", str(folder / "mosquitto.conf")],
                stdout=log,
                stderr=log,
            )
        begun_ns = self._clock.monotonic_ns()
        while not self._answers():
            over = self._clock.monotonic_ns() - begun_ns > _START_S * 1e9
            if over or self._process.poll() is not None:
                said = (folder / "mosquitto.log").read_text(errors="replace").strip()
                raise BrokerError(
                    f"mosquitto does not start: {said.splitlines()[-1] if said else 'no answer'}",
                    hint="Name a broker that runs: --broker HOST:PORT.",
                )
            self._clock.wait(0.05)

    def kill(self) -> None:
        """End it at once, as a loss of power would."""
        if self._process is not None:
            self.cpu_s += cpu_s(self._process.pid)
            self._process.kill()
            self._process.wait()
            self._process = None

    def used(self) -> tuple[float, float]:
        """Seconds of CPU so far, and megabytes of memory now."""
        if self._process is None:
            return self.cpu_s, 0.0
        return self.cpu_s + cpu_s(self._process.pid), resident_mb(self._process.pid)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), 1):
                return True
        except OSError:
            return False


def cpu_s(pid: int) -> float:
    """What a process used of the processor; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Memory of a process, 10^6 bytes; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
