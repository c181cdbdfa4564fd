"""A user's own quiet hours: kept apart, played as they are, nothing counted twice."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture.files import read_recording
from edge_agent.errors import BuildError
from edge_agent.resample import resample
from model_build import site
from model_build.audible import RATE
from model_build.certify import certify
from model_build.datasets import Skip
from model_build.scenes import Plan
from tests import toy_streets
from tests.bundled import copied

PLAN = Plan(scenes=1, rounds=1)


def recorded(folder: Path, *names: str, seconds: float = 2.0) -> Path:
    for number, name in enumerate(names):
        toy_streets.write(folder / name, toy_streets.noise(seconds, 900 + number))
    return folder


def test_what_came_first_chooses_and_the_rest_judges(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "site", *(f"day{number}.wav" for number in (3, 1, 2)))
    found = site.recordings(folder)
    assert [path.name for path in found.validation] == ["day1.wav"]
    assert [path.name for path in found.test] == ["day2.wav", "day3.wav"]


def test_one_recording_judges(tmp_path: Path) -> None:
    found = site.recordings(recorded(tmp_path / "site", "day.WAV"))
    assert (found.validation, len(found.test)) == ((), 1)


def test_copies_and_other_files_are_listed_and_not_played(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "site", "a.wav", "b.wav")
    (folder / "again.wav").write_bytes((folder / "a.wav").read_bytes())
    (folder / "notes.txt").write_text("quiet")
    found = site.recordings(folder)
    assert [path.name for path in (*found.validation, *found.test)] == ["a.wav", "b.wav"]
    reasons = {Path(skip.path).name: skip.reason for skip in found.skipped}
    assert reasons["again.wav"].startswith(f"is a copy of {folder / 'a.wav'}")
    assert reasons["notes.txt"] == "is no .wav, .flac, .ogg file"


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_recordings_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=r"no such folder|holds no recording") as caught:
        site.recordings(tmp_path / name)
    assert caught.value.hint


def test_a_long_recording_comes_in_parts_without_losing_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "_PART_S", 1)
    folder = recorded(tmp_path / "site", "day.wav", seconds=3.7)
    parts = [stream.samples for stream in site.streams([folder / "day.wav"], [])]
    assert len(parts) == 4
    assert all(part.size <= 1.25 * RATE for part in parts)
    samples, rate = read_recording(folder / "day.wav")
    assert np.array_equal(np.concatenate(parts), resample(samples, rate, RATE))


def test_what_cannot_be_read_is_listed(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "site", "broken.wav", "day.wav")
    (folder / "broken.wav").write_bytes((folder / "broken.wav").read_bytes()[:1000])
    skipped: list[Skip] = []
    played = list(site.streams(sorted(folder.iterdir()), skipped))
    assert [stream.name for stream in played] == ["day.wav part 0"]
    assert [Path(skip.path).name for skip in skipped] == ["broken.wav"]
    assert "truncated" in skipped[0].reason


def test_own_hours_are_added_to_both_sides(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    toy_streets.made(data)
    own = recorded(tmp_path / "site", "a.wav", "b.wav", "c.wav", seconds=8.0)
    bundle = copied(tmp_path)
    (plain, _), (more, _) = (
        certify(bundle, data, plan=PLAN, ambient=ambient, write=False) for ambient in (None, own)
    )
    assert more.validation_hours - plain.validation_hours == pytest.approx(8 / 3600, abs=1e-9)
    gained = more.test.alarms.hours - plain.test.alarms.hours
    assert gained == pytest.approx(16 / 3600, abs=1e-9)
    assert more.thresholds.streams_sha256 != plain.thresholds.streams_sha256
