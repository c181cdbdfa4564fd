"""The laboratory's commands on tones: every kind of model, results on disk, nothing asked twice."""

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Done

from model_build import labmodels, labnetworks, laboratory, results
from model_build.classical import KINDS
from model_build.cli import cli
from model_build.cli_models import compare as compare_command
from model_build.cli_models import preset as preset_command
from model_build.labtraining import Trained, at_once
from model_build.presets import PRESETS
from model_build.protocol import Lesson
from model_build.results import Result
from tests import toy_streets

# Keras' own way of turning variables into arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = ("drilling", "siren", "street_music")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets as far as a test needs them: a tone for each of three labels, two folds."""
    folder = tmp_path_factory.mktemp("toy")
    _set(
        folder,
        "urbansound8k",
        [(label, str(fold)) for fold in (1, 2) for _ in range(4) for label in LABELS],
    )
    for name, label in (("speech", "speech"), ("music", "music"), ("esc50_clean", "rain")):
        _set(folder, name, [(label, "")] * 3)
    return folder


def _set(folder: Path, name: str, clips: list[tuple[str, str]]) -> None:
    rows = [("path", "label", "fold", "group")]
    known = [*LABELS, "speech", "music", "rain"]
    for number, (label, fold) in enumerate(clips):
        path = f"{name}/{number}-{label}.wav"
        hz = 250.0 * 1.6 ** known.index(label) + number
        toy_streets.write(folder / path, np.tile(toy_streets.tone(hz), 2))
        rows.append((path, label, fold, f"{name} {number}"))
    with (folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def run(*words: str | Path) -> Done:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done


def test_the_choices_of_the_commands_are_the_models_and_presets_that_there_are() -> None:
    choices = {
        option.name: list(option.type.choices)  # type: ignore[attr-defined]
        for command in (compare_command, preset_command)
        for option in command.params
        if option.name in ("models", "members", "name")
    }
    assert choices["models"] == [*labmodels.OFFERED, labmodels.ENSEMBLE]
    assert choices["members"] == [name for name in labmodels.OFFERED if name != "svm"]
    assert choices["name"] == list(PRESETS)
    assert set(laboratory.MEMBERS) <= set(choices["members"])
    known = {*KINDS, *labnetworks.NETWORKS}
    assert known >= {entry.model for one in PRESETS.values() for entry in one.entries}
    assert known >= set(labmodels.OFFERED)


def test_a_table_of_classical_models_a_network_and_their_ensemble(
    data: Path, tmp_path: Path
) -> None:
    words: list[str | Path] = ["compare", "--data", data, "--cache", tmp_path, "--quick"]
    words += ["--model", "svm", "--model", "dnn", "--model", "ensemble"]
    words += ["--member", "dnn", "--member", "forest"]
    lines = run(*words).stdout.splitlines()
    assert lines[0] == "UrbanSound8K, ten classes, quick: no figure means anything"
    assert any("2 official folds, 24 clips" in line and "flatters" in line for line in lines)
    (svm,) = [line for line in lines if line.startswith("svm ")]
    assert svm.split()[1] == "100.0"
    assert "missing: 24 of 8732 clips are here, in 2 of 10 folds." in lines
    kept = {one.model: one for one in results.found(tmp_path)}
    assert set(kept) == {"svm", "dnn", "ensemble"}
    dnn = kept["dnn"]
    assert dnn.quick
    assert dnn.command == (
        "model-build compare --model svm --model dnn --model ensemble --member dnn "
        "--member forest --quick"
    )
    assert [len(trial.losses) for trial in dnn.sides[0].trials] == [2, 2]
    # 3 x 40 MFCC statistics, 256 and 128 units with their normalisation, three labels.
    assert dnn.cost is not None
    assert dnn.cost.multiply_adds == 120 * 256 + 256 * 128 + 128 * 3
    assert dnn.cost.rows_per_s == pytest.approx(16000 / (12 * 320))
    # Some of 12 clips as support vectors, each of as many values as a row.
    svm_cost = kept["svm"].cost
    assert svm_cost is not None
    assert svm_cost.multiply_adds is not None
    values = int(kept["svm"].rows.split()[1])
    assert svm_cost.multiply_adds % values == 0
    assert 3 <= svm_cost.multiply_adds / values <= 12
    assert svm_cost.size_bytes > 4 * svm_cost.multiply_adds
    assert svm_cost.latency_ms is not None
    assert svm_cost.rows_per_s is None
    assert kept["ensemble"].cost is None
    assert kept["ensemble"].model_title == "mean of dnn, forest"
    # Nothing is asked or trained twice: what was kept is told again, at the same words.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("laboratory/*/*")}
    told = run(*words, "--json").stdout
    again = msgspec.json.decode(told.splitlines()[-1], type=list[Result])
    assert [one.sides for one in again] == [kept[one.model].sides for one in again]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("laboratory/*/*")} == before


def test_a_preset_is_judged_by_its_own_split_and_by_folds(data: Path, tmp_path: Path) -> None:
    told = run("preset", "audify", "--data", data, "--cache", tmp_path, "--quick").stdout
    clip, patch = results.found(tmp_path)
    assert (clip.model, patch.model) == ("audify", "audify_patches")
    for one in (clip, patch):
        honest, own = one.sides
        assert (honest.protocol, own.protocol) == (
            "2 official folds",
            "random clips, 30% for the test",
        )
        assert own.together.clips == 7
    assert "published" in told
    assert "78.3" in told
    assert "audify: not on the device: patches: rows are whole clips" in told


def test_what_needs_yamnets_file_is_refused_before_anything_is_trained(
    data: Path, tmp_path: Path
) -> None:
    words = ["preset", "advanced", "--data", str(data), "--cache", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert "yamnet needs YAMNet's file" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_an_ensemble_of_votes_is_refused(data: Path, tmp_path: Path) -> None:
    words = ["compare", "--data", data, "--cache", tmp_path, "--model", "ensemble", "--quick"]
    done = CliRunner().invoke(cli, [*map(str, words), "--member", "forest"])
    assert "forest: no ensemble can be made of this" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_draw_takes_as_many_of_each_class_from_each_fold(data: Path, tmp_path: Path) -> None:
    question = laboratory.Question(task="urbansound8k", data=data, cache=tmp_path, per_class=2)
    assert len(laboratory.Laboratory(question).clips) == 12


SHAPES = {
    "device": (120,),
    "mfcc_patches": (48, 40),
    "mel_patches": (48, 64),
    "waveform": (48, 320),
    "yamnet": (1024,),
    "mfcc_means": (40,),
    "mfcc_means_patches": (40,),
    "zoo": (280,),
    "zoo_frames": (63, 140),
}
MULTIPLY_ADDS = {
    "yamnet": 1024 * 10,
    "audify": 40 * 100 + 100 * 200 + 200 * 100 + 100 * 10,
    "three_way": 40 * 128 + 128 * 64 + 64 * 10,
    # Four frames in a step, twelve steps; each gate sees 64 inputs and 64 states.
    "lstm": 12 * (160 * 64 + 2 * 4 * 128 * 64) + 64 * 10,
    # Its two layers begin with what a dense layer makes of the mean.
    "gru": 12 * (160 * 64 + 2 * 3 * 128 * 64) + 2 * 64 * 64 + 64 * 10,
    "zoo_lstm": 63 * 4 * (140 + 64) * 64 + 64 * 10,
}


@pytest.mark.parametrize("name", labnetworks.NETWORKS)
def test_a_network_takes_its_rows_and_its_multiplications_are_counted(name: str) -> None:
    shape = SHAPES[labnetworks.NETWORKS[name].rows]
    model = labnetworks.build(name, shape, 10)
    assert model.output_shape == (None, 10)
    if name in MULTIPLY_ADDS:
        assert labnetworks.multiply_adds(model) == MULTIPLY_ADDS[name]
    again = labnetworks.build(name, shape, 10)
    assert [layer.name for layer in model.layers] == [layer.name for layer in again.layers]


def test_the_scale_is_that_of_the_lesson_and_a_network_learns_what_is_easy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(300) % 3
    rows = (rng.normal(5, 2, (300, 40)) + 8 * np.eye(3, 40)[classes]).astype(np.float32)
    shown = Lesson(
        name="easy",
        rows=rows,
        classes=classes,
        clips=np.arange(300),
        recordings=np.arange(300),
        labels=3,
    )
    trained = Trained("three_way_patches", shown, 0, tmp_path)
    assert trained.scale.mean == pytest.approx(rows.mean(axis=0), abs=1e-4)
    assert trained.scale.std == pytest.approx(rows.std(axis=0), abs=1e-4)
    assert np.abs(trained.scale(np.full((1, 40), 1e6, np.float32))).max() == 4.0
    scores = trained.scores(rows)
    assert (scores.argmax(axis=1) == classes).mean() > 0.98
    assert scores.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert trained.losses[-1] < trained.losses[0]


def test_a_moment_is_two_epochs() -> None:
    course = at_once(labnetworks.NETWORKS["audify"].course)
    assert (course.plan.epochs, course.rows_per_epoch, course.balanced) == (2, 128, False)


def test_every_row_once_cannot_be_balanced() -> None:
    with pytest.raises(ValueError, match="not every class equally often"):
        labnetworks.Course(plan=labnetworks.NETWORKS["dnn"].course.plan)


@pytest.mark.slow
def test_the_whole_laboratory_runs_on_a_few_clips(data: Path, tmp_path: Path) -> None:
    """All models but the one that needs YAMNet's file, which is asked below."""
    words: list[str | Path] = ["--data", data, "--cache", tmp_path, "--quick"]
    words += ["--per-class", "2", "--json"]
    told = run("compare", *words).stdout
    found = msgspec.json.decode(told.splitlines()[-1], type=list[Result])
    assert [one.model for one in found] == [
        *(name for name in labmodels.OFFERED if name != "yamnet"),
        labmodels.ENSEMBLE,
    ]
    for one in found:
        honest, beside = one.sides
        assert (honest.together.clips, beside.together.clips) == (12, 6)
        assert one.labels == LABELS
    raw = next(one for one in found if one.model == "cnn1d")
    assert raw.device.why_not == ("features.waveform: the device's front end does not compute it",)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("advanced", "audify")])
def test_a_preset_runs_on_a_few_clips(name: str, data: Path, tmp_path: Path) -> None:
    run("preset", name, "--data", data, "--cache", tmp_path, "--quick")
    preset = PRESETS[name]
    found = results.found(tmp_path)
    assert {one.model for one in found} == {entry.model for entry in preset.entries}
    for one in found:
        assert one.preset == name
        assert [side.leak_free for side in one.sides] == [True, False]
        assert one.sides[1].unit == preset.flattering.unit


@pytest.mark.slow
@pytest.mark.data
def test_transfer_learning_on_a_few_clips(
    data_root: Path, teacher_root: Path, tmp_path: Path
) -> None:
    """A head on YAMNet knows more of four clips a class and fold than anything else here."""
    words: list[str | Path] = ["--data", data_root, "--cache", tmp_path, "--per-class", "4"]
    words += ["--yamnet", teacher_root / "yamnet.tflite"]
    run("compare", *words, "--model", "yamnet", "--model", "svm")
    head, svm = sorted(results.found(tmp_path), key=lambda one: one.model == "svm")
    assert head.sides[0].mean > svm.sides[0].mean
    assert head.device.why_not == (
        "its rows are what a larger network hears, which the agent does not run",
    )


def test_two_systems_share_what_they_have_in_common(data: Path, tmp_path: Path) -> None:
    """The folds of a model are judged once, whatever stands beside them."""
    forest = labmodels.find("forest")
    kept = []
    for share in (0.2, 0.3):
        question = laboratory.Question(
            task="urbansound8k",
            data=data,
            cache=tmp_path,
            flattering=laboratory.Flattering(share=share),
        )
        asked = laboratory.Laboratory(question).ask(forest)
        kept.append({path.name: path.stat().st_mtime_ns for path in asked.place.iterdir()})
    first, second = kept
    assert set(first) == {"fold-1.npz", "fold-2.npz", "random-clips-20.0%.npz"}
    assert first.items() < second.items()
    assert set(second) - set(first) == {"random-clips-30.0%.npz"}
