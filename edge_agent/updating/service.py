"""The agent's service as systemd runs it, and the installed agent's own opinion."""

import subprocess
import sys
from pathlib import Path

from edge_agent import __version__, heartbeat
from edge_agent.errors import UpdateError
from edge_agent.heartbeat import Beat
from edge_agent.release import SCHEMA
from edge_agent.updating.releases import Releases

UNIT = "earshot-agent.service"
_CHECK_S = 120


class Systemd:
    """The service of this machine.

    Args:
        runtime: Where its agent leaves the heartbeat.
    """

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime

    def stopped(self) -> bool:
        """Whether somebody stopped it: what fails and is restarted is not stopped."""
        return _systemctl("is-active", UNIT).stdout.strip() == "inactive"

    def restart(self) -> None:
        """Have it started anew, without waiting for it.

        Raises:
            UpdateError: systemd refuses.
        """
        done = _systemctl("restart", "--no-block", UNIT)
        if done.returncode:
            raise UpdateError(
                f"systemctl restart {UNIT}: {done.stderr.strip() or done.returncode}",
                hint="Look at `systemctl status earshot-agent`.",
            )

    def beat(self) -> Beat | None:
        """The agent's last heartbeat."""
        return heartbeat.read(self._runtime)

    def problems(self, releases: Releases, number: int) -> str | None:
        """What the installed agent says against a release's configuration."""
        return problems(releases, number)


def problems(releases: Releases, number: int) -> str | None:
    """What the installed agent says against a release's configuration; None: nothing."""
    release = releases.release(number)
    if release is None:
        return "its release.json cannot be read"
    if release.schema > SCHEMA or _version(release.agent) > _version(__version__):
        return f"needs agent {release.agent}, and {__version__} is installed"
    command = [sys.executable, "-P", "-m", "edge_agent", "config", "check"]
    try:
        done = subprocess.run(
            [*command, str(releases.config(number))],
            capture_output=True,
            text=True,
            check=False,
            timeout=_CHECK_S,
        )
    except subprocess.TimeoutExpired:
        return f"the check of its configuration took longer than {_CHECK_S} s"
    if done.returncode == 0:
        return None
    lines = (done.stdout if done.returncode == 1 else done.stderr).strip().splitlines()
    return lines[0] if lines else f"the check of its configuration ended with {done.returncode}"


def _systemctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["systemctl", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, 1, "", str(error))


def _version(text: str) -> tuple[int, ...]:
    """Of 1.2.3; what is no number ends it."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
