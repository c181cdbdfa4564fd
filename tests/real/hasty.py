"""`edge-agent run` on a clock that is twenty times as fast: python -m tests.real.hasty CONFIG."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from edge_agent import configfile
from edge_agent.clock import SystemClock
from edge_agent.commands.service import serve
from edge_agent.notify import take_supervisor

FACTOR = 20


class HastyClock(SystemClock):
    """The machine's clocks, run fast since this one was made."""

    def __init__(self) -> None:
        super().__init__()
        self._utc_ns = time.time_ns()
        self._monotonic_ns = time.monotonic_ns()

    def utc_ns(self) -> int:
        return self._utc_ns + self.monotonic_ns() - self._monotonic_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns + FACTOR * (time.monotonic_ns() - self._monotonic_ns)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds / FACTOR)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve(configfile.load(Path(sys.argv[1])), {}, HastyClock(), take_supervisor(os.environ), stop)
