"""docs/ten-minutes.md, as a newcomer's shell does it, within the ten minutes that it promises."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from tests.pages import environment, steps
from tests.real.broker import program

pytestmark = [pytest.mark.real, pytest.mark.slow]

PROMISED_S = 600
END = "-- the end of that command --"
LAPTOP = Path("/tmp/earshot-laptop-01")  # where the sample's layer keeps it
# Of this machine: it may have no microphone, and nothing that sets its clock.
OWN = r"(; faults: |, |: )?(mic_missing:mic|clock_unsynced|its clock is not .* last word is)"


class Shell:
    """A bash that lives as long as its reader's terminal."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash"], cwd=folder, env=variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def does(self, command: str) -> str:
        """What it prints until it asks for the next command."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{command}\necho '{END}'\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.rstrip("\n") == END:
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}")

    def close(self) -> None:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # Where a step failed, what runs in the background is its own.
        self._bash.stdin.write("kill $(jobs -p) 2> /dev/null; wait\n")
        self._bash.stdin.close()
        self._bash.wait(60)
        self._bash.stdout.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    variables = environment(tmp_path)
    if os.geteuid() == 0:
        # A reader is not root, and so need not tell mosquitto to stay who it is.
        mosquitto = tmp_path / "bin" / "mosquitto"
        mosquitto.write_text(
            f'#!/bin/sh\necho "user root" >> "$2"\nexec {program("mosquitto")} "$@"\n'
        )
        mosquitto.chmod(0o755)
    (tmp_path / "empty").mkdir()
    shutil.rmtree(LAPTOP, ignore_errors=True)
    shell = Shell(tmp_path / "empty", variables)
    yield shell
    shell.close()
    shutil.rmtree(LAPTOP, ignore_errors=True)


def usual(text: str) -> str:
    """Without what differs from one laptop and minute to the next."""
    aged = re.sub(r" +(\d+ s|-) +\d+ d +(?=as|rolled)", " AGE DAYS ", text)
    return re.sub(OWN, "", aged)


def test_a_newcomer_sees_a_release_take_itself_back_within_ten_minutes(shell: Shell) -> None:
    begun_ns = SystemClock().monotonic_ns()
    for command, expected in steps("ten-minutes.md"):
        assert usual(shell.does(command)) == usual(expected), command
    took_s = (SystemClock().monotonic_ns() - begun_ns) / 1e9
    assert took_s < PROMISED_S
