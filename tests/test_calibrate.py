"""`edge-agent calibrate` with recordings for microphones: what it takes, refuses and writes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from edge_agent import calibrationfile
from edge_agent.calibrationfile import Entry
from edge_agent.capture.open import Source
from edge_agent.cli import cli
from edge_agent.clock import SimulatedClock
from edge_agent.commands import calibrate as command
from edge_agent.commands.calibrate import Calibrator, Known, Remarks
from edge_agent.errors import CalibrationError, ConfigError, DeviceBusyError, EarshotError

START_NS = 1_779_700_000 * 10**9  # 2026-05-25
A_CALIBRATOR = Calibrator(level_db=94.0, frequency_hz=1000.0)


def device(
    folder: Path,
    *,
    rms_dbfs: float = -26.0,
    frequency_hz: float = 1000.0,
    seconds: float = 13,
    rate: int = 48000,
    noise_after_s: float | None = None,
) -> Path:
    """The configuration of a microphone `mic` on which this tone sounds."""
    t = np.arange(round(seconds * rate)) / rate
    samples = 10 ** (rms_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * t)
    if noise_after_s is not None:
        samples[t >= noise_after_s] = np.random.default_rng(1).normal(0, 0.01)
    soundfile.write(folder / "tone.flac", samples, rate, "PCM_24")  # noqa: TID251
    return configured(folder, "microphones: {mic: {kind: file, path: tone.flac}}\n")


def configured(folder: Path, microphones: str) -> Path:
    (folder / "state").mkdir(exist_ok=True)
    path = folder / "agent.yaml"
    path.write_text(f"{microphones}state_dir: state\n")
    return path


def calibrated(
    config: Path,
    by: Calibrator | Known = A_CALIBRATOR,
    *,
    microphone: str | None = None,
    date: str | None = None,
    note: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Entry:
    remarks = Remarks(date=date, operator="A. Person", note=note)
    clock = SimulatedClock(START_NS)
    code = command.calibrate(config, microphone, by, remarks, clock, force=force, dry_run=dry_run)
    assert code == 0
    return calibrationfile.read(config.parent / "state")[microphone or "mic"]


def test_a_tone_becomes_an_offset_with_all_that_it_was_made_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = calibrated(device(tmp_path, rms_dbfs=-25.62), note="mast, 4 m")
    assert entry == Entry(
        offset_db=119.62,
        date="2026-05-25",
        source="calibrator",
        device="file",
        channel=1,
        rate=48000,
        level_db=94.0,
        frequency_hz=1000.0,
        drift_db=None,
        operator="A. Person",
        note="mast, 4 m",
        agent=entry.agent,
    )
    told = capsys.readouterr()
    assert told.out.splitlines()[1:] == [
        "mic: offset 119.62 dB (calibrator, 2026-05-25), the first for this device",
        f"Written to {tmp_path}/state/calibration.json.",
        "It holds from the next start: sudo systemctl restart earshot-agent",
    ]
    assert told.out.startswith("mic: 1000.0 Hz at -25.62 dBFS; varied by 0.00 dB, ")
    assert told.err.splitlines() == [
        "The clock may be wrong: if it is not 2026-05-25, give --date.",
        "mic: listening for 12 s; leave the calibrator as it is",
    ]


@pytest.mark.parametrize(
    ("level_db", "rms_dbfs", "offset_db"),
    [(94.0, -26.0, 120.0), (114.0, -6.0, 120.0), (94.0, -36.0, 130.0), (60.0, -2.0, 62.0)],
)
def test_the_offset_is_level_less_reading(
    tmp_path: Path, level_db: float, rms_dbfs: float, offset_db: float
) -> None:
    by = Calibrator(level_db=level_db, frequency_hz=1000.0)
    assert calibrated(device(tmp_path, rms_dbfs=rms_dbfs), by).offset_db == offset_db


def test_a_pistonphone_at_250_hz_and_a_device_of_another_rate(tmp_path: Path) -> None:
    config = device(tmp_path, rms_dbfs=-4.5, frequency_hz=250.0, rate=44100)
    by = Calibrator(level_db=124.0, frequency_hz=250.0)
    assert calibrated(config, by).offset_db == pytest.approx(128.5, abs=0.01)


def test_the_response_is_taken_into_account_away_from_1_khz(tmp_path: Path) -> None:
    config = device(tmp_path, rms_dbfs=-20.0, frequency_hz=250.0)
    (tmp_path / "mic.txt").write_text("20 -3\n250 0.5\n1000 1.0\n20000 4\n")
    text = config.read_text().replace("path:", "response: mic.txt, path:")
    config.write_text(text)
    # Relative to 1 kHz it reads 0.5 dB too low at 250 Hz, so the tone is at -19.5 dBFS.
    by = Calibrator(level_db=114.0, frequency_hz=250.0)
    assert calibrated(config, by).offset_db == 133.5
    (tmp_path / "mic.txt").write_text("20 -3\n250 0,5\n")
    with pytest.raises(ConfigError, match=r"mic\.txt:2: found '250 0,5'"):
        calibrated(config, by)


@pytest.mark.parametrize("offset_db", [119.62, 0.3, 0.0, -0.3, -0.7, -1.0, -12.5])
@pytest.mark.parametrize("source", ["laboratory", "datasheet"])
def test_a_known_offset_keeps_its_sign(tmp_path: Path, offset_db: float, source: str) -> None:
    config = configured(tmp_path, "")
    given = ["calibrate", "--config", str(config), "--offset", str(offset_db), "--source", source]
    done = CliRunner().invoke(cli, [*given, "--date", "2026-03-01", "--operator", "Lab 7"])
    assert done.exit_code == 0, done.output
    entry = calibrationfile.read(tmp_path / "state")["mic"]
    assert (entry.offset_db, entry.source, entry.date) == (offset_db, source, "2026-03-01")
    assert (entry.level_db, entry.frequency_hz, entry.device) == (None, None, "default")
    assert f"mic: offset {offset_db:.2f} dB ({source}, 2026-03-01)" in done.output


@pytest.mark.parametrize(
    ("tone", "by", "reason"),
    [
        ({"rms_dbfs": -90.0}, A_CALIBRATOR, "gives next to nothing: -90 dBFS"),
        ({"rms_dbfs": -0.2}, A_CALIBRATOR, "comes within 0.2 dB of full scale"),
        ({"frequency_hz": 250.0}, A_CALIBRATOR, "strongest tone is at 250.0 Hz"),
        (
            {"rate": 16000},
            Calibrator(level_db=94.0, frequency_hz=8000.0),
            "hears nothing above 8000 Hz",
        ),
        ({"noise_after_s": 11.8}, A_CALIBRATOR, "the level varied by"),
    ],
)
def test_a_doubtful_tone_writes_nothing(
    tmp_path: Path, tone: dict[str, float], by: Calibrator, reason: str
) -> None:
    config = device(tmp_path, **tone)  # type: ignore[arg-type] # mypy sees no keyword's own type
    with pytest.raises(CalibrationError) as caught:
        calibrated(config, by)
    assert caught.value.message.startswith("microphone mic: ")
    assert reason in caught.value.message
    assert list((tmp_path / "state").iterdir()) == []


def test_the_first_two_seconds_do_not_count(tmp_path: Path) -> None:
    config = device(tmp_path)
    samples, rate = soundfile.read(tmp_path / "tone.flac")
    samples[: 2 * rate] = np.random.default_rng(1).normal(0, 0.3, 2 * rate)
    soundfile.write(tmp_path / "tone.flac", samples, rate, "PCM_24")  # noqa: TID251
    assert calibrated(config).offset_db == 120.0


def test_sound_that_ends_too_soon_is_told(tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match=r"mic: the sound ended after 8\.0 s"):
        calibrated(device(tmp_path, seconds=8))


def test_a_hole_in_the_sound_is_told(tmp_path: Path) -> None:
    config = device(tmp_path)
    samples, rate = soundfile.read(tmp_path / "tone.flac")
    samples[5 * rate] = np.nan
    (tmp_path / "tone.flac").unlink()
    soundfile.write(tmp_path / "tone.wav", samples, rate, "FLOAT")  # noqa: TID251
    (tmp_path / "tone.wav").rename(tmp_path / "tone.flac")
    with pytest.raises(CalibrationError, match="1 samples of sound were lost"):
        calibrated(config)


def test_the_drift_is_kept_and_a_leap_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated(device(tmp_path, rms_dbfs=-25.62))
    second = calibrated(device(tmp_path, rms_dbfs=-25.5), date="2026-11-02")
    assert (second.offset_db, second.drift_db) == (119.5, -0.12)
    assert ", -0.12 dB from that of 2026-05-25" in capsys.readouterr().out
    # 114 dB typed for 94: the device would read 20 dB too much for ever.
    wrong = Calibrator(level_db=114.0, frequency_hz=1000.0)
    with pytest.raises(CalibrationError) as caught:
        calibrated(device(tmp_path, rms_dbfs=-25.5), wrong)
    assert "139.50 dB, +20.00 dB from that of 2026-11-02" in caught.value.message
    assert calibrationfile.read(tmp_path / "state")["mic"] == second
    forced = calibrated(device(tmp_path, rms_dbfs=-20.0), force=True, note="new capsule")
    assert (forced.offset_db, forced.drift_db, forced.note) == (114.0, -5.5, "new capsule")


def test_another_device_under_the_same_name_has_no_past(tmp_path: Path) -> None:
    config = configured(tmp_path, "microphones: {mic: {device: 'hw:CARD=Old'}}\n")
    calibrated(config, Known(offset_db=130.0, source="datasheet"))
    entry = calibrated(device(tmp_path, rms_dbfs=-25.62))
    assert (entry.offset_db, entry.drift_db) == (119.62, None)


def test_the_calibrations_of_others_stay(tmp_path: Path) -> None:
    both = "microphones: {mic: {kind: file, path: tone.flac}, roof: {device: default}}\n"
    device(tmp_path)
    config = configured(tmp_path, both)
    roof = calibrated(config, Known(offset_db=130.0, source="datasheet"), microphone="roof")
    calibrated(config, microphone="mic")
    assert calibrationfile.read(tmp_path / "state")["roof"] == roof
    with pytest.raises(ConfigError, match="there are 2 microphones") as caught:
        calibrated(config)
    assert caught.value.hint == "Say which with --microphone: mic, roof."
    with pytest.raises(ConfigError, match="there is no microphone 'cellar'"):
        calibrated(config, microphone="cellar")


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = device(tmp_path)
    with pytest.raises(KeyError):
        calibrated(config, dry_run=True)
    assert capsys.readouterr().out.endswith("Nothing was written.\n")


def test_a_damaged_file_is_told_before_anybody_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = device(tmp_path)
    (tmp_path / "state" / "calibration.json").write_text("{")
    with pytest.raises(EarshotError, match=r"calibration\.json: is damaged"):
        calibrated(config)
    assert "listening" not in capsys.readouterr().err


def test_a_busy_device_is_answered_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No sound card here can be held by another program.
    def busy(*_: object, **__: object) -> Source:
        raise DeviceBusyError("microphone mic: hw:CARD=MIC,DEV=0 is in use by process 7", hint="")

    monkeypatch.setattr(command, "open_source", busy)
    with pytest.raises(DeviceBusyError, match="in use by process 7") as caught:
        calibrated(device(tmp_path))
    assert caught.value.hint == "Stop the service first: sudo systemctl stop earshot-agent"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "Give --level for a calibrator, or --offset with its --source."),
        (["--level", "94", "--offset", "120", "--source", "datasheet"], "Give --level for"),
        (["--level", "94", "--source", "laboratory"], "Give --level for"),
        (["--offset", "120"], "Give --level for"),
        (["--level", "nan"], "'nan' is no number"),
        (["--level", "9.4"], "is not in the range 60<=x<=140"),
        (["--level", "94", "--frequency", "0"], "is not in the range 31.5<=x<=16000"),
        (["--offset", "120", "--source", "guess"], "'guess' is not one of"),
        (["--offset", "1", "--source", "datasheet", "--date", "1.6.2026"], "is no date"),
        (["--level", "94", "--force"], "--force needs a --note that says why."),
    ],
)
def test_options_that_say_too_little_or_too_much_are_refused(given: list[str], reason: str) -> None:
    done = CliRunner().invoke(cli, ["calibrate", *given])
    assert done.exit_code == 2
    assert reason in done.output
