"""`folds`: each fold is judged by a network that never heard it; a run is taken up."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_build import fold_results, folds
from model_build.cli import cli
from model_build.train import Plan
from tests import toy_streets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_streets.made(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(folds.PLANS, "dnn", Plan(epochs=1))
    monkeypatch.setattr(folds, "_PATCHES_PER_EPOCH", 128)


def _typed(task: str, data: Path, cache: Path) -> list[str]:
    options = ["--network", "dnn", "--data", str(data), "--cache", str(cache), "--json"]
    return ["folds", "--task", task, *options]


def test_every_fold_and_a_random_split_are_judged_and_kept_for_the_card(
    data: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(cli, _typed("urbansound8k", data, tmp_path))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["folds"]) == {"fold 1", "fold 2", "fold 3"}
    assert found["mean"] == pytest.approx(sum(found["folds"].values()) / 3, abs=0.006)
    # Two clips of each class in a fold; a third of all in the random split.
    assert (found["clips"], found["random_clips"]) == (60, 20)
    honest, flattering = fold_results.metrics("dnn", tmp_path, taught=False)
    assert (honest.value, flattering.value) == (found["mean"], found["random"])
    logs = sorted(tmp_path.glob("folds/dnn/*/log.csv"))
    assert len(logs) == 4
    before = [log.read_bytes() for log in logs]
    again = CliRunner().invoke(cli, _typed("urbansound8k", data, tmp_path))
    assert again.stdout == done.stdout
    assert [log.read_bytes() for log in logs] == before


def test_esc50_has_its_own_classes_and_no_random_split(data: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, _typed("esc50", data, tmp_path))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["folds"]) == {"fold 1", "fold 2", "fold 3", "fold 5"}
    assert (found["clips"], found["random"]) == (30, None)


def test_one_fold_alone_is_refused_in_words(data: Path, tmp_path: Path) -> None:
    rows = (data / "urbansound8k.csv").read_text().splitlines()
    (tmp_path / "urbansound8k").symlink_to(data / "urbansound8k")
    one = [rows[0], *(row for row in rows[1:] if row.split(",")[2] == "1")]
    (tmp_path / "urbansound8k.csv").write_text("\n".join(one) + "\n")
    done = CliRunner().invoke(cli, _typed("urbansound8k", tmp_path, tmp_path / "cache"))
    assert done.exit_code == 1
    assert "1 fold(s) in 20 clips: two or more are needed" in str(done.exception)
