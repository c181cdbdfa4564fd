"""What no linter sees: labels in the agent, what the child imports, what the wheel carries."""

import ast
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


# What the agent may use of the libraries that can also write and play: an audio file is read by
# blocks, a microphone is an input.
READS = {
    "soundfile": {"blocks", "info", "SoundFileError"},
    "sounddevice": {
        "RawInputStream", "check_input_settings", "query_devices", "query_hostapis",
        "PortAudioError",
    },
}  # fmt: skip
STORES = {"save", "savez", "savez_compressed", "savetxt", "tofile", "memmap"}
"""How numpy puts arrays into files."""


def audio_written(code: str) -> list[str]:
    """What in a module could write or play sound, by the names that it uses."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            library = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr not in READS.get(library, {node.attr}) or node.attr in STORES:
                found.append(f"{library}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module in READS:
            found.append(f"from {node.module} import")
        elif isinstance(node, ast.Import):
            # By another name they would escape this test.
            found += [one.name for one in node.names if one.name in READS and one.asname]
    return found


def test_nothing_in_the_agent_writes_or_plays_sound() -> None:
    for path in (ROOT / "edge_agent").rglob("*.py"):
        assert audio_written(path.read_text()) == [], path


@pytest.mark.parametrize(
    "code",
    [
        "soundfile.write(path, samples, 48000)",
        'with soundfile.SoundFile(path, "w") as file: pass',
        "from soundfile import write",
        "import soundfile as sf",
        "sounddevice.OutputStream()",
        "sounddevice.RawStream()",
        "sounddevice.play(samples)",
        "samples.tofile(path)",
        "np.save(path, block.samples)",
    ],
)
def test_the_test_finds_what_writes_or_plays_sound(code: str) -> None:
    assert audio_written(code)


def test_the_capture_child_loads_neither_numpy_nor_msgspec() -> None:
    code = "import sys, edge_agent.capture.child; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "msgspec", "soxr", "paho", "yaml"}


def test_the_service_starts_its_microphones_before_it_loads_what_takes_long() -> None:
    code = "import sys, edge_agent.cli, edge_agent.commands.run\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "edge_agent.capture.process" in loaded
    assert not loaded & {"numpy", "paho", "sqlite3", "ai_edge_litert", "soxr"}


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


def test_the_faults_that_the_arm_leg_must_catch_can_still_be_made() -> None:
    script = (ROOT / "scripts" / "arm64" / "faults").read_text()
    changes = re.findall(r"^  change (\S+) '([^']+)' '[^']+'$", script, re.MULTILINE)
    assert len(changes) == 2
    for path, line in changes:
        assert (ROOT / path).read_text().count(line) == 1, path
