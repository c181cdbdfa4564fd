"""A program that lives many times: an agent is fed and delivers until somebody kills it.

Each line on stdin, `blocks`, begins a life; stdout tells its process, `born PID`, and each message
as soon as the outbox has taken it, `KIND ID`. A life that comes to its end says `ended`. The
modules are loaded once, so that a life begins within milliseconds.
"""

import os
import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.commands.agent import Agent
from edge_agent.config import MicrophoneConfig, MqttConfig
from edge_agent.health import Monitor
from edge_agent.ids import Ids
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from edge_agent.records import Alert, Event, Message
from tests.real.script import PacedSource, Script
from tests.sample_records import SHA256, encoder


class TellingOutbox(Outbox):
    def add(self, messages: Sequence[Message], record: Alert | Event | None = None) -> None:
        super().add(messages, record)
        for message in messages:
            if message.kind in ("alert", "event", "level"):
                say(f"{message.kind} {message.id}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def live(folder: Path, port: int, blocks: int) -> None:
    clock, ids = SystemClock(), Ids(random.SystemRandom().getrandbits(64))
    outbox = TellingOutbox(folder, clock, max_bytes=10_000_000)
    config = MqttConfig(host="127.0.0.1", port=port, drain_per_s=1000)
    sends = encoder(ids.boot)
    output = MqttOutput(
        config, "earshot-test", sends.will(), clock, random.Random(), backlog_wait_s=0
    )
    agent = Agent(
        {"mic": PacedSource(blocks, 0.005)},
        {"mic": Script(ids)},
        sends,
        outbox,
        output,
        clock,
        Monitor(clock, {"mic": MicrophoneConfig()}, folder, SHA256, SHA256),
    )
    agent.run(threading.Event())
    outbox.close()
    say("ended")


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            say(f"born {os.getpid()}")
            live(folder, port, int(line))
            os._exit(0)
        os.waitpid(pid, 0)
        say("dead")


if __name__ == "__main__":
    main()
