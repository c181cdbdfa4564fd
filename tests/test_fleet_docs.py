"""The commands of the fleet's pages, one after the other, print what the pages say."""

import subprocess
from pathlib import Path

import pytest

from tests.pages import environment, steps


@pytest.mark.parametrize("name", ["fleet.md", "rollouts.md", "updates.md"])
def test_every_command_of_the_page_prints_what_it_says(name: str, tmp_path: Path) -> None:
    variables = environment(tmp_path)
    where = tmp_path
    assert len(steps(name)) > 5
    for command, expected in steps(name):
        if command.startswith("cd "):
            where = where / command[3:]
            continue
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=where,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.stdout, done.stderr) == (expected, ""), command
