"""The commands of the fleet's pages, one after the other, print what the pages say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", ["fleet.md", "rollouts.md", "updates.md"])
def test_every_command_of_the_page_prints_what_it_says(name: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "edge-agent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_agent "$@"\n')
    program.chmod(0o755)
    who = {f"GIT_{kind}_{what}": "test@example.org" for kind in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")}  # fmt: skip
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        **who,
    }
    where = tmp_path
    assert len(steps(name)) > 5
    for command, expected in steps(name):
        if command.startswith("cd "):
            where = where / command[3:]
            continue
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.stdout, done.stderr) == (expected, ""), command
