"""A system that systemd boots: this one's files in a container, under a layer that is thrown away.

What runs there is the real thing: systemd as the first process, its sandbox, credentials and
watchdog, and the plain install of the wheel below /opt, as docs/service.md puts it on a Pi. What
the service must not see (homes, /tmp) it does not see there either, so interpreter and libraries
are mounted where a Pi would have them.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.real.broker import wait_for
from tests.real.sound import CLOCK

ROOT = Path(__file__).resolve().parent.parent.parent
AGENT = "/opt/earshot/bin/edge-agent"
_LIBRARIES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
_APT = "apt-get install systemd systemd-container"
# A shared libpython is looked for where it was built, which may be a home.
_SCRIPT = """#!/bin/sh
LD_LIBRARY_PATH=/opt/python/lib exec /opt/earshot/bin/python -m edge_agent "$@"
"""
# All in one, or the older way, where controllers have hierarchies of their own.
_HIERARCHIES = [Path("/sys/fs/cgroup", name) for name in (".", "unified", "systemd")]
_BOOT_S = 60.0
BEFORE = "before"
"""A file of /shared that is older than all that is written inside."""


class System(msgspec.Struct, frozen=True):
    """A booted system."""

    leader: int
    """The process that is its first one, as it is called outside."""
    folder: Path
    """Seen as /shared inside."""

    def run(self, *command: str, code: int | None = 0) -> str:
        """What the command says on both its outputs; it must end with `code`, None: with any."""
        inside = ["nsenter", "--target", str(self.leader), "--all", "--"]
        done = subprocess.run(
            [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert code is None or done.returncode == code, f"{command}: {done.stdout}"
        return done.stdout

    def shows(self, unit: str, what: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={what}", "--value").strip()

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """A file inside, and its folders."""
        source = self.folder / "written"
        source.write_text(text)
        self.run("install", "-D", f"--mode={mode}", "/shared/written", path)


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[System]:
    """Boot it; skip, with the reason, where this machine does not let a test do so."""
    if os.geteuid() != 0:
        pytest.skip("not run: only root may boot a system of its own")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip(f"not run: systemd-nspawn is missing: {_APT}")
    plain = ROOT / ".venv-demo"
    if not (plain / "bin" / "edge-agent").is_file():
        pytest.fail("no plain install: run scripts/test, or scripts/env --plain .venv-demo demo")
    shared = folder / "shared"
    shared.mkdir()
    (shared / BEFORE).touch()
    log = folder / "boot.log"
    host = folder / "host"
    host.mkdir()
    name = f"earshot-{uuid.uuid4().hex[:8]}"
    nspawn = [
        *("systemd-nspawn", "--quiet", f"--directory={host}", "--volatile=overlay", "--boot"),
        *("--register=no", "--keep-unit", "--private-network", "--console=pipe"),
        *("--link-journal=no", f"--uuid={uuid.uuid4().hex}", f"--machine={name}"),
        f"--bind-ro={sys.base_prefix}:/opt/python",
        f"--bind-ro={(plain / _LIBRARIES).resolve()}:/opt/earshot/{_LIBRARIES}",
        f"--bind={shared}:/shared",
        # What else is installed on this machine stays off.
        "systemd.unit=basic.target",
    ]
    # Its mounts are in a namespace of their own and end with it. The groups of its processes are
    # below one of its own: two systems with the same groups would end each other's services.
    enter = "".join(f'echo $$ >"{made}/cgroup.procs" && ' for made in _own_groups(name))
    bind = f'{enter}mount --bind / "{host}" && exec "$@"'
    # Whatever becomes of the tests, it ends with them.
    command = ["setpriv", "--pdeathsig", "TERM"]
    command += ["unshare", "--mount", "sh", "-c", bind, "sh", *nspawn]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        system = System(_leader(process, log), shared)
        wait_for(lambda: _runs(system), "systemd has booted", _BOOT_S)
        system.run("/opt/python/bin/python3", "-m", "venv", "--without-pip", "/opt/earshot")
        system.write(AGENT, _SCRIPT, mode="755")
        yield system
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _leave(name)


def _own_groups(name: str) -> list[Path]:
    """A control group of this name in each hierarchy by which systemd orders processes."""
    made = [place / name for place in _HIERARCHIES if (place / "cgroup.procs").is_file()]
    try:
        for folder in made:
            folder.mkdir()
    except OSError as error:
        pytest.skip(f"not run: no control group may be made here ({error})")
    return made


def _leave(name: str) -> None:
    """Take the control groups away; one with a process that still ends stays, and is empty soon."""
    for place in _HIERARCHIES:
        for folder in sorted((place / name).glob("**/"), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _leader(process: "subprocess.Popen[bytes]", log: Path) -> int:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end_ns = CLOCK.monotonic_ns() + round(_BOOT_S * 1e9)
    while CLOCK.monotonic_ns() < end_ns:
        if process.poll() is not None:
            pytest.skip(f"not run: no system can be booted here: {log.read_text()[-300:].strip()}")
        for child in listed.read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        CLOCK.wait(0.05)
    pytest.skip(f"not run: no system boots here within {_BOOT_S:g} s: {log.read_text()[-300:]}")


def _runs(system: System) -> bool:
    state = system.run("systemctl", "is-system-running", code=None).strip()
    return state in ("running", "degraded") or (
        system.run("systemctl", "is-active", "basic.target", code=None).strip() == "active"
    )
