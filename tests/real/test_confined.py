"""The agent and its capture child under the unit's own filter of system calls, in a real kernel."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import resources
from tests.real.broker import wait_for
from tests.real.test_service import Supervised, running

pytestmark = pytest.mark.real

UNIT = resources.root() / "systemd" / "earshot-agent.service"
LAUNCHER = """
import ctypes, os, struct, sys
allowed = [int(one) for one in sys.argv[1].split(",")]
allow, refuse = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
program = [(load, 0, 0, 0)]
for number in allowed:
    program += [(equal, 0, 1, number), (answer, 0, 0, allow)]
program.append((answer, 0, 0, refuse))
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in program))
given = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, given, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, a filter
os.execv(sys.argv[2], sys.argv[2:])
"""


def calls(group: str) -> set[str]:
    """The system calls of a systemd group, and of the groups in it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    command = ["systemd-analyze", "--no-pager", "syscall-filter", group]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = [line.split()[0] for line in listed.splitlines()[1:] if line.strip()]
    found = {word for word in words if word[0] not in "#@"}
    return found.union(*(calls(word) for word in words if word[0] == "@"))


def numbers() -> dict[str, int]:
    """This machine's number of each system call, by its kernel's headers."""
    if shutil.which("cc") is None:
        pytest.fail("a C compiler is missing: apt-get install g++")
    done = subprocess.run(
        ["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = re.findall(r"^#define __NR_(\w+) (\d+)$", done.stdout, re.M)
    return {name: int(number) for name, number in pairs}


def allowed() -> set[str]:
    """What the unit's SystemCallFilter= lines leave, in their order."""
    left: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", UNIT.read_text(), re.M):
        groups: list[set[str]] = [calls(group) for group in line.lstrip("~").split()]
        left = left.difference(*groups) if line[0] == "~" else left.union(*groups)
    return left


@pytest.fixture
def launcher() -> list[str]:
    known = numbers()
    listed = ",".join(str(known[name]) for name in sorted(allowed() & known.keys()))
    return [sys.executable, "-c", LAUNCHER, listed]


def test_the_filter_refuses_what_it_should(launcher: list[str]) -> None:
    code = "import os; os.sched_setaffinity(0, {0})"
    done = subprocess.run(
        [*launcher, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "PermissionError: [Errno 1]" in done.stderr


@pytest.mark.usefixtures("server")
def test_under_the_units_filter_a_microphone_is_heard(tmp_path: Path, launcher: list[str]) -> None:
    with running(Supervised(tmp_path, "device: mic0", launcher)) as service:
        wait_for(lambda: "READY=1" in service.lines(), "it is ready", 60)
        wait_for(lambda: len(service.feeds()) >= 3, "blocks, worker and outbox go on", 60)
        assert not [line for line in service.lines() if "no_blocks" in line], service.lines()
        assert service.process.poll() is None, service.log.read_text()
