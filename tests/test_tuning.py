"""`model-build tune`: nothing of the held-out fold chooses, and training reads what was chosen."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Done

from edge_agent.errors import BuildError, ConfigError, EarshotError
from model_build import labmodels, results, settingsfile, tuning
from model_build.cli import cli
from model_build.cli_tune import tune as tune_command
from model_build.laboratory import Laboratory, Question
from model_build.settingsfile import Chosen
from model_build.tuned import Tuning
from tests import toy_streets

# Keras' own way of turning variables into arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = ("dog_bark", "drilling", "siren")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds of noisy tones, two clips of each recording; labels are neighbours in pitch."""
    folder = tmp_path_factory.mktemp("toy")
    rows = [("path", "label", "fold", "freesound_id")]
    rng = np.random.default_rng(0)
    for number in range(72):
        label, fold, recording = number % 3, 1 + number // 24, number // 6 * 3 + number % 3
        hz = 500.0 * 1.25**label * 2 ** rng.normal(0, 0.12)
        sound = (
            0.3 * toy_streets.tone(hz) + toy_streets.noise(1.5, number)[: toy_streets.tone(hz).size]
        )
        path = f"clips/{number}.wav"
        toy_streets.write(folder / path, sound.clip(-1, 1))
        rows.append((path, LABELS[label], str(fold), str(recording)))
    with (folder / "urbansound8k.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def invoked(*words: str | Path) -> Done:
    return CliRunner().invoke(cli, [str(word) for word in words])


def run(*words: str | Path) -> Done:
    done = invoked(*words)
    assert done.exit_code == 0, done.output
    return done


def told(done: Done) -> Tuning:
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Tuning)


def test_the_choices_of_the_command_are_the_models_that_there_are() -> None:
    (model,) = [one for one in tune_command.params if one.name == "model"]
    assert list(model.type.choices) == list(labmodels.OFFERED)  # type: ignore[attr-defined]


def test_inner_folds_are_of_the_training_side_alone_and_keep_recordings_together(
    data: Path, tmp_path: Path
) -> None:
    laboratory = Laboratory(Question(task="urbansound8k", data=data, cache=tmp_path))
    given = laboratory.material("classical")
    table = given.table
    for division in given.ways[0].divisions:
        inner = tuning.inner_folds(given, division, 3)
        assert len(inner) == 3
        assert np.array_equal(sum(one.asked.astype(int) for one in inner), division.learnt)
        for one in inner:
            assert not (one.learnt & one.asked).any()
            assert not (one.learnt & division.asked).any()
            sides = [
                {table.clips[clip].group for clip in table.owners()[side]}
                for side in (one.learnt, one.asked)
            ]
            assert not sides[0] & sides[1]
            assert {table.clips[clip].label for clip in table.owners()[one.asked]} == set(LABELS)


def test_what_is_chosen_is_trained_and_judged_as_it_was_in_the_search(
    data: Path, tmp_path: Path
) -> None:
    """The held-out fold's figures of `compare --settings` are those that `tune` told."""
    chosen = tmp_path / "svm.yaml"
    common: list[str | Path] = ["--data", data, "--cache", tmp_path / "cache"]
    space = tmp_path / "space.yaml"
    space.write_text("C: {low: 1, high: 100, grid: [10, 100]}\ngamma: {choices: [0.001]}")
    words: list[str | Path] = ["tune", "svm", *common, "--space", space, "--out", chosen]
    words += ["--search", "grid", "--hold-out", "2", "--json"]
    found = told(run(*words))
    assert found.held_out == "fold 2"
    assert len(found.tried) == 2
    assert (found.best.score or 0) > (found.own.score or 0)
    assert found.best.score == max(one.score or 0 for one in (found.own, *found.tried))
    assert found.best.settings == settingsfile.read(chosen).settings
    assert found.command == ("model-build tune svm --search grid --space space.yaml --hold-out 2")
    run("compare", "--settings", chosen, "--model", "svm", *common)
    kept = {one.model: one for one in results.found(tmp_path / "cache")}
    assert set(kept) == {"svm", "svm_tuned"}
    for name, figures in (
        ("svm", found.own_held_out),
        ("svm_tuned", found.best_held_out),
    ):
        (trial,) = [one for one in kept[name].sides[0].trials if one.name == "fold 2"]
        assert trial.figures == figures
    assert ", C 1" in kept["svm_tuned"].model_title
    # What the search trained is of no use to anybody else.
    assert not list((tmp_path / "cache" / "tuning").iterdir())


def test_a_search_that_finds_nothing_better_says_so(data: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("C: {choices: [1.0e-9]}")
    words: list[str | Path] = ["tune", "svm", "--data", data, "--cache", tmp_path / "cache"]
    words += ["--space", space, "--search", "grid", "--out", tmp_path / "svm.yaml"]
    lines = run(*words).stdout.splitlines()
    assert "best: its own settings" in lines
    assert settingsfile.read(tmp_path / "svm.yaml").settings == {}
    assert "Nothing that was tried is better" in (tmp_path / "svm.html").read_text()


@pytest.mark.slow
def test_a_network_is_tuned_and_trained_with_what_was_found(data: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("batch: {choices: [16, 32]}\npeak_rate: {low: 0.001, high: 0.1, log: true}")
    common: list[str | Path] = ["--data", data, "--cache", tmp_path / "cache", "--quick"]
    words: list[str | Path] = ["tune", "dnn", *common, "--space", space, "--trials", "2", "--json"]
    found = told(run(*words, "--out", tmp_path / "dnn.yaml"))
    assert len(found.tried) == 2
    assert found.rows == "device"
    best = msgspec.structs.replace(found.chosen, settings=found.tried[0].settings)
    settingsfile.write(best, tmp_path / "first.yaml")
    run("compare", "--settings", tmp_path / "first.yaml", "--model", "svm", *common)
    assert {one.model for one in results.found(tmp_path / "cache")} == {"svm", "dnn_tuned"}


def test_a_shared_study_is_gone_on_with(data: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["tune", "svm", "--data", data, "--cache", tmp_path / "cache"]
    words += ["--out", tmp_path / "svm.yaml", "--json"]
    storage = ["--storage", f"sqlite:///{tmp_path}/study.db"]
    first = told(run(*words, "--trials", "3", *storage))
    second = told(run(*words, "--trials", "6", *storage))
    assert second.tried[:3] == first.tried
    assert second.tried == told(run(*words, "--trials", "6")).tried
    done = invoked(*words, *storage, "--hold-out", "1")
    assert isinstance(done.exception, BuildError)
    assert "is of another purpose" in done.exception.message


class _Pictures(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.sources += [found[key] or "" for key in ("src", "href") if key in found]
        if tag == "img":
            self.told.append(found["alt"] or "")


def test_the_page_holds_every_trial_and_its_pictures(data: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["tune", "svm", "--data", data, "--cache", tmp_path / "cache"]
    space = tmp_path / "space.yaml"
    space.write_text(
        "C: {low: 0.01, high: 100, log: true}\nshrinking: {choices: [true, false]}\n"
        "degree: {low: 1, high: 4, whole: true}"
    )
    words += ["--space", space, "--trials", "8", "--out", tmp_path / "svm.yaml", "--json"]
    found = told(run(*words))
    text = (tmp_path / "svm.html").read_text()
    pictures = _Pictures()
    pictures.feed(text)
    assert pictures.told == [
        "score of each trial",
        "share of each setting",
        "scores by C, shrinking, degree",
    ]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in pictures.sources)
    for one in found.tried:
        assert f'<td class="number">{one.settings["C"]:.3g}</td>' in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["svm", "--hold-out", "9"], "the task has no fold 9"),
        (["svm", "--space", "gamme.yaml"], "svm has no setting `gamme`"),
        (["svm", "--space", "below.yaml"], "svm cannot learn with {'C': -2.0}"),
        (["dnn", "--space", "gamme.yaml", "--quick"], "dnn has no setting `gamme`"),
        (["dnn", "--space", "text.yaml", "--quick"], "a setting has a value that it cannot have"),
        (["yamnet"], "yamnet needs YAMNet's file"),
    ],
)
def test_what_cannot_be_searched_is_told(
    words: list[str], told: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gamme.yaml").write_text("gamme: {choices: [1]}")
    (tmp_path / "below.yaml").write_text("C: {choices: [-2.0]}")
    (tmp_path / "text.yaml").write_text("batch: {choices: [many]}")
    monkeypatch.chdir(tmp_path)
    done = invoked("tune", *words, "--data", data, "--cache", tmp_path / "cache", "--trials", "1")
    assert isinstance(done.exception, EarshotError), done.output
    assert told in done.exception.message


def test_a_file_of_settings_is_read_as_it_was_written(tmp_path: Path) -> None:
    chosen = Chosen(
        model="svm", rows="classical", settings={"C": 0.1, "gamma": "scale", "on": True, "n": 3}
    )
    settingsfile.write(chosen, tmp_path / "some" / "svm.yaml")
    assert settingsfile.read(tmp_path / "some" / "svm.yaml") == chosen
    (tmp_path / "bad.yaml").write_text("model: svm\nrows: classical\nsetings: {}")
    with pytest.raises(ConfigError, match=r"bad\.yaml:3"):
        settingsfile.read(tmp_path / "bad.yaml")
