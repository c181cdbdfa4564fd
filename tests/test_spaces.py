"""Search spaces: what may stand in their files, and what comes of them."""

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from model_build import classical, labmodels, labnetworks, spaces
from model_build.spaces import Axis


@pytest.mark.parametrize("name", labmodels.OFFERED)
def test_every_model_has_a_space_of_settings_that_it_has(name: str) -> None:
    space = spaces.load(spaces.shipped(name))
    if name in classical.KINDS:
        known = set(classical.KINDS[name].build(0).get_params())
    else:
        known = set(labnetworks.NETWORKS[name].course.plan.__struct_fields__)
    assert set(space) <= known
    assert 4 <= spaces.combinations(space) <= 200


def test_points_of_a_grid_are_the_given_ones_or_three_evenly_spread() -> None:
    assert Axis(choices=("a", "b")).points() == ("a", "b")
    assert Axis(low=1, high=9, grid=(1, 5)).points() == (1.0, 5.0)
    assert Axis(low=1, high=100, log=True).points() == pytest.approx((1, 10, 100))
    assert Axis(low=1, high=4, whole=True).points() == (1, 2, 4)
    assert Axis(low=1, high=2, whole=True).points() == (1, 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("C: {low: 1}", "needs low and high, or choices"),
        ("C: {low: 2, high: 1}", "low 2 is not below high 1"),
        ("C: {low: 0, high: 1, log: true}", "low 0 has no logarithm"),
        ("C: {low: 0.5, high: 1, whole: true}", "must be whole numbers"),
        ("C: {low: 1, high: 2, grid: [3]}", "grid's 3 is not from 1 to 2"),
        ("C: {choices: [a], low: 1}", "choices stand alone"),
        ("C: {choices: []}", "C.choices"),
        ("C: {lwo: 1, high: 2}", "lwo"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"space\.yaml") as refused:
        spaces.load(path)
    assert told in refused.value.message


def test_a_space_that_is_not_there_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="nothing") as refused:
        spaces.load(Path("nothing"))
    assert "svm" in refused.value.hint
