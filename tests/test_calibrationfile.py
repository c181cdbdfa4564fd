"""`calibration.json`: what is written is read again, and nothing else is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import calibrationfile, configfile
from edge_agent.calibrationfile import FILE, Entry
from edge_agent.commands import doctor_calibration
from edge_agent.config import MicrophoneConfig
from edge_agent.errors import StoreError
from edge_agent.records import Calibration

ENTRY = Entry(
    offset_db=119.62,
    date="2026-05-02",
    source="calibrator",
    device="hw:CARD=MIC",
    channel=1,
    rate=48000,
    level_db=94.0,
    frequency_hz=1000.0,
    drift_db=-0.12,
    operator="A. Person",
    note="mast, 4 m",
    agent="0.1.0",
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    entries = {"mic": ENTRY, "roof": msgspec.structs.replace(ENTRY, offset_db=-0.7, note=None)}
    path = calibrationfile.write(tmp_path, entries)
    assert path == tmp_path / "calibration.json"
    assert path.stat().st_mode & 0o777 == 0o644
    assert calibrationfile.read(tmp_path) == entries
    assert [one.name for one in tmp_path.iterdir()] == ["calibration.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_writes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 4711, 4712)
    status = calibrationfile.write(folder, {"mic": ENTRY}).stat()
    assert (status.st_uid, status.st_gid) == (4711, 4712)


@given(st.floats(-300, 300))
def test_an_offset_keeps_its_sign_and_every_digit(
    tmp_path_factory: pytest.TempPathFactory, offset_db: float
) -> None:
    folder = tmp_path_factory.getbasetemp()
    calibrationfile.write(folder, {"mic": msgspec.structs.replace(ENTRY, offset_db=offset_db)})
    assert calibrationfile.read(folder)["mic"].offset_db == offset_db


def test_without_a_file_nothing_is_calibrated(tmp_path: Path) -> None:
    assert calibrationfile.read(tmp_path) == {}


def as_written(**changes: object) -> str:
    entry = json.loads(msgspec.json.encode(ENTRY))
    return json.dumps({"v": 1, "microphones": {"mic": {**entry, **changes}}})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Input data was truncated"),
        (as_written()[:-20], "Input data was truncated"),
        ('{"v":2,"microphones":{}}', "Invalid enum value 2 - at `$.v`"),
        ('{"microphones":[]}', "Expected `object`, got `array` - at `$.microphones`"),
        (as_written(offset_db="119.6"), "Expected `float`, got `str`"),
        (as_written(offset_db=1e6), "Expected `float` <= 300"),
        (as_written(ofset_db=1.0), "unknown field `ofset_db`"),
        (as_written(source="guess"), "Invalid enum value 'guess'"),
        (as_written(date="2026-02-30"), "day is out of range"),
        (as_written(date="20260502"), "not written YYYY-MM-DD"),
        (as_written(date="yesterday"), "Invalid isoformat string"),
        ('{"v":1,"microphones":{"mic":{}}}', "missing required field"),
    ],
)
def test_a_damaged_file_is_told_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError) as caught:
        calibrationfile.read(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path}/calibration.json: is damaged: ")
    assert reason in caught.value.message


def test_bytes_that_are_no_text_are_damage_too(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(as_written(note="ü").encode("latin-1") + b"\xff")
    with pytest.raises(StoreError, match="is damaged"):
        calibrationfile.read(tmp_path)


def test_a_disk_that_refuses_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    calibrationfile.write(tmp_path, {"mic": ENTRY})
    before = (tmp_path / FILE).read_bytes()
    # The kernel lets the process write no more than 100 bytes into any file.
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from edge_agent import calibrationfile\n"
        "folder = Path(sys.argv[1])\n"
        "entries = calibrationfile.read(folder)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n    calibrationfile.write(folder, entries | {'other': entries['mic']})\n"
        "except calibrationfile.StoreError as error:\n    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path}/calibration.json: cannot be written: File too large\n"
    assert (tmp_path / FILE).read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


def test_calibrations_at_the_same_time_lose_none(tmp_path: Path) -> None:
    calibrationfile.write(tmp_path, {"mic": ENTRY})
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge_agent import calibrationfile\n"
        "folder, who = Path(sys.argv[1]), sys.argv[2]\n"
        "entry = calibrationfile.read(folder)['mic']\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for number in range(20):\n"
        "    calibrationfile.put(folder, f'{who}-{number}', entry)\n"
    )
    four = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in "abcd"
    ]
    for one in four:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in four:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in four:
        one.communicate(timeout=60)
        assert one.returncode == 0
    names = {"mic"} | {f"{who}-{number}" for who in "abcd" for number in range(20)}
    assert set(calibrationfile.read(tmp_path)) == names


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: No such file or directory"):
        calibrationfile.put(tmp_path / "nowhere", "mic", ENTRY)


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        (MicrophoneConfig(device="hw:CARD=MIC"), True),
        (MicrophoneConfig(device="hw:CARD=MIC", rate=44100), True),
        (MicrophoneConfig(device="hw:CARD=MIC", channels=2), True),
        (MicrophoneConfig(device="hw:CARD=MIC", channels=2, channel=2), False),
        (MicrophoneConfig(device="hw:CARD=Other"), False),
        (MicrophoneConfig(kind="stdin"), False),
    ],
)
def test_a_calibration_holds_for_its_device_and_channel(
    settings: MicrophoneConfig, fits: bool
) -> None:
    assert ENTRY.fits(settings) == fits


def test_recordings_stand_for_one_microphone_whatever_their_name() -> None:
    entry = msgspec.structs.replace(ENTRY, device="file")
    assert entry.fits(MicrophoneConfig(kind="file", path="street.wav"))


def test_readings_carry_offset_date_and_source() -> None:
    assert ENTRY.in_short() == Calibration(offset_db=119.62, date="2026-05-02", source="calibrator")


def test_the_doctor_says_which_calibrations_hold(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(
        "microphones:\n  mast: {device: 'hw:CARD=MIC'}\n  roof: {device: default}\n"
        "  yard: {device: default}\nstate_dir: .\n"
    )
    calibrationfile.write(tmp_path, {"mast": ENTRY, "roof": ENTRY})
    mast, roof, yard = doctor_calibration.calibrations(configfile.load(config))
    assert (mast.status, mast.found) == ("ok", "mast: 119.62 dB (calibrator, 2026-05-02)")
    assert roof.status == "fault"
    assert roof.found == (
        "roof: 119.62 dB (calibrator, 2026-05-02) does not hold: it was made with hw:CARD=MIC, "
        "channel 1, and this is default, channel 1"
    )
    assert (yard.status, yard.found) == ("ok", "yard: none, so its levels are in dBFS")
    (tmp_path / FILE).write_text("{")
    (damaged,) = doctor_calibration.calibrations(configfile.load(config))
    assert damaged.status == "fault"
    assert "is damaged" in damaged.found
