"""What no linter sees: labels in the agent, what the child imports, what the wheel carries."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# It plays the sounds, so it has to name them.
PLAYS = {"scene.py", "verdict.py"}


def test_the_agent_knows_no_label() -> None:
    record = json.loads((ROOT / "models" / "street" / "model.json").read_text())
    labels = [label["id"] for label in record["labels"]]
    quoted = re.compile("|".join(f"[\"']{label}[\"']" for label in labels))
    for path in (ROOT / "edge_agent").rglob("*.py"):
        if path.name not in PLAYS:
            found = quoted.search(path.read_text())
            assert found is None, f"{path.name} knows {found}"


def test_the_capture_child_loads_neither_numpy_nor_msgspec() -> None:
    code = "import sys, edge_agent.capture.child; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "msgspec", "soxr", "paho", "yaml"}


def installed(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command of the plain, not editable install that scripts/test makes."""
    command = ROOT / ".venv-demo" / "bin" / "edge-agent"
    if not command.is_file():
        pytest.fail("no plain install: run scripts/test, or scripts/env --plain .venv-demo demo")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [str(command), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_installed_command_finds_its_model_from_any_folder(tmp_path: Path) -> None:
    done = installed("replay", "nowhere.wav", folder=tmp_path)
    assert done.returncode == 2
    assert "nowhere.wav" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_command_puts_its_service_in_place(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    done = installed("install", "--root", str(root), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    unit = (root / "etc" / "systemd" / "system" / "earshot-agent.service").read_text()
    started = re.search(r"^ExecStart=(\S+) run ", unit, re.M)
    assert started is not None
    assert Path(started[1]).samefile(ROOT / ".venv-demo" / "bin" / "edge-agent")


def test_the_wheel_carries_the_model_every_configuration_and_the_units() -> None:
    site = next((ROOT / ".venv-demo").glob("lib/python3*/site-packages/edge_agent/data"))
    for folder in ("models/street", "firmware_configs", "systemd"):
        shipped = {path.name for path in (ROOT / folder).iterdir()}
        assert {path.name for path in (site / folder).iterdir()} == shipped
