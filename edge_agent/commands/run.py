"""`edge-agent run`: the service, from the configuration to the last word."""

import faulthandler
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from edge_agent import configfile
from edge_agent.capture.process import Child
from edge_agent.clock import Clock, SystemClock
from edge_agent.commands.device import check_name
from edge_agent.config import Config
from edge_agent.notify import take_supervisor


def run(config_path: Path) -> int:
    """Listen and deliver until SIGTERM or SIGINT, or until a recording's end.

    Args:
        config_path: The configuration's file.

    Returns:
        The exit code.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    supervisor = take_supervisor(os.environ)
    if sys.stderr is not None:
        # systemd's watchdog ends a worker that hangs by SIGABRT: the log then says where it hung.
        faulthandler.enable()
    loaded = configfile.load(config_path)
    with configfile.placed(loaded):
        check_name(loaded.config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    clock = SystemClock()
    children = _children(loaded.config, clock)
    # Only now: numpy, runtime and MQTT take as long to come as a microphone to its first sound.
    from edge_agent.commands.service import serve

    serve(loaded, children, clock, supervisor, stop)
    return 0


def _children(config: Config, clock: Clock) -> dict[str, Child]:
    """The capture processes, by microphone; they end with this one."""
    children = {}
    for name, settings in config.microphones.items():
        if settings.kind == "device":
            # What cannot be started now is tried again where microphones are watched.
            with suppress(OSError):
                children[name] = Child(settings, clock)
    return children
