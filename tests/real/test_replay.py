"""`edge-agent replay` as a user calls it."""

import csv
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import msgspec
import pytest

from edge_agent.topics import payload_type

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


def shelled(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """The script's `"$@"` is the command, to be redirected as a shell does it."""
    command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, timeout=120, check=False
    )


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """Two seconds of silence."""
    path = tmp_path / "quiet.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 96000))
    return path


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


@pytest.mark.parametrize(
    "time",
    ["9999-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00"],
)
def test_a_time_that_no_recording_has_is_refused_in_words(time: str) -> None:
    done = replayed("--start", time, "any.wav")
    assert done.returncode == 2
    assert b"is not in the years 1970 to 2199" in done.stderr


@pytest.mark.parametrize(
    ("redirection", "problem"),
    [
        (">&-", "stdout is closed, and what was heard is printed there"),
        (">/dev/full", "the output cannot be written: No space left on device"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_in_two_lines(
    quiet: Path, redirection: str, problem: str
) -> None:
    done = shelled(f'"$@" {redirection}', "replay", "--json", quiet)
    assert done.returncode == 2
    *_, first, second = done.stderr.decode().splitlines()
    assert first == f"edge-agent: {problem}"
    assert second.startswith("  ")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_no_bar_still_gets_its_lines(tmp_path: Path, encoding: str) -> None:
    loud = tmp_path / "loud.wav"
    with wave.open(str(loud), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        # A square wave at half of full scale.
        file.writeframes((b"\0\x40" * 24 + b"\0\xc0" * 24) * 1000)
    done = shelled(f'PYTHONIOENCODING={encoding} "$@"', "replay", loud)
    assert done.returncode == 0, done.stderr.decode()
    assert "level  LAeq" in done.stdout.decode(encoding)
    assert "????" in done.stdout.decode(encoding)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = replayed(tmp_path / "nowhere.wav")
    assert done.returncode == 2
    assert b"nowhere.wav" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_file_that_may_not_be_read_is_told_after_the_others_were_done(
    tmp_path: Path, quiet: Path
) -> None:
    secret = tmp_path / "secret.wav"
    secret.touch(mode=0)
    # Root reads everything, unless it gives that up.
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search " if os.geteuid() == 0 else ""
    done = shelled(f'{drop}"$@"', "replay", "--json", secret, quiet)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.decode().splitlines()[-2:] == [
        f"edge-agent: {secret}: cannot be opened: Permission denied",
        "  Give a file that is there and can be read.",
    ]


def test_a_name_that_is_no_utf_8_is_played_and_told(tmp_path: Path, quiet: Path) -> None:
    named, gone = (tmp_path / os.fsdecode(name) for name in (b"\xe9.wav", b"gone\xe9.wav"))
    quiet.rename(named)
    done = replayed(gone, named)
    assert done.returncode == 2
    assert done.stdout.count(b"LAeq") == 2
    assert rb"gone\udce9.wav: cannot be opened: No such file" in done.stderr
    assert b"Traceback" not in done.stderr


def test_sound_in_a_pipe_is_refused_with_the_way_to_hear_it(quiet: Path) -> None:
    done = shelled(f'cat {quiet} | "$@"', "replay", "/dev/stdin")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-2:] == [
        "edge-agent: /dev/stdin: is a pipe or a device, not a file",
        "  Give a file; raw PCM in a pipe is for `run`, microphone kind `stdin`.",
    ]


def test_a_rule_that_rests_is_named_once_on_stderr(tmp_path: Path, quiet: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("alerts: {loud: {indicator: LAeq, above_db: 70, for_s: 1}}\n")
    done = replayed("--json", "--config", config, quiet, quiet)
    assert done.returncode == 0
    assert done.stderr.count(b"alerts.loud: rests, for `above_db` needs a calibrated") == 1
    assert done.stdout == replayed("--json", quiet, quiet).stdout


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    """A second of silence, then three of a square wave at half of full scale."""
    path = tmp_path / "loud.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes(bytes(96000) + (b"\0\x40" * 24 + b"\0\xc0" * 24) * 3000)
    return path


def test_explain_says_of_each_file_what_was_lacking_and_what_fired(
    tmp_path: Path, loud: Path, quiet: Path
) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("alerts: {loud: {indicator: LAeq, above_dbfs: -20, for_s: 2}}\n")
    done = replayed("--config", config, "--explain", loud, quiet)
    assert done.returncode == 0, done.stderr.decode()
    first, second = done.stdout.decode().split(f"{quiet}\n")
    assert first.startswith(f"{loud}\n")
    held = "00:00:02.000  alert loud  held back, best -"
    assert held in first
    assert ": lasted 1.00 s of 2 s (1 second)\n" in first
    assert "00:00:03.000  alert loud  FIRED: LAeq_dbfs -" in first
    assert "limit -20, lasted 2.00 s of 2 s\n" in first
    assert "alert loud  ended (end_of_input) after 3.00 s" in first
    assert second.endswith("never near: alert loud\n")
    assert b"level  LAeq" not in done.stdout


def test_explain_with_json_prints_reasons_and_no_messages(tmp_path: Path, loud: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("alerts: {loud: {indicator: LAeq, above_dbfs: -20, for_s: 2}}\n")
    done = replayed("--config", config, "--explain", "--json", loud, loud)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["file"] for line in told} == {str(loud)}
    assert not any("topic" in line for line in told)
    steps = [line["step"] for line in told if line.get("rule") == "loud"]
    assert steps == ["for_s", "started", "goes_on", "ended"] * 2
    assert sum("never_near" in line for line in told) == 2


@pytest.mark.data
def test_explain_starts_what_the_messages_start(sirens: list[Path]) -> None:
    told = 0
    for siren in sirens[:3]:
        plain = replayed("--json", siren)
        payloads = [json.loads(line)["payload"] for line in plain.stdout.splitlines()]
        events = [p for p in payloads if p.get("phase") in ("start", "end") and "label" in p]
        reasons = [
            json.loads(line) for line in replayed("--explain", "--json", siren).stdout.splitlines()
        ]
        changes = [r for r in reasons if r.get("step") in ("started", "ended") and "label" in r]
        phases = {"started": "start", "ended": "end"}
        told += len(events)
        assert [(p["label"], p["phase"]) for p in events] == [
            (r["label"], phases[r["step"]]) for r in changes
        ]
    assert told


def test_a_recording_that_breaks_off_is_explained_as_far_as_it_goes(
    loud: Path, tmp_path: Path
) -> None:
    done = replayed("--explain", tmp_path / "nowhere.wav", loud)
    assert done.returncode == 2
    assert b"never near" in done.stdout
    assert b"Traceback" not in done.stderr
