"""The agent as a process of ours, where no systemd runs it: started, watched, started again.

It does what the unit and its drop-in say (systemd/updates.conf), and no more: the guard before
each start, a folder for the heartbeat, and a new start two seconds after an end.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge_agent import heartbeat
from edge_agent.clock import Clock
from edge_agent.heartbeat import Beat
from edge_agent.updating.guard import guard
from edge_agent.updating.releases import CONFIG, CURRENT, Releases
from edge_agent.updating.service import problems

_AGAIN_S: Final = 2.0
_END_S: Final = 30.0


class Process:
    """Runs the agent from entering the context to leaving it.

    Args:
        releases: Of the device.
        seeds: Where its first configuration may stand.
        runtime: For the heartbeat.
        log: Gets what the agent says.
        environment: More variables for it.
        clock: Of everything.
        tell: Hears of an agent that ended by itself.
    """

    def __init__(
        self,
        releases: Releases,
        seeds: tuple[Path, ...],
        runtime: Path,
        log: Path,
        environment: Mapping[str, str],
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self._releases = releases
        self._seeds = seeds
        self._runtime = runtime
        self._log = log
        self._environment = environment
        self._clock = clock
        self._tell = tell
        self._running: subprocess.Popen[bytes] | None = None
        self._asked = False
        """Whether the latest end was wanted."""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="agent")

    def __enter__(self) -> "Process":
        """Start it.

        Raises:
            UpdateError: There is no configuration, or the disk refuses.
        """
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.restart()
        self._thread.join()

    def stopped(self) -> bool:
        """Whether somebody stopped it, and not us with it."""
        return False

    def restart(self) -> None:
        """End it; it is started anew."""
        with self._lock:
            self._asked = True
            if self._running is not None:
                self._running.terminate()

    def beat(self) -> Beat | None:
        """The agent's last heartbeat."""
        return heartbeat.read(self._runtime)

    def problems(self, releases: Releases, number: int) -> str | None:
        """What the installed agent says against a release's configuration."""
        return problems(releases, number)

    def _start(self) -> None:
        with self._lock:
            self._asked = False
        guard(self._releases, self._seeds, self._clock)
        self._runtime.mkdir(parents=True, exist_ok=True)
        # As systemd, which makes the folder anew at each start.
        (self._runtime / heartbeat.FILE).unlink(missing_ok=True)
        config = self._releases.path / CURRENT / CONFIG
        with self._log.open("ab") as log, self._lock:
            self._running = subprocess.Popen(
                [sys.executable, "-P", "-m", "edge_agent", "run", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment | {"RUNTIME_DIRECTORY": str(self._runtime)},
                # Ctrl-C is for us; we end it.
                process_group=0,
            )
            if self._asked:
                # Asked for while the guard was at work, which did not know of it.
                self._running.terminate()

    def _serve(self) -> None:
        told = False
        while True:
            assert self._running is not None, "it was started before"
            code = self._waited(self._running)
            if self._over.is_set():
                return
            if not self._asked:
                if not told:
                    self._tell(f"the agent ended with {code}, and is started again: {self._log}")
                told = True
                self._over.wait(_AGAIN_S)
            else:
                told = False
            if self._over.is_set():
                return
            self._start()

    def _waited(self, running: "subprocess.Popen[bytes]") -> int:
        """How it ended; one that was asked to and does not is killed."""
        left_s = _END_S
        while True:
            try:
                return running.wait(0.5)
            except subprocess.TimeoutExpired:
                if self._over.is_set():
                    running.terminate()
                if self._asked:
                    left_s -= 0.5
                    if left_s <= 0:
                        running.kill()
