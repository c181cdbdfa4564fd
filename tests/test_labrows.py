"""Rows for a model: shapes, statistics, caches, and what is skipped with a reason."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge_agent.errors import BuildError
from model_build import labrows
from model_build.cli import cli
from model_build.datasets import Clip
from model_build.labconfig import FeatureSettings, Fit, LabConfig, Mfcc, Rolloff, Steps, load
from model_build.labrows import Maker, summed_up
from model_build.steps import Sound
from tests import toy_streets

RATE = 16000
SHORT = LabConfig(
    features=FeatureSettings(rms=True, spectral_rolloff=Rolloff()), summary=("mean", "max")
)


def _clips(folder: Path, *names: str) -> list[Clip]:
    clips = []
    for number, name in enumerate(names):
        toy_streets.write(folder / name, toy_streets.noise(0.5 + 0.1 * number, number))
        clips.append(Clip(path=name, label="hiss", origin="toy", group=name))
    return clips


def test_statistics_are_numpys_and_stand_column_by_column() -> None:
    frames = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    found = summed_up(frames, ("std", "mean", "min", "max")).reshape(4, 4)
    wanted = [frames.std(axis=0), frames.mean(axis=0), frames.min(axis=0), frames.max(axis=0)]
    assert found == pytest.approx(np.stack(wanted), abs=1e-6)


def test_the_slope_of_a_ramp_is_its_slope() -> None:
    ramp = np.outer(np.arange(20), [0.5, -2.0]).astype(np.float32)
    assert summed_up(ramp, ("delta_rms",)) == pytest.approx([0.5, 2.0], abs=1e-6)


def test_each_column_is_named_with_its_statistic() -> None:
    assert Maker(SHORT).columns == (
        "spectral_rolloff_mean",
        "rms_mean",
        "spectral_rolloff_max",
        "rms_max",
    )


@pytest.mark.parametrize("recipe", ["classical", "zoo", "device"])
@pytest.mark.parametrize("samples", [1, 800, 5000, 80000])
def test_a_clip_of_any_length_gives_rows_of_one_shape(recipe: str, samples: int) -> None:
    maker = Maker(load(Path(recipe)))
    rows = maker.rows_of(Sound(toy_streets.noise(samples / RATE, 1), RATE))
    assert rows.shape[1:] == (len(maker.columns),)
    assert len(rows) == (17 if (recipe, samples) == ("device", 80000) else 1)


def test_rows_are_computed_once_and_kept(tmp_path: Path) -> None:
    clips = _clips(tmp_path, "a.wav", "b.wav")
    cache = tmp_path / "cache"
    first = labrows.table(clips, tmp_path, SHORT, cache)
    (kept,) = cache.iterdir()
    written = kept.stat().st_mtime_ns
    again = labrows.table(clips, tmp_path, SHORT, cache)
    assert kept.stat().st_mtime_ns == written
    assert np.array_equal(first.rows, again.rows)
    assert first.rows.dtype == np.float32
    assert first.owners().tolist() == [0, 1]
    other = msgspec.structs.replace(SHORT, summary=("mean",))
    assert labrows.table(clips, tmp_path, other, cache).rows.shape == (2, 2)
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_read_is_skipped_with_the_reason(tmp_path: Path) -> None:
    clips = _clips(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    table = labrows.table(clips, tmp_path, SHORT, tmp_path / "cache")
    assert [clip.path for clip in table.clips] == ["a.wav", "c.wav"]
    (skip,) = table.skipped
    assert skip.path == "b.wav"
    assert skip.reason.endswith("is neither WAV, FLAC nor Ogg")


def test_a_set_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    clips = _clips(tmp_path, "a.wav")
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(BuildError, match="none of 1 recordings can be used"):
        labrows.table(clips, tmp_path, SHORT, tmp_path / "cache")


def test_frames_of_clips_without_one_length_are_refused(tmp_path: Path) -> None:
    frames = LabConfig(features=FeatureSettings(mfcc=Mfcc()))
    clips = _clips(tmp_path, "a.wav", "b.wav")
    with pytest.raises(BuildError, match="rows of different lengths"):
        labrows.table(clips, tmp_path, frames, tmp_path / "cache")
    one_length = msgspec.structs.replace(frames, steps=Steps(fit=Fit(seconds=1)))
    table = labrows.table(clips, tmp_path, one_length, tmp_path / "cache")
    assert table.rows.shape == (2, 1 + (RATE - 1024) // 320, 40)


def test_prepare_tells_each_step_and_each_feature(tmp_path: Path) -> None:
    path = tmp_path / "beep.wav"
    toy_streets.write(path, toy_streets.tone(1000))
    done = CliRunner().invoke(cli, ["prepare", str(path), "--config", "zoo"])
    assert done.exit_code == 0, done.output
    firsts = [line.split()[0] for line in done.output.splitlines() if line]
    for name in ("load", "resample", "trim", "denoise", "normalise", "fit", "chroma", "mfcc"):
        assert name in firsts
    assert "  steps.trim: needs the whole clip" in done.output
    able = CliRunner().invoke(cli, ["prepare", str(path), "--config", "device"])
    assert able.output.rstrip().endswith("the device computes the same")


def test_prepare_for_the_device_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    path = tmp_path / "beep.wav"
    toy_streets.write(path, toy_streets.tone(1000))
    code = "from model_build.cli import main; main()"
    for recipe, exit_code in (("zoo", 2), ("device", 0)):
        command = ["prepare", str(path), "--config", recipe, "--device"]
        done = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == exit_code
        assert "Traceback" not in done.stderr
        if exit_code:
            assert "model-build: this is not for a device bundle:\n  steps.trim: " in done.stderr
        else:
            assert '"kind":"mfcc_stats"' in done.stdout
