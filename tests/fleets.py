"""Fleet folders to try things on, and the command as a user calls it."""

import subprocess
import sys
from pathlib import Path

from edge_agent.commands import fleet as command
from edge_agent.commands.findings import lines
from edge_agent.fleet import folder
from edge_agent.fleet.checking import Report, check
from edge_agent.fleet.composing import Fleet

ROOT = Path(__file__).resolve().parent.parent
HEADER = "device,board,mic,site"
ROW = "ear-1,pi,mic-1,town"


def sample(path: Path) -> Path:
    """The sample folder."""
    command.init(path)
    return path


def small(path: Path, files: dict[str, str] | None = None) -> Path:
    """A folder of one device whose layers are as short as they can be, less or more some files."""
    texts = {
        "fleet.yaml": "{}\n",
        "fleet.csv": f"{HEADER}\n{ROW}\n",
        "base.yaml": (ROOT / "firmware_configs" / "base.yaml").read_text(encoding="utf-8"),
        "hardware/pi.yaml": "about: a board\n",
        "microphones/mic-1.yaml": "about: a microphone\n",
        "sites/town.yaml": "about: a site\n",
        **(files or {}),
    }
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> Fleet:
    """A folder as the commands read it."""
    return Fleet(folder.read(path))


def report(path: Path) -> Report:
    """What `fleet check` finds."""
    return check(read(path))


def found(path: Path) -> list[str]:
    """The lines that `fleet check` prints."""
    return list(lines(report(path).findings, "text"))


def edge_agent(
    *arguments: str, cwd: Path, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(cwd)},
    )


def git(*arguments: str, cwd: Path) -> None:
    """A git command in a folder."""
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=cwd, check=True, capture_output=True)


def committed(path: Path) -> Path:
    """The folder as git's only commit."""
    git("init", "-q", cwd=path)
    git("add", "-A", cwd=path)
    git("commit", "-qm", "first", cwd=path)
    return path
