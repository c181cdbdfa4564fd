"""One protocol for all models: nothing of a test fold is learnt, and counts are right."""

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build import classical, protocol, protocol_report
from model_build.classical import KINDS, Trained, trainer
from model_build.cli import cli
from model_build.datasets import Clip, by_fold, groups, random_clips
from model_build.labconfig import FeatureSettings, LabConfig
from model_build.labrows import Table
from model_build.metrics import Doubles, Indices
from model_build.protocol import Material, Outcome
from model_build.tasks import URBANSOUND8K
from tests import toy_streets

LABELS = ("bark", "horn", "siren")
CONFIG = LabConfig(
    features=FeatureSettings(rms=True, spectral_centroid=True), summary=("mean", "std")
)


def table(per_fold: int = 6, rows_per_clip: int = 2, spread: float = 0.3) -> Table:
    """Three folds, three classes apart by a unit of their own column; recordings of two clips."""
    rng = np.random.default_rng(0)
    clips, rows = [], []
    for fold in (1, 2, 3):
        for place in range(per_fold):
            for index, label in enumerate(LABELS):
                group = f"{fold}-{place // 2}-{label}"
                path = f"{fold}/{place}-{label}.wav"
                clips.append(Clip(path=path, label=label, origin="toy", group=group, fold=fold))
                rows.append(np.eye(3)[index] + rng.normal(0, spread, (rows_per_clip, 3)))
    starts = np.arange(len(clips) + 1) * rows_per_clip
    return Table(
        clips=tuple(clips),
        rows=np.concatenate(rows).astype(np.float32),
        starts=starts,
        columns=("a", "b", "c"),
        skipped=(),
    )


def given(made: Table) -> Material:
    return Material(
        table=made,
        labels=tuple(sorted({clip.label for clip in made.clips})),
        folds=by_fold(made.clips),
        random=random_clips(made.clips, 1 / 3, np.random.default_rng(1)),
        skipped=(),
    )


class Watched:
    """A model that says always the same, and remembers what it was shown."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.learnt: list[Samples] = []
        self.asked: list[Samples] = []

    def train(self, rows: Samples, classes: Indices) -> "Watched":
        assert len(rows) == len(classes)
        self.learnt.append(rows)
        return self

    def scores(self, rows: Samples) -> Doubles:
        self.asked.append(rows)
        return np.tile(np.eye(3)[self.answer], (len(rows), 1))


def test_no_row_is_both_learnt_and_asked_and_every_clip_is_asked_once() -> None:
    made = table()
    watched = Watched(1)
    found = protocol.judge("watched", watched.train, given(made))
    assert len(watched.learnt) == len(watched.asked) == 4
    for learnt, asked in zip(watched.learnt, watched.asked, strict=True):
        assert len(learnt) + len(asked) == len(made.rows)
        assert not {row.tobytes() for row in learnt} & {row.tobytes() for row in asked}
    folds = np.concatenate(watched.asked[:3])
    assert sorted(row.tobytes() for row in folds) == sorted(row.tobytes() for row in made.rows)
    # Always the second of three classes that are equally frequent: counted by hand.
    assert found.leak_free.clips == 54
    assert found.leak_free.accuracy == pytest.approx(1 / 3)
    assert found.leak_free.macro_f1 == pytest.approx((2 * 18 / (18 + 54)) / 3)
    assert found.folds == {f"fold {fold}": pytest.approx(1 / 3) for fold in (1, 2, 3)}
    assert found.leak_free.minority_recall is None


def test_no_recording_is_on_both_sides_of_a_fold_and_some_are_of_the_random_split() -> None:
    made = given(table())
    assert all(not groups(split.train) & groups(split.test) for split in made.folds)
    assert groups(made.random.train) & groups(made.random.test)


def test_a_clip_is_what_its_rows_say_together() -> None:
    """One row of two is wrong, but less sure of it."""

    class Halting:
        def scores(self, rows: Samples) -> Doubles:
            return rows.astype(np.float64)

    made = table(spread=0.0)
    rows = made.rows.copy()
    rows[1::2] = 0.4 * np.roll(rows[1::2], 1, axis=1)
    found = protocol.judge(
        "halting", lambda *_: Halting(), given(msgspec.structs.replace(made, rows=rows))
    )
    assert found.leak_free.accuracy == 1.0


def test_figures_of_an_uneven_task_are_those_counted_by_hand() -> None:
    found = protocol.figures(np.array([[6, 2], [1, 1]]))
    assert found.accuracy == pytest.approx(0.7)
    assert found.macro_f1 == pytest.approx((12 / 15 + 2 / 5) / 2)
    assert found.weighted_f1 == pytest.approx((8 * 12 / 15 + 2 * 2 / 5) / 10)
    assert found.minority_recall == pytest.approx(0.5)
    assert found.majority_recall == pytest.approx(0.75)


@pytest.mark.parametrize("name", KINDS)
def test_every_model_learns_what_is_easy_and_twice_the_same(name: str) -> None:
    made = given(table(per_fold=12))
    one = protocol.judge(name, trainer(name, 0), made)
    assert one.leak_free.accuracy > 0.9
    assert one == protocol.judge(name, trainer(name, 0), made)


@pytest.mark.parametrize("name", KINDS)
def test_the_scale_is_learnt_from_the_training_rows_alone(name: str) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(5.0, 3.0, (90, 4)).astype(np.float32)
    trained = Trained(name, rows, np.arange(90) % 3, seed=0)
    before = trained.scaler.mean_.copy()
    trained.scores(np.full((10, 4), 1e6, np.float32))
    assert np.array_equal(trained.scaler.mean_, before)
    assert trained.scaler.mean_ == pytest.approx(rows.mean(axis=0), abs=1e-5)
    assert trained.scaler.scale_ == pytest.approx(rows.std(axis=0), abs=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_rare_class_weighs_as_much_as_a_frequent_one(name: str) -> None:
    """Two overlapping clouds, nineteen to one: unweighted, 0.32 to 0.40 of the rare are found."""
    rng = np.random.default_rng(3)
    classes = (np.arange(2000) % 20 == 0).astype(np.intp)
    rows = (rng.normal(0, 1, (2000, 3)) + classes[:, None] * [2.0, 0, 0]).astype(np.float32)
    trained = Trained(name, rows[:1000], classes[:1000], seed=0)
    told = trained.scores(rows[1000:]).argmax(axis=1)
    assert told[classes[1000:] == 1].mean() > 0.43


def test_one_label_against_the_rest_is_an_uneven_task() -> None:
    made = protocol.one_against_rest(table(), "siren")
    assert {clip.label for clip in made.clips} == {"siren", "rest"}
    found = protocol.judge("svm", trainer("svm", 0), given(made))
    assert found.labels == ("rest", "siren")
    assert found.leak_free.minority_recall is not None
    with pytest.raises(BuildError, match="no label `sirens`"):
        protocol.one_against_rest(table(), "sirens")


def _toy(folder: Path) -> Path:
    """UrbanSound8K as far as a test needs it: a tone for each of three labels, three folds."""
    rows = [("path", "label", "fold", "freesound_id")]
    for fold in (1, 2, 3):
        for place in range(4):
            for index, label in enumerate(LABELS):
                name = f"{fold}-{place}-{label}.wav"
                hz = 400.0 * 2**index + 10 * place
                toy_streets.write(folder / name, toy_streets.tone(hz))
                rows.append((name, label, str(fold), f"{fold}{place}{index}"))
    with (folder / "urbansound8k.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_the_command_prints_a_table_of_all_models(tmp_path: Path) -> None:
    config = tmp_path / "lab.yaml"
    config.write_bytes(msgspec.yaml.encode(msgspec.to_builtins(CONFIG)))
    data = _toy(tmp_path)
    command = ["classical", "--data", str(data), "--config", str(config)]
    command += ["--cache", str(tmp_path / "cache"), "--model", "svm", "--model", "forest"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert any("3 official folds, 36 clips" in line and "flatters" in line for line in lines)
    (svm,) = [line for line in lines if line.startswith("svm")]
    assert svm.split()[1] == "100.0"
    told = CliRunner().invoke(cli, [*command, "--against-rest", "siren", "--json"])
    line = next(line for line in told.output.splitlines() if line.startswith("["))
    outcomes = msgspec.json.decode(line, type=list[Outcome])
    assert [one.model for one in outcomes] == ["svm", "forest"]
    assert json.loads(line)[0]["labels"] == ["rest", "siren"]


def test_a_draw_takes_as_many_of_each_class_from_each_fold(tmp_path: Path) -> None:
    data = _toy(tmp_path)
    made = protocol.material(URBANSOUND8K, data, CONFIG, tmp_path / "cache", per_class=2)
    assert len(made.table.clips) == 18
    assert all(len(split.test) == 6 for split in made.folds)


def test_what_was_skipped_is_told(tmp_path: Path) -> None:
    data = _toy(tmp_path)
    (data / "1-0-bark.wav").write_bytes(b"no sound")
    made = protocol.material(URBANSOUND8K, data, CONFIG, tmp_path / "cache")
    found = protocol.judge("svm", classical.trainer("svm", 0), made)
    text = protocol_report.as_text([found], made.skipped)
    assert "skipped 1-0-bark.wav: " in text


@pytest.mark.data
@pytest.mark.slow
def test_a_random_split_flatters_on_urbansound8k(data_root: Path, tmp_path: Path) -> None:
    """Twelve clips of each class and fold: ten points at least (26 measured)."""
    made = protocol.material(
        URBANSOUND8K, data_root, CONFIG_OF_MFCC, tmp_path / "cache", per_class=12
    )
    found = protocol.judge("svm", trainer("svm", 0), made)
    assert found.random.accuracy > found.leak_free.accuracy + 0.1
    assert found.leak_free.accuracy > 0.3


CONFIG_OF_MFCC = msgspec.convert(
    {"features": {"mfcc": {"n": 20}}, "summary": ["mean", "std"]}, LabConfig
)
