"""A service that finds `calibration.json`: what it measures, tells, and does when it is damaged."""

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from msgspec import UNSET

from edge_agent import calibrationfile
from edge_agent.calibrationfile import Entry
from edge_agent.payloads import AlertPayload, HealthPayload, InfoPayload, LevelPayload
from tests.real.broker import Mosquitto, Subscriber, subscribed, wait_for

pytestmark = pytest.mark.real

_CONFIG = """
microphones:
  mic: {{kind: file, path: tone.flac, response: mic.txt}}
  bare: {{kind: file, path: tone.flac}}
  moved: {{kind: file, path: tone.flac}}
alerts:
  loud: {{indicator: LAeq, above_db: 93, for_s: 1}}
mqtt: {{host: 127.0.0.1, port: {port}}}
state_dir: state
"""
_ONE = """
microphones:
  mic: {{kind: file, path: tone.flac, response: mic.txt}}
alerts:
  loud: {{indicator: LAeq, above_db: 93, for_s: 1}}
mqtt: {{host: 127.0.0.1, port: {port}}}
state_dir: state
"""
_ENTRY = Entry(
    offset_db=119.62,
    date="2026-05-02",
    source="calibrator",
    device="file",
    channel=1,
    rate=48000,
    level_db=94.0,
    frequency_hz=1000.0,
    agent="0.1.0",
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of an agent that plays four seconds of 1 kHz with an RMS of -26 dBFS to each microphone."""
    tone = 10 ** (-26 / 20) * np.sin(2 * np.pi * 1000 * np.arange(4 * 48_000) / 48_000)
    soundfile.write(tmp_path / "tone.flac", tone, 48_000)  # noqa: TID251
    (tmp_path / "mic.txt").write_text("20 -3\n1000 0.5\n20000 4\n")
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def listened(folder: Path, broker: Mosquitto, subscriber: Subscriber, text: str = _CONFIG) -> str:
    """Run it to the recordings' end; the log."""
    config = folder / "agent.yaml"
    config.write_text(text.format(port=broker.port))
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    wait_for(lambda: bool(subscriber.payloads("/status")[1:]), "the last status")
    return done.stderr


def of_mic(subscriber: Subscriber, name: str) -> list[LevelPayload]:
    told = [one for one in subscriber.payloads("/levels/") if isinstance(one, LevelPayload)]
    return [one for one in told if one.microphone == name and one.complete]


def faults(subscriber: Subscriber) -> set[str]:
    told = [one for one in subscriber.payloads("/health") if isinstance(one, HealthPayload)]
    return {fault for one in told for fault in one.faults}


def test_levels_are_in_decibels_where_a_calibration_holds_and_only_there(
    tmp_path: Path, state: Path
) -> None:
    moved = msgspec.structs.replace(_ENTRY, device="hw:CARD=MIC")
    calibrationfile.write(state, {"mic": _ENTRY, "moved": moved})
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with subscribed(broker) as subscriber:
            listened(tmp_path, broker, subscriber)
            calibrated = of_mic(subscriber, "mic")
            assert len(calibrated) >= 2
            for reading in calibrated:
                # -26 dBFS at 1 kHz, where A is 0 dB, on a microphone of 119.62 dB.
                assert reading.laeq == 93.6
                assert reading.laeq_dbfs is UNSET
                assert reading.calibration.offset_db == 119.62
                assert reading.calibration.date == "2026-05-02"
                assert reading.calibration.source == "calibrator"
            for name in ("bare", "moved"):
                for reading in of_mic(subscriber, name):
                    assert reading.laeq_dbfs == -26.0
                    assert reading.laeq is UNSET
                    assert reading.calibration.source == "none"
            told = subscriber.payloads("/alerts/loud")
            alerts = [one for one in told if isinstance(one, AlertPayload)]
            assert {one.microphone for one in alerts} == {"mic"}
            assert {one.indicator for one in alerts} == {"LAeq"}
            assert alerts[0].value == 93.6
            assert "calibration_unfit:moved" in faults(subscriber)
            assert "calibration_unreadable" not in faults(subscriber)
            info = next(one for one in subscriber.payloads("/info"))
            assert isinstance(info, InfoPayload)
            assert "L90" in info.slow_indicators
            assert (info.periods_s, info.third_octaves) == ((1, 60, 900, 3600), False)
            digits = hashlib.sha256((tmp_path / "mic.txt").read_bytes()).hexdigest()[:8]
            assert [one.response for one in info.microphones] == [digits, UNSET, UNSET]
            assert {name: one.source for name, one in info.calibration.items()} == {
                "mic": "calibrator",
                "bare": "none",
                "moved": "none",
            }


def test_a_damaged_file_is_a_fault_and_the_agent_listens_in_dbfs(
    tmp_path: Path, state: Path
) -> None:
    path = calibrationfile.write(state, {"mic": _ENTRY})
    path.write_bytes(path.read_bytes()[:-30])
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with subscribed(broker) as subscriber:
            log = listened(tmp_path, broker, subscriber)
            assert f"ERROR {path}: is damaged: Input data was truncated" in log
            assert {one.laeq_dbfs for one in of_mic(subscriber, "mic")} == {-26.0}
            assert "calibration_unreadable" in faults(subscriber)
            assert "alert_uncalibrated:loud" in faults(subscriber)
            told = subscriber.payloads("/alerts/loud")
            assert not [one for one in told if isinstance(one, AlertPayload)]


@pytest.mark.parametrize(
    ("date", "laeq", "source"),
    [("2026-05-03", 94.0, "laboratory"), ("2026-05-02", 93.6, "calibrator")],
)
def test_a_laboratorys_value_comes_with_the_release_and_the_newer_date_wins(
    tmp_path: Path, state: Path, date: str, laeq: float, source: str
) -> None:
    calibrationfile.write(state, {"mic": _ENTRY})
    brought = {"release": 7, "calibration": {"offset_db": 120.0, "date": date}}
    (tmp_path / "release.json").write_bytes(msgspec.json.encode(brought))
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with subscribed(broker) as subscriber:
            listened(tmp_path, broker, subscriber, _ONE)
            readings = of_mic(subscriber, "mic")
            assert {one.laeq for one in readings} == {laeq}
            assert {one.calibration.source for one in readings} == {source}
            told = [one for one in subscriber.payloads("/info") if isinstance(one, InfoPayload)]
            assert told[-1].calibration["mic"].source == source
            assert "alert_uncalibrated:loud" not in faults(subscriber)
