"""What a search chose, as the street's training reads it."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from edge_agent.errors import BuildError, ConfigError
from model_build import runs, settingsfile
from model_build.cli import cli
from model_build.runs import Run
from model_build.settingsfile import Chosen, Settings
from tests import toy_streets

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_streets.made(tmp_path_factory.mktemp("recordings"))


def chosen(path: Path, model: str, settings: Settings) -> Path:
    settingsfile.write(Chosen(model=model, rows="device", settings=settings), path)
    return path


def train(data: Path, cache: Path, settings: Path) -> None:
    words = ["train", "--network", "dnn", "--data", data, "--cache", cache, "--settings", settings]
    CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


def test_the_street_is_learnt_with_what_a_search_chose(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, chosen(tmp_path / "dnn.yaml", "dnn", {"epochs": 1, "batch": 256}))
    place = runs.folder("dnn", tmp_path, 0)
    run = msgspec.json.decode((place / "run.json").read_bytes(), type=Run)
    assert run.training.epochs == 1
    assert run.training.command.endswith("--settings dnn.yaml")
    # A training with other settings is not taken up by this one, nor is this one by it.
    (log,) = place.glob("settings-*/log.csv")
    assert len(log.read_text().splitlines()) == 2
    assert not (place / "log.csv").exists()


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        ("cnn", {"epochs": 1}, "holds settings of cnn, not of dnn"),
        ("dnn", {"epochs": 0}, "a setting has a value that it cannot have"),
        ("dnn", {"rows_per_epoch": 100}, "dnn has no setting `rows_per_epoch`"),
    ],
)
def test_what_is_not_of_this_network_is_refused_before_anything_is_trained(
    model: str, settings: Settings, told: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=told):
        train(data, tmp_path, chosen(tmp_path / "other.yaml", model, settings))
    assert not (tmp_path / "street").exists()


def test_a_file_that_is_none_is_told_with_its_place(data: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("model: dnn\nrows: device\nsetings: {}\n")
    with pytest.raises(ConfigError, match="setings"):
        train(data, tmp_path, tmp_path / "odd.yaml")


def test_the_file_says_how_to_train_with_it(tmp_path: Path) -> None:
    street = chosen(tmp_path / "dnn.yaml", "dnn", {"epochs": 2}).read_text()
    assert "#   model-build train --network dnn --settings dnn.yaml\n" in street
    assert "model-build train" not in chosen(tmp_path / "svm.yaml", "svm", {"C": 2.0}).read_text()
    assert settingsfile.read(tmp_path / "svm.yaml").settings == {"C": 2.0}
