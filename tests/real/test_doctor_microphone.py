"""The doctor at a real sound server."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import configfile
from edge_agent.commands.doctor_sound import microphones
from edge_agent.commands.finding import Finding
from tests.real.broker import Mosquitto
from tests.real.sound import pactl, wait_until
from tests.real.test_capture import played

pytestmark = pytest.mark.real


def playing(folder: Path) -> "subprocess.Popen[bytes]":
    """A tone of half of full scale that sounds already."""
    player = played(folder, "mic", 1000.0)
    wait_until(lambda: bool(pactl("list", "short", "sink-inputs")), "the tone is played")
    return player


def heard_by_doctor(folder: Path, settings: str) -> Finding:
    config = folder / "agent.yaml"
    config.write_text(f"microphones: {{mic: {{{settings}}}}}\n")
    (found,) = microphones(configfile.load(config))
    return found


def test_a_microphone_is_heard_with_its_level(tmp_path: Path, server: None) -> None:
    player = playing(tmp_path)
    try:
        found = heard_by_doctor(tmp_path, "device: mic0")
    finally:
        player.kill()
        player.wait()
    assert found.status == "ok", found
    # Half of full scale, at the frequency where A is 0 dB.
    assert found.found == "mic: mic0: LAeq -6.0 dBFS"


def test_a_microphone_of_nothing_but_zeros_is_a_fault(
    tmp_path: Path,
    server: None,
) -> None:
    found = heard_by_doctor(tmp_path, "device: mic0")
    assert found.status == "fault"
    assert found.found == "mic: mic0 gives only silence (silent_input)"


def test_a_microphone_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path,
    server: None,
) -> None:
    found = heard_by_doctor(tmp_path, "device: no such device")
    assert found.status == "fault"
    assert "no such device" in found.found
    assert "mic0" in found.found
    assert found.todo == "Plug the microphone in, or set `device` to one of the devices listed."


def test_the_whole_report_by_the_command(tmp_path: Path, server: None) -> None:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        config = tmp_path / "agent.yaml"
        config.write_text(
            "site: {site: quai-nord, device: ear-0042}\nstate_dir: state\n"
            f"microphones: {{mic: {{device: mic0}}}}\nmqtt: {{port: {broker.port}}}\n"
        )
        player = playing(tmp_path)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "edge_agent", "doctor", "--config", str(config)],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        finally:
            player.kill()
            player.wait()
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert f"ok        configuration {config}" in lines
    assert "ok        microphone    mic: mic0: LAeq -6.0 dBFS" in lines
    assert any(
        line.startswith(f"ok        broker        localhost:{broker.port}") for line in lines
    )
    assert lines[-1].startswith("faults: 0, warnings: ")
    assert "Traceback" not in done.stderr
