"""A card is looked for without the plugins that a system adds, and with them if that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.capture import wire
from edge_agent.capture.alsa import PATH, SYSTEM, leave_out_plugins
from tests.sound_tree import SoundTree

pytestmark = pytest.mark.real

OPENED = """
import sys
from edge_agent.capture.alsa import leave_out_plugins
if sys.argv[1] == "lean":
    assert leave_out_plugins()
import sounddevice
print(*[device["name"] for device in sounddevice.query_devices()])
print("libpulse" in open("/proc/self/maps").read())
"""


@pytest.fixture(autouse=True)
def system_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH, raising=False)


def opened(how: str) -> tuple[list[str], bool]:
    """What PortAudio offers, and whether the sound server's library came with it."""
    done = subprocess.run(
        [sys.executable, "-c", OPENED, how], capture_output=True, text=True, check=True, timeout=60
    )
    names, loaded = done.stdout.splitlines()
    return names.split(), loaded == "True"


def test_no_plugin_is_opened_for_a_card(server: None) -> None:
    names, loaded = opened("system")
    assert "pulse" in names
    assert loaded
    names, loaded = opened("lean")
    assert "pulse" not in names
    assert not loaded


def test_a_configuration_that_somebody_chose_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH, "/etc/own.conf")
    assert not leave_out_plugins()
    assert os.environ[PATH] == "/etc/own.conf"


@pytest.mark.parametrize("text", [None, "pcm.hw {}\n", b"\xff"])
def test_a_configuration_of_another_shape_is_left_alone(
    text: str | bytes | None, tmp_path: Path
) -> None:
    other = tmp_path / "alsa.conf"
    if text is not None:
        other.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert not leave_out_plugins(other)
    assert PATH not in os.environ


def test_a_card_that_is_not_offered_without_plugins_is_tried_with_them(
    server: None, tmp_path: Path
) -> None:
    SoundTree(tmp_path).usb(7, "Device", "1-1.2")
    trace = tmp_path / "trace"
    tracing = ["strace", "-f", "-e", "trace=execve", "-v", "-s", "256", "-o", str(trace)]
    child = [sys.executable, "-I", "-m", "edge_agent.capture.child"]
    wanted = ["2", "hw:CARD=Device", "1", "48000", str(tmp_path)]
    done = subprocess.run(
        [*tracing, *child, *wanted], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == wire.EXIT_MISSING
    assert "hw:7,0 is there, but cannot be opened" in done.stderr
    children = [
        line for line in trace.read_text().splitlines() if "edge_agent.capture.child" in line
    ]
    assert [f'"{PATH}={SYSTEM}"' in line for line in children] == [False, True]
