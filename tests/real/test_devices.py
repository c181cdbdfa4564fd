"""`edge-agent devices` as it is typed: real child, real PortAudio, real sound server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.capture.devices import devices
from edge_agent.commands.devices import show_devices
from tests.sound_tree import SoundTree

pytestmark = pytest.mark.real


def typed(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge_agent", "devices", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_plugin_is_listed_with_its_kind_and_no_rates(server: None) -> None:
    done = typed("--json")
    assert done.returncode == 0, done.stderr
    found = {one["device"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert found["mic0"]["resampled_by"] == "pulse"
    assert found["mic0"]["rates"] is None
    assert "mic1" in found
    (line,) = [line for line in typed().stdout.splitlines() if line.startswith("mic0: ")]
    assert line.endswith("resampled by pulse")


def test_without_a_device_it_says_what_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/proc/asound/cards").exists():
        pytest.skip("this machine has a sound card")
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")
    done = typed()
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("No capture device. Is the microphone plugged in")
    silent = typed("--json")
    assert (silent.returncode, silent.stdout) == (0, "")
    assert silent.stderr.startswith("No capture device.")


def test_a_card_is_listed_by_its_stable_names_with_the_usb_descriptors_rates(
    server: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = SoundTree(tmp_path)
    tree.usb(7, "Device", "1-1.2")
    tree.record(7, 4711)
    card = devices(tmp_path)[0]
    assert (card.device, card.also) == ("hw:CARD=Device", ("usb:0d8c:013c",))
    assert card.rates == (44100, 48000)
    assert card.in_use_by == 4711
    assert show_devices(as_json=False, root=tmp_path) == 0
    assert capsys.readouterr().out.startswith(
        "hw:CARD=Device: USB PnP Sound Device, 44100, 48000 Hz, in use by process 4711\n"
        "  or usb:0d8c:013c\n"
    )


def test_a_sound_library_that_fails_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PortAudio aborts its process over this, or calls it an unanticipated host error.
    config = tmp_path / "alsa.conf"
    config.write_text("pcm.mic {\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    done = typed()
    assert (done.returncode, done.stdout) == (2, "")
    wrong, hint = done.stderr.splitlines()
    assert wrong.startswith("edge-agent: PortAudio ended (")
    assert hint == "  Look whether `arecord -L` works for this user."
