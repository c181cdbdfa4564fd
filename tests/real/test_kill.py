"""An agent that is killed again and again: what it had taken and what reached the broker.

The broker is one of our own that counts. It closes one publish in four, so that there is always
something that waits.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent.clock import SimulatedClock
from edge_agent.outbox import Outbox
from tests.conftest import ROOT
from tests.real.broker import OddBroker, Publish

pytestmark = pytest.mark.real

LIVES = 6 if "EARSHOT_EMULATED" in os.environ else 24
_URGENT = ("alert", "event")


class Mortal:
    """The program of tests/real/mortal.py."""

    def __init__(self, folder: Path, port: int) -> None:
        self.lives: list[list[tuple[str, str]]] = []
        """By life what its outbox had taken: kind and id."""
        command = [sys.executable, "-m", "tests.real.mortal", str(folder), str(port)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._pid = 0

    def be_born(self, blocks: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{blocks}\n")
        self._process.stdin.flush()
        self._pid = int(self._line().removeprefix("born "))
        self.lives.append([])

    def live_until(self, count: int) -> None:
        """Wait until the outbox has taken so many messages."""
        while len(self.lives[-1]) < count:
            self._hear(self._line())

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.live_out()

    def live_out(self) -> bool:
        """Wait for its death; returns whether it was a natural one."""
        natural = False
        while (line := self._line()) != "dead":
            natural = natural or line == "ended"
            self._hear(line)
        return natural

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _hear(self, line: str) -> None:
        # A kill may cut the last line short: an id has 36 characters, with its number more.
        kind, _, name = line.partition(" ")
        if kind in (*_URGENT, "level") and len(name) >= 36:
            self.lives[-1].append((kind, name))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        return line.rstrip("\n")


@contextmanager
def mortal(folder: Path, port: int) -> Iterator[Mortal]:
    found = Mortal(folder, port)
    try:
        yield found
    finally:
        found.end()


def name_of(payload: bytes) -> str | None:
    """The id of a message as the outbox has it; None for a state."""
    fields = msgspec.json.decode(payload)
    if "seq" not in fields:
        return None
    return f"{fields['id']}/{fields['n']}" if "n" in fields else str(fields["id"])


@pytest.mark.slow
@pytest.mark.arm
def test_a_kill_costs_at_most_the_last_batch_of_levels_and_never_an_alert(tmp_path: Path) -> None:
    rng = random.Random(2)
    generous = False

    def answers(_: Publish) -> int:
        return 0 if generous or rng.random() > 0.25 else -1

    with OddBroker(puback=answers) as broker, mortal(tmp_path / "state", broker.port) as agent:
        for life in range(LIVES):
            agent.be_born(10**9)
            agent.live_until(rng.randint(1, 120))
            # Half of the time a copy is made of files that are being written to.
            if life % 2:
                shutil.copytree(tmp_path / "state", tmp_path / f"copy-{life}")
            agent.kill()
        generous = True
        agent.be_born(0)
        assert agent.live_out(), "the last life delivers what waits"
        arrived = {name_of(one.payload) for one in broker.published}

    told = [name for taken in agent.lives for _, name in taken]
    assert len(told) == len(set(told))
    lost = 0
    for taken in agent.lives:
        urgent = [place for place, (kind, _) in enumerate(taken) if kind in _URGENT]
        safe = urgent[-1] + 1 if urgent else 0
        # An alert takes all earlier levels to the disk with it.
        assert {name for _, name in taken[:safe]} <= arrived
        lost += sum(name not in arrived for _, name in taken[safe:])
    # Each tenth level has an alert, and each tenth an end in between.
    assert lost <= 10 * LIVES
    assert_every_alert_has_one_start_and_one_end(broker.published)
    for life in range(1, LIVES, 2):
        assert_starts_and_goes_on(tmp_path / f"copy-{life}")


def assert_every_alert_has_one_start_and_one_end(published: list[Publish]) -> None:
    phases: dict[str, dict[int, str]] = defaultdict(dict)
    for one in published:
        fields = msgspec.json.decode(one.payload)
        if "alerts" in one.topic and "seq" in fields:
            assert phases[fields["id"]].get(fields["n"], fields["phase"]) == fields["phase"]
            phases[fields["id"]][fields["n"]] = fields["phase"]
    assert phases
    for by_n in phases.values():
        assert [by_n[n] for n in sorted(by_n)] in (["start", "end"],)


def assert_starts_and_goes_on(folder: Path) -> None:
    outbox = Outbox(folder, SimulatedClock(), max_bytes=10_000_000)
    while not outbox.empty():
        for row in outbox.take(100, 100):
            outbox.acknowledge(row.key)
    assert outbox.writable
    outbox.close()
