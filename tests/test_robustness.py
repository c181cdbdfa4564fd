"""`robustness`: what does no harm changes nothing, what ruins a sound shows."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.errors import BuildError
from model_build.cli import cli
from model_build.conditions import CONDITIONS, Condition, in_noise
from model_build.plots.curves import draw
from model_build.robustness import Robustness, robustness
from model_build.robustness_report import as_json, as_text
from model_build.scenes import Plan
from tests import toy_streets
from tests.bundled import copied

PLAN = Plan(scenes=1, rounds=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_streets.made(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def found(bundle: Path, data: Path) -> Robustness:
    return robustness(bundle, data, plan=PLAN)


def test_each_condition_is_a_curve_of_shares(found: Robustness) -> None:
    assert [curve.condition for curve in found.curves] == [one.id for one in CONDITIONS]
    for curve in found.curves:
        assert len(curve.points) == len(curve.values)
        for point in (*curve.points, found.as_made):
            assert all(0 <= value <= 1 for value in (point.macro_f1, point.recall, point.psds))


@pytest.mark.data
def test_noise_costs_what_the_converter_does_not(bundle: Path, data_root: Path) -> None:
    converter = Condition(id="converter", title="", values=(0.0,), apply=lambda sound, *_: sound)
    noise = Condition(id="noise", title="", values=(-10.0,), apply=in_noise)
    found = robustness(
        bundle, data_root, plan=Plan(scenes=1, rounds=2), conditions=(converter, noise)
    )
    sixteen_bits, drowned = (curve.points[0] for curve in found.curves)
    assert sixteen_bits.psds == pytest.approx(found.as_made.psds, abs=0.03)
    assert drowned.psds < 0.7 * found.as_made.psds


def test_text_and_json_tell_every_point(found: Robustness) -> None:
    text = as_text(found)
    for curve in found.curves:
        assert f"{curve.condition}: {curve.title}" in text
        assert all(f"{100 * point.recall:4.1f} %" in text for point in curve.points)
    plain = json.loads(as_json(found))
    assert [curve["condition"] for curve in plain["curves"]] == [one.id for one in CONDITIONS]


def test_a_picture_of_each_condition_is_drawn_the_same_each_time(
    found: Robustness, tmp_path: Path
) -> None:
    one, two = (draw(found, tmp_path / name) for name in ("one", "two"))
    assert [path.stem for path in one] == [f"robustness-{condition.id}" for condition in CONDITIONS]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_folder_without_recordings_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="holds no recordings"):
        robustness(bundle, tmp_path)


def test_the_command_gives_the_same_again_with_pictures(
    found: Robustness,
    bundle: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model_build.robustness.PLAN", PLAN)
    arguments = ["robustness", str(bundle), "--data", str(data), "--plots", str(tmp_path / "plots")]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == as_json(found)
    assert len(list((tmp_path / "plots").iterdir())) == len(CONDITIONS)
