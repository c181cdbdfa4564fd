"""Searches by Optuna, as far as they are ours: drawn by number, gone on with, shared, refused."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import BuildError
from model_build import study
from model_build.spaces import Axis, Space, Value
from model_build.study import How, Study

SPACE: Space = {
    "x": Axis(low=0.01, high=100, log=True, grid=(0.1, 1, 10)),
    "kind": Axis(choices=("good", "bad")),
    "size": Axis(low=1, high=8, whole=True, grid=(2, 4)),
}


def hill(settings: dict[str, Value], go_on: Callable[[float], bool]) -> float | None:
    """Its top is at x = 10 and the good kind; size does nothing."""
    assert isinstance(settings["x"], float)
    score = 1.0 - abs(math.log10(settings["x"]) - 1) / 4 - 0.2 * (settings["kind"] == "bad")
    for _ in range(3):
        if not go_on(score):
            return None
    return score


def searched(
    how: How, trials: int, *, seed: int = 0, storage: str | None = None, purpose: str = "a hill"
) -> Study:
    return study.search(
        hill,
        SPACE,
        how,
        trials=trials,
        seed=seed,
        name="hill",
        purpose=purpose,
        storage=storage,
    )


def test_a_grid_tries_each_point_once_and_ends() -> None:
    found = searched("grid", 1000)
    tried = {tuple(one.settings[key] for key in SPACE) for one in found.tried}
    assert tried == {
        (x, kind, size) for x in (0.1, 1.0, 10.0) for kind in ("good", "bad") for size in (2, 4)
    }
    assert len(found.tried) == 12


@pytest.mark.parametrize("how", ["random", "tpe"])
def test_what_is_drawn_lies_in_the_space_and_hangs_on_the_seed(how: How) -> None:
    found = searched(how, 12)
    for one in found.tried:
        assert isinstance(one.settings["x"], float)
        assert 0.01 <= one.settings["x"] <= 100
        assert one.settings["kind"] in ("good", "bad")
        assert one.settings["size"] in range(1, 9)
    assert len({str(one.settings) for one in found.tried}) == 12
    assert found == searched(how, 12)
    assert found.tried != searched(how, 12, seed=1).tried


def test_tpe_climbs_higher_than_chance() -> None:
    """Forty trials each: the mean of all that came to their end, over three seeds."""

    def mean(how: How, seed: int) -> float:
        scores = [one.parts[0] for one in searched(how, 40, seed=seed).tried]
        return sum(scores) / len(scores)

    for seed in range(3):
        assert mean("tpe", seed) > mean("random", seed) + 0.05


@pytest.mark.parametrize("how", ["random", "tpe"])
def test_a_study_that_was_cut_off_goes_on_as_if_it_had_not_been(how: How, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    searched(how, 7, storage=storage)
    assert searched(how, 20, storage=storage).tried == searched(how, 20).tried


def test_what_is_worse_than_three_quarters_of_the_others_is_given_up() -> None:
    found = searched("random", 30)
    given_up = [one for one in found.tried if one.score is None]
    whole = sorted(one.parts[0] for one in found.tried if one.score is not None)
    assert 5 <= len(given_up) < 25
    assert all(len(one.parts) == 1 for one in given_up)
    assert all(one.parts[0] < whole[-1] for one in given_up)


def test_the_setting_that_does_nothing_matters_least() -> None:
    """None is given up, so that a hundred speak; of forty, chance says as much as settings."""
    found = study.search(
        lambda settings, _go_on: hill(settings, lambda _: True),
        SPACE,
        "random",
        trials=100,
        seed=0,
        name="a",
        purpose="b",
    )
    shares = study.importance(found.tried, SPACE, "random", 0)
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["size"] < 0.05


def test_of_what_is_equally_good_no_importance_is_told() -> None:
    flat = study.search(
        lambda _settings, _go_on: 0.5, SPACE, "grid", trials=3, seed=0, name="a", purpose="b"
    )
    assert study.importance(flat.tried, SPACE, "grid", 0) == {}


_WORKER = """
import sys
from tests.test_study import searched
searched("random", 12, storage=sys.argv[1])
"""


@pytest.mark.slow
def test_workers_share_a_study_and_draw_nothing_twice(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    searched("random", 1, storage=storage)
    workers = [subprocess.Popen([sys.executable, "-c", _WORKER, storage]) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    found = searched("random", 12, storage=storage)
    # Two may begin the last one at once.
    assert 12 <= len(found.tried) <= 13
    assert len({str(one.settings) for one in found.tried}) == len(found.tried)
    alone = searched("random", 12).tried
    assert [one.settings for one in found.tried[:12]] == [one.settings for one in alone]


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("nonsense", "Could not parse SQLAlchemy URL"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("nobodys+driver://x/y", "Can't load plugin"),
    ],
)
def test_a_storage_that_cannot_be_used_is_told(storage: str, told: str) -> None:
    with pytest.raises(BuildError, match=told) as refused:
        searched("random", 2, storage=storage)
    assert "sqlite:///study.db" in refused.value.hint


def test_a_study_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    searched("random", 2, storage=storage)
    with pytest.raises(BuildError, match="is of another purpose: a hill"):
        searched("random", 3, storage=storage, purpose="a valley")
    with pytest.raises(BuildError, match="is of another space"):
        searched("grid", 3, storage=storage)
