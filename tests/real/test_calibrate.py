"""The installed command calibrates what it hears through a sound server and on stdin."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent import calibrationfile
from tests.real.sound import pactl, wait_until
from tests.real.test_capture import played

pytestmark = pytest.mark.real


def command(folder: Path, microphone: str, *options: str) -> list[str]:
    (folder / "state").mkdir()
    config = folder / "agent.yaml"
    config.write_text(f"microphones: {{mic: {{{microphone}}}}}\nstate_dir: state\n")
    program = [sys.executable, "-m", "edge_agent", "calibrate", "--config", str(config)]
    return [*program, "--level", "94", *options]


def test_a_tone_through_the_capture_child(tmp_path: Path, server: None) -> None:
    call = command(tmp_path, "device: mic0", "--note", "a null sink", "--date", "2026-05-02")
    # A machine that is too busy loses pieces of the tone, which is refused, and rightly so.
    for _ in range(3):
        done = while_played(tmp_path, call)
        if done.returncode == 0 or not re.search("varied|lost", done.stderr):
            break
    assert done.returncode == 0, done.stderr
    entry = calibrationfile.read(tmp_path / "state")["mic"]
    assert entry.offset_db == pytest.approx(100.02, abs=0.01)
    assert (entry.device, entry.date, entry.note) == ("mic0", "2026-05-02", "a null sink")


def while_played(folder: Path, call: list[str]) -> "subprocess.CompletedProcess[str]":
    """The call, while a tone of half of full scale sounds: -6.02 dBFS."""
    player = played(folder, "mic", 1000.0)
    try:
        wait_until(lambda: bool(pactl("list", "short", "sink-inputs")), "the tone is played")
        return subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    finally:
        player.kill()
        player.wait()


def test_a_device_that_is_not_there_is_told_in_two_lines(tmp_path: Path, server: None) -> None:
    call = command(tmp_path, "device: no such device")
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    wrong, hint = done.stderr.splitlines()[-2:]
    assert wrong.startswith("edge-agent: microphone mic: no such device: ")
    assert hint == "  Plug the microphone in, or set `device` to one of the devices listed."
    assert not list((tmp_path / "state").iterdir())


def test_a_tone_on_stdin(tmp_path: Path) -> None:
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(13 * 48_000) / 48_000)
    raw = tmp_path / "tone.raw"
    raw.write_bytes(np.round(tone * 32768).astype("<i2").tobytes())
    call = command(tmp_path, "kind: stdin")
    with raw.open("rb") as stdin:
        done = subprocess.run(
            call, stdin=stdin, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    # -20 dBFS.
    assert calibrationfile.read(tmp_path / "state")["mic"].offset_db == 114.0
    assert "mic: offset 114.00 dB (calibrator, " in done.stdout
