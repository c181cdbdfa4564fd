"""The service without its microphone: it starts, says so, and listens as soon as it can."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.payloads import HealthPayload, LevelPayload
from tests.real.broker import Mosquitto, Subscriber, subscribed, wait_for
from tests.real.sound import MONO, STEREO, pactl

pytestmark = pytest.mark.real

_CONFIG = """
microphones:
  mast: {{device: {device}}}
mqtt: {{host: 127.0.0.1, port: {port}}}
state_dir: {folder}/state
"""


def healths(subscriber: Subscriber) -> list[HealthPayload]:
    return [one for one in subscriber.payloads("/health") if isinstance(one, HealthPayload)]


def of_microphone(health: HealthPayload) -> list[str]:
    return [fault for fault in health.faults if fault.endswith(":mast")]


def levels(subscriber: Subscriber) -> list[LevelPayload]:
    return [one for one in subscriber.payloads("/levels/") if isinstance(one, LevelPayload)]


def plug_in() -> None:
    pactl("load-module", *MONO.split())
    pactl("load-module", *STEREO.split())


def test_a_service_waits_for_its_microphone_and_for_its_return(
    server: None, tmp_path: Path
) -> None:
    # Both sinks: PulseAudio would take the one that is left.
    pactl("unload-module", "module-null-sink")
    plugged = False
    config = tmp_path / "agent.yaml"
    log = tmp_path / "agent.log"
    try:
        with Mosquitto(tmp_path) as broker:
            broker.start()
            config.write_text(_CONFIG.format(device="mic0", port=broker.port, folder=tmp_path))
            command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
            with subscribed(broker) as subscriber, log.open("wb") as stderr:
                service = subprocess.Popen(command, stderr=stderr)
                try:

                    def last() -> list[str] | None:
                        found = healths(subscriber)
                        return of_microphone(found[-1]) if found else None

                    wait_for(lambda: last() == ["mic_missing:mast"], "the fault stands", 30)
                    assert str(healths(subscriber)[-1].capture[0].last_error).startswith("mic0: ")
                    assert levels(subscriber) == []
                    plug_in()
                    plugged = True
                    wait_for(lambda: len(levels(subscriber)) >= 3, "it listens", 60)
                    # Silence of exact zeros is a fault of its own; here it is a null sink's.
                    wait_for(lambda: last() in ([], ["dead:mast"]), "the fault is gone", 30)
                    assert healths(subscriber)[-1].capture[0].last_error is None
                    pactl("unload-module", "module-null-sink")
                    plugged = False
                    wait_for(lambda: "mic_missing:mast" in (last() or []), "it is missing", 30)
                    plug_in()
                    plugged = True
                    known = len(levels(subscriber))
                    wait_for(lambda: len(levels(subscriber)) >= known + 3, "it is back", 60)
                    service.send_signal(signal.SIGTERM)
                    assert service.wait(10) == 0
                finally:
                    service.kill()
                    service.wait()
        # One name at a time: what was just pulled out may be silent first, and then missing.
        both = {"no_blocks:mast", "mic_missing:mast"}
        assert not any(both <= set(one.faults) for one in healths(subscriber))
        text = log.read_text()
        assert "Traceback" not in text
        assert "Plug the microphone in, or set `device` to one of the devices listed; next" in text
    finally:
        if not plugged:
            plug_in()


def test_a_service_that_refuses_its_model_leaves_no_capture_process(
    server: None, tmp_path: Path
) -> None:
    config = tmp_path / "agent.yaml"
    text = _CONFIG.format(device="mic0", port=1, folder=tmp_path)
    config.write_text(f"{text}model: {{path: {tmp_path}/nowhere}}\n")
    trace = tmp_path / "trace"
    tracing = ["strace", "-f", "-e", "trace=execve", "-s", "256", "-o", str(trace)]
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    done = subprocess.run(
        [*tracing, *command], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr.startswith("edge-agent: ")
    (child,) = [
        line for line in trace.read_text().splitlines() if '"edge_agent.capture.child"' in line
    ]
    pid = int(child.split()[0])
    # It may have ended by itself. Columns: a shorter number of a process has more spaces behind it.
    assert re.search(
        rf"^{pid} +\+\+\+ (killed by SIGKILL|exited with \d+) \+\+\+", trace.read_text(), re.M
    )


def test_the_demo_says_at_once_that_there_is_no_such_microphone(
    server: None, tmp_path: Path
) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("microphones: {mast: {device: 'hw:CARD=Nowhere'}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "demo", "--mic", "--json", "--config", str(config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    wrong, hint = done.stderr.splitlines()[-2:]
    assert wrong.startswith("edge-agent: microphone mast: hw:CARD=Nowhere: no sound card has this")
    assert hint.startswith("  Plug the microphone in")
    assert all(json.loads(line) for line in done.stdout.splitlines())
