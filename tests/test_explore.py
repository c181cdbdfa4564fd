"""`model-build explore`: everything that is wrong with a set is told, and the page holds it."""

import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge_agent.errors import BuildError
from model_build import explore_page
from model_build.cli import cli
from model_build.exploration import Exploration
from model_build.explore import explore
from model_build.labconfig import FeatureSettings, LabConfig, Rolloff
from model_build.manifestcheck import check
from tests import toy_streets
from tests.test_duplicates import street

RATE = toy_streets.RATE
CONFIG = LabConfig(
    features=FeatureSettings(
        rms=True, zero_crossing_rate=True, spectral_centroid=True, spectral_rolloff=Rolloff()
    )
)
Rows = list[tuple[str, str, str, str]]


def _manifest(folder: Path, rows: Rows, name: str = "set") -> Path:
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "fold", "freesound_id"), *rows])
    return path


def _flawed(folder: Path) -> Path:
    """A set with one of each flaw beside six good clips."""
    rows: Rows = []
    for number in range(6):
        name = f"{number}.wav"
        toy_streets.write(folder / name, street(number, 2.0).clip(-1, 1))
        rows.append((name, "rain" if number < 4 else "wind", str(1 + number % 2), str(number)))
    shutil.copy(folder / "0.wav", folder / "same.wav")
    toy_streets.write(folder / "quieter.wav", np.float32(0.3) * street(1, 2.0).clip(-1, 1))
    toy_streets.write(folder / "silent.wav", np.zeros(RATE, np.float32))
    toy_streets.write(folder / "short.wav", np.full(20, 0.1, np.float32))
    (folder / "broken.wav").write_bytes(b"no sound")
    rows += [
        ("same.wav", "rain", "1", "0"),
        ("quieter.wav", "wind", "1", "77"),
        ("silent.wav", "wind", "2", ""),
        ("short.wav", "wind", "two", ""),
        ("broken.wav", "rain", "1", ""),
        ("gone.wav", "rain", "1", ""),
        ("", "rain", "1", ""),
        ("2.wav", "wind", "1", ""),
    ]
    return _manifest(folder, rows)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exploration, Path]:
    folder = tmp_path_factory.mktemp("flawed")
    return explore([_flawed(folder)], folder, CONFIG), folder


def test_every_row_is_read_or_told(flawed: tuple[Exploration, Path]) -> None:
    found, _ = flawed
    assert found.rows == 14
    assert [one.clip.path for one in found.clips] == [
        *(f"{number}.wav" for number in range(6)),
        "same.wav",
        "quieter.wav",
        "silent.wav",
        "short.wav",
    ]
    (unreadable,) = found.unreadable
    assert unreadable.path == "broken.wav"
    assert unreadable.reason.endswith("is neither WAV, FLAC nor Ogg")
    assert [(skip.path, skip.reason.split(": ", 1)[-1]) for skip in found.problems] == [
        ("short.wav", "fold `two` is not a number"),
        ("gone.wav", "no such file"),
        ("", "line 14 of set.csv has no path or no label"),
        ("2.wav", "line 15 of set.csv lists it again, as wind instead of rain"),
    ]
    assert {(one.column, one.rows) for one in found.missing} == {("path", 1), ("freesound_id", 6)}


def test_the_same_sound_is_found_exactly_and_nearly(flawed: tuple[Exploration, Path]) -> None:
    found, _ = flawed
    assert found.exact == ((0, 6),)
    (pair,) = found.near
    assert (pair.one, pair.other) == (1, 7)
    ((one, other, _, how),) = explore_page.across(found)
    assert (one.clip.path, other.clip.path) == ("1.wav", "quieter.wav")
    assert how == "label, fold, recording, by its name"


def test_near_silence_lengths_and_levels_are_measured(flawed: tuple[Exploration, Path]) -> None:
    found, _ = flawed
    assert [one.clip.path for one in found.clips if one.near_silent] == ["silent.wav"]
    by_path = {one.clip.path: one for one in found.clips}
    assert by_path["short.wav"].seconds == 20 / RATE
    # 0.1 of 32767, cut off to a whole step.
    level_dbfs = 20 * np.log10(3276 / 32768)
    assert by_path["short.wav"].rms_dbfs == pytest.approx(level_dbfs, abs=1e-6)
    assert by_path["short.wav"].peak_dbfs == pytest.approx(level_dbfs, abs=1e-6)


def test_classes_are_counted_with_their_recordings(flawed: tuple[Exploration, Path]) -> None:
    found, _ = flawed
    rain, wind = found.classes
    assert (rain.label, rain.clips, rain.recordings) == ("rain", 6, 5)
    assert rain.folds == {"1": 4, "2": 2}
    assert (wind.label, wind.clips, wind.folds) == ("wind", 5, {"1": 2, "2": 2, "": 1})


def test_correlation_is_that_of_ranks(flawed: tuple[Exploration, Path]) -> None:
    found, _ = flawed
    values = np.array(found.correlation, np.float64)
    assert values.shape == (4, 4)
    assert np.diag(values) == pytest.approx(1.0)
    assert np.array_equal(values, values.T)
    assert np.abs(values).max() <= 1.0


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_holds_everything_and_fetches_nothing(flawed: tuple[Exploration, Path]) -> None:
    found, folder = flawed
    page = explore_page.made(found, folder)
    parser = _Parser()
    parser.feed(page)
    assert "script" not in parser.tags
    assert parser.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parser.sources)
    # Classes, durations, levels, correlation, and examples of both classes.
    assert len(parser.sources) == 6
    for told in (
        "Clips that cannot be read: 1.",
        "Rows or features with something wrong: 4.",
        "Clips that have the very samples of another one: 1.",
        "label, fold or recording: 1.",
        "Nearly silent clips (below -60 dBFS RMS): 1.",
        "0.wav, same.wav",
        "broken.wav",
        "line 15 of set.csv lists it again",
        "compared sample by sample only: 1 clips.",
    ):
        assert told in page


def test_the_same_set_gives_the_same_page(flawed: tuple[Exploration, Path]) -> None:
    found, folder = flawed
    assert explore_page.made(found, folder) == explore_page.made(found, folder)


def test_a_set_without_flaws_says_so(tmp_path: Path) -> None:
    rows: Rows = []
    for number in range(4):
        toy_streets.write(tmp_path / f"{number}.wav", street(number, 1.0).clip(-1, 1))
        rows.append((f"{number}.wav", "<b>rain</b>", "1", str(number)))
    found = explore([_manifest(tmp_path, rows)], tmp_path, CONFIG)
    page = explore_page.made(found, tmp_path)
    assert "Nothing stands out" in page
    # What a manifest says is text, whatever it looks like.
    assert "<b>" not in page


def test_a_draw_says_what_it_left_and_keeps_all_classes(tmp_path: Path) -> None:
    rows: Rows = []
    for number in range(8):
        toy_streets.write(tmp_path / f"{number}.wav", toy_streets.noise(0.2, number))
        rows.append((f"{number}.wav", "rain" if number % 4 else "wind", "", ""))
    manifest = _manifest(tmp_path, rows)
    found = explore([manifest], tmp_path, CONFIG, per_class=2, seed=3)
    assert [one.clips for one in found.classes] == [6, 2]
    assert len(found.clips) == 4
    assert found.not_drawn == 4
    assert found == explore([manifest], tmp_path, CONFIG, per_class=2, seed=3)
    assert "4 others were not looked at" in explore_page.made(found, tmp_path)


def test_a_feature_that_never_changes_has_no_correlation(tmp_path: Path) -> None:
    rows: Rows = []
    for number in range(3):
        toy_streets.write(tmp_path / f"{number}.wav", np.zeros(RATE, np.float32))
        rows.append((f"{number}.wav", "silence", "", ""))
    found = explore([_manifest(tmp_path, rows)], tmp_path, CONFIG)
    assert found.correlation == ((None,) * 4,) * 4
    assert "Never changes from clip to clip" in explore_page.made(found, tmp_path)


def test_two_manifests_are_one_set(tmp_path: Path) -> None:
    toy_streets.write(tmp_path / "a.wav", street(1, 2.0).clip(-1, 1))
    toy_streets.write(tmp_path / "b.wav", np.float32(0.5) * street(1, 2.0).clip(-1, 1))
    one = _manifest(tmp_path, [("a.wav", "rain", "1", "7")], "one")
    other = _manifest(tmp_path, [("b.wav", "rain", "4", "8")], "other")
    found = explore([one, other], tmp_path, CONFIG)
    # Folds of two sets have nothing to do with each other.
    assert [how for *_, how in explore_page.across(found)] == ["recording, by its name"]


def test_manifests_of_which_nothing_is_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="none of 1 rows can be used"):
        check([_manifest(tmp_path, [("gone.wav", "rain", "", "")])], tmp_path)


def test_the_command_writes_the_page_and_tells_as_json(tmp_path: Path) -> None:
    manifest = _flawed(tmp_path)
    out = tmp_path / "pages" / "set.html"
    config = tmp_path / "lab.yaml"
    config.write_text("features: {rms: true, spectral_centroid: true}\n")
    command = ["explore", str(manifest), "--root", str(tmp_path), "--out", str(out)]
    done = CliRunner().invoke(cli, [*command, "--config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    told = next(line for line in done.output.splitlines() if line.startswith("{"))
    assert json.loads(told)["columns"] == ["spectral_centroid", "rms"]
    assert msgspec.json.decode(told, type=Exploration).rows == 14
    assert out.read_text().startswith("<!doctype html>")


@pytest.mark.data
def test_near_silent_clips_of_urbansound8k_are_found(data_root: Path, tmp_path: Path) -> None:
    """The data's notes count 18; the manifest's own levels say which."""
    with (data_root / "urbansound8k.csv").open() as file:
        rows = list(csv.DictReader(file))
    quiet = [row for row in rows if float(row["rms_dbfs"]) < -61]
    loud = [row for row in rows if float(row["rms_dbfs"]) > -59][:10]
    chosen: Rows = [
        (row["path"], row["label"], row["fold"], row["freesound_id"]) for row in (*quiet, *loud)
    ]
    found = explore([_manifest(tmp_path, chosen)], data_root, CONFIG)
    assert len(quiet) >= 10
    assert {one.clip.path for one in found.clips if one.near_silent} == {
        row["path"] for row in quiet
    }
