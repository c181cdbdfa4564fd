"""Faults of a microphone's sound, from its samples to `health` at a real broker.

Sound is heard at the pace of the service's clock; here that one runs fast (`hasty.py`), so that ten
minutes of a microphone that is too quiet take half a minute.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.payloads import HealthPayload, LevelPayload
from tests.real.broker import Mosquitto, Subscriber, subscribed, wait_for

pytestmark = pytest.mark.real

Pcm = npt.NDArray[np.int16]
_SECOND = 48_000
_CONFIG = """
microphones:
  mast: {{kind: stdin, noise_floor_dbfs: -75}}
mqtt: {{host: 127.0.0.1, port: {port}, ack_timeout_s: 300}}
state_dir: {folder}/state
"""


def noise(rms: float) -> Pcm:
    second = np.random.default_rng(1).normal(0, rms * 2**15, _SECOND)
    return np.clip(second, -(2**15), 2**15 - 1).astype(np.int16)


HEALTHY = noise(0.01)


@contextmanager
def listening(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    config = folder / "agent.yaml"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    command = [sys.executable, "-m", "tests.real.hasty", str(config)]
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def hear(process: "subprocess.Popen[bytes]", second: Pcm, seconds: int) -> None:
    assert process.stdin is not None
    for _ in range(seconds):
        process.stdin.write(second.astype("<i2").tobytes())
    process.stdin.flush()


def faults(subscriber: Subscriber) -> list[str] | None:
    """Those of the microphone that the last `health` names; None before the first."""
    told = [one for one in subscriber.payloads("/health") if isinstance(one, HealthPayload)]
    return [fault for fault in told[-1].faults if fault.endswith(":mast")] if told else None


@pytest.mark.parametrize(
    ("name", "ill", "raise_s", "clear_s"),
    [
        ("dead", np.zeros(_SECOND, np.int16), 5, 10),
        ("stuck", np.full(_SECOND, -700, np.int16), 5, 10),
        ("dc", noise(0.01) + np.int16(2000), 60, 10),
        ("clipped", noise(1.0), 61, 70),
        ("too_quiet", noise(0.0001), 600, 10),
    ],
)
def test_a_fault_of_the_sound_is_named_in_health_and_taken_back(
    tmp_path: Path, name: str, ill: Pcm, raise_s: int, clear_s: int
) -> None:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with subscribed(broker) as subscriber, listening(tmp_path, broker.port) as process:

            def hear_until(second: Pcm, seconds: int, expected: list[str]) -> None:
                # Longer than the rule asks, as a busy machine's clock skips some of the seconds.
                hear(process, second, seconds)

                def told() -> bool:
                    hear(process, second, 1)
                    return faults(subscriber) == expected

                wait_for(told, f"a health with {expected}", 180)

            hear_until(HEALTHY, 12, [])
            hear_until(ill, raise_s + 1, [f"{name}:mast"])
            hear_until(HEALTHY, clear_s + 2, [])
        log = (tmp_path / "agent.log").read_text()
        assert f"fault: {name}:mast" in log
        assert f"mended: {name}:mast" in log
        silent = {"dead", "stuck"}
        reasons = {why for one in levels(subscriber) for why in (one.reasons or {}).values()}
        assert reasons == ({"silent_input"} if name in silent else set())


def levels(subscriber: Subscriber) -> list[LevelPayload]:
    return [one for one in subscriber.payloads("/levels/1s") if isinstance(one, LevelPayload)]
