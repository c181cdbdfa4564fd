"""The commands of a page, and a place to run them as its reader would."""

import os
import re
import sys
from pathlib import Path

from tests.fleets import ROOT


def steps(name: str) -> list[tuple[str, str]]:
    """Each command of a page with the output below it."""
    page = (ROOT / "docs" / name).read_text("utf-8")
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    found: list[tuple[str, str]] = []
    for line in "".join(blocks).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def environment(home: Path) -> dict[str, str]:
    """Of a reader who has `edge-agent` and git, and nothing of their own in this home."""
    program = home / "bin" / "edge-agent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_agent "$@"\n')
    program.chmod(0o755)
    who = {f"GIT_{kind}_{what}": "test@example.org" for kind in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")}  # fmt: skip
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        **who,
    }
