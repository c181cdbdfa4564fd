"""`edge-agent replay` as a user calls it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge_agent.messages import payload_type

pytestmark = pytest.mark.real


def replayed(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edge_agent", "replay", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        timeout=120,
        check=False,
        env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"},
    )


@pytest.fixture(scope="module")
def sirens(data_root: Path) -> list[Path]:
    with (data_root / "full_rate.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "siren"]
    return [data_root / row["path"] for row in rows]


@pytest.mark.data
def test_every_message_is_one_of_the_contract(sirens: list[Path]) -> None:
    done = replayed("--json", *sirens)
    assert done.returncode == 0, done.stderr.decode()
    for line in done.stdout.splitlines():
        message = json.loads(line)
        assert list(message) == ["topic", "qos", "retain", "payload"]
        msgspec.convert(message["payload"], payload_type(message["topic"]))


@pytest.mark.data
def test_a_clip_of_five_seconds_gives_five_levels_from_the_epoch_on(sirens: list[Path]) -> None:
    done = replayed("--json", sirens[0])
    payloads = [json.loads(line)["payload"] for line in done.stdout.splitlines()]
    levels = [payload for payload in payloads if "period_s" in payload]
    assert [level["start"] for level in levels] == [
        f"1970-01-01T00:00:0{second}.000Z" for second in range(5)
    ]
    assert all(-100 < level["LAeq_dbfs"] <= 3.1 for level in levels)
    assert all(payload["time_synced"] is False for payload in payloads)


@pytest.mark.data
def test_the_same_command_prints_the_same_bytes(sirens: list[Path]) -> None:
    first = replayed("--json", "--seed", "7", *sirens[:2], hash_seed="0")
    again = replayed("--json", "--seed", "7", *sirens[:2], hash_seed="1")
    assert first.stdout == again.stdout
    other = replayed("--json", "--seed", "8", *sirens[:2])
    assert other.stdout != first.stdout


@pytest.mark.data
def test_a_file_that_is_no_audio_is_told_after_the_others_were_done(
    sirens: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"fLaC and then nothing")
    done = replayed("--json", broken, sirens[0])
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) >= 5
    first, second = done.stderr.decode().splitlines()[-2:]
    assert "broken.flac" in first
    assert second.strip()
    assert b"Traceback" not in done.stderr


@pytest.mark.data
def test_start_sets_the_time_of_the_first_sample(sirens: list[Path]) -> None:
    done = replayed("--json", "--start", "2026-06-01T10:00:00+02:00", sirens[0])
    first = json.loads(done.stdout.splitlines()[0])["payload"]
    assert first["start"] == "2026-06-01T08:00:00.000Z"
    assert first["time_synced"] is False


def test_a_time_without_a_zone_is_refused_in_words() -> None:
    done = replayed("--start", "2026-06-01T10:00:00", "any.wav")
    assert done.returncode == 2
    assert b"has no time zone" in done.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = replayed(tmp_path / "nowhere.wav")
    assert done.returncode == 2
    assert b"nowhere.wav" in done.stderr
    assert b"Traceback" not in done.stderr
