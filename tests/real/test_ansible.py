"""The Ansible role by Ansible itself: judged, rehearsed, done, and done again."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleets import edge_agent, sample

pytestmark = pytest.mark.real

_BIN = Path(sys.executable).parent
_RECAP = re.compile(r"market-01 +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = sample(tmp_path / "fleet")
    assert edge_agent("fleet", "render", "--out", "build", cwd=path).returncode == 0
    return path


def ansible(command: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    # The sample is on nobody's PATH but this environment's.
    environment = {
        "PATH": f"{_BIN}:{os.environ['PATH']}",
        "HOME": str(cwd),
        "LANG": "C.UTF-8",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    return subprocess.run(
        [str(_BIN / command), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_role_is_fit_for_production_by_its_linter(fleet: Path) -> None:
    done = ansible("ansible-lint", "--offline", "--profile", "production", "ansible", cwd=fleet)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stderr


def test_the_folder_is_the_inventory(fleet: Path) -> None:
    table = fleet / "fleet.csv"
    rows = table.read_text().splitlines()
    states = ["state", "active", "active", "retired"]
    table.write_text("\n".join(f"{row},{state}" for row, state in zip(rows, states, strict=True)))
    script = ("--inventory", "ansible/inventory.sh")
    done = ansible("ansible-inventory", *script, "--list", "--export", cwd=fleet)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["site_example_city"]["hosts"] == ["market-01", "market-02"]
    assert told["ring_canary"]["hosts"] == ["market-01"]
    assert "group_security" not in told
    assert told["_meta"]["hostvars"]["market-01"]["earshot_board"] == "pi-zero-2w"


def played(
    fleet: Path, root: Path, *more: str, secrets: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The playbook for one device, whose system is a folder; the agent is there already."""
    agent = root.with_name("agent")
    if not agent.exists():
        (agent / "bin").mkdir(parents=True)
        (agent / "bin" / "edge-agent").symlink_to(_BIN / "edge-agent")
    given = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
        "earshot_agent_requirement": "",
        "earshot_agent_folder": str(agent),
        "earshot_agent_root": str(root),
        "earshot_agent_rendered": str(fleet / "build"),
        "earshot_agent_credentials": secrets or {},
    }
    playbook = ("--inventory", "ansible/inventory.sh", "ansible/site.yml", "--limit", "market-01")
    variables = ("--extra-vars", json.dumps(given))
    return ansible("ansible-playbook", *playbook, *variables, *more, cwd=fleet)


def changed(done: "subprocess.CompletedProcess[str]") -> int:
    recap = _RECAP.search(done.stdout)
    assert recap, done.stdout + done.stderr
    return int(recap[1])


def test_a_rehearsal_changes_nothing_and_the_second_run_neither(
    fleet: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "etc" / "earshot").mkdir(parents=True)
    secrets = {"mqtt-password": "planted password"}
    rehearsal = played(fleet, root, "--check", "--diff", secrets=secrets)
    assert changed(rehearsal)
    assert re.search(r'^\+ +"device": "market-01"', rehearsal.stdout, re.MULTILINE)
    assert [path for path in root.rglob("*") if path.is_file()] == []

    first = played(fleet, root, "--diff", secrets=secrets)
    assert changed(first)
    assert (root / "etc" / "systemd" / "system" / "earshot-agent.service").is_file()
    built = (fleet / "build" / "market-01" / "config.json").read_bytes()
    assert (root / "etc" / "earshot" / "agent.json").read_bytes() == built
    secret = root / "etc" / "earshot" / "credentials" / "mqtt-password"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("planted password", 0o600)
    for done in (rehearsal, first):
        assert "planted password" not in done.stdout + done.stderr

    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    assert changed(played(fleet, root, secrets=secrets)) == 0
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_configuration_that_the_agent_refuses_does_not_get_there(
    fleet: Path, tmp_path: Path
) -> None:
    config = fleet / "build" / "market-01" / "config.json"
    config.write_text(config.read_text().replace('"mqtt"', '"mqqt"'))
    root = tmp_path / "root"
    done = played(fleet, root)
    assert done.returncode != 0
    assert "mqqt" in done.stdout
    assert not (root / "etc" / "earshot" / "agent.json").exists()
