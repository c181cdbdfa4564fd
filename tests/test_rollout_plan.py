"""The plan of a fleet's folder: each slip is named at its line, by `check` as by the rollout."""

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from edge_agent.fleet import rings, rolloutplan
from edge_agent.fleet.rolloutplan import Plan, Ring
from tests.fleets import HEADER, found, read, sample, small

GOOD = "rings: {canary: {select: ring=canary, soak_h: 24}, rest: {percent: 100}}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "rollouts/plan.yaml: error: says nothing. It needs `rings`."),
        (
            "rings: {rest: {percent: 50}}\n",
            "the last of `rings` must be `percent: 100`: all others",
        ),
        ("rings: {}\n", "the last of `rings` must be `percent: 100`: all others"),
        (
            "rings:\n  one: {}\n  rest: {percent: 100}\n",
            "rollouts/plan.yaml:2:8: error: rings.one: a ring has `select` or `percent`",
        ),
        (GOOD + "stop_wen: {}\n", "rollouts/plan.yaml:2:1: error: stop_wen: is not a setting. Did"),
        (
            GOOD + "spread: {at_once_percent: 0}\n",
            "rollouts/plan.yaml:2:27: error: spread.at_once_percent: found 0.",
        ),
        (GOOD + "patience_h: soon\n", "rollouts/plan.yaml:2:13: error: patience_h: found the text"),
    ],
)
def test_each_slip_has_its_line(tmp_path: Path, text: str, line: str) -> None:
    folder = small(tmp_path / "fleet", {"rollouts/plan.yaml": text})
    told = found(folder)
    assert len(told) == 1
    assert line in told[0]
    with pytest.raises(ConfigError):
        rolloutplan.read(folder)


def test_the_sample_has_a_plan_and_a_folder_may_do_without(tmp_path: Path) -> None:
    plan = rolloutplan.read(sample(tmp_path / "sample"))
    assert [name for name, _ in plan.in_turn] == ["canary", "tenth", "rest"]
    folder = small(tmp_path / "fleet")
    assert found(folder) == []
    with pytest.raises(ConfigError, match=r"plan\.yaml: is missing"):
        rolloutplan.read(folder)


def test_rings_hold_everybody_once_and_others_come_first_each_time(tmp_path: Path) -> None:
    rows = "".join(
        f"ear-{number},pi,mic-1,town,{'canary' if number < 5 else ''}\n" for number in range(200)
    )
    fleet = read(small(tmp_path, {"fleet.csv": f"{HEADER},ring\n{rows}"}))
    plan = Plan(
        rings={
            "canary": Ring(select="ring=canary"),
            "tenth": Ring(percent=10),
            "rest": Ring(percent=100),
        }
    )
    seats = rings.assigned(fleet.devices, plan, 42)
    assert sorted(seats) == sorted(device.name for device in fleet.devices)
    # A tenth of 200, the five of the first ring included.
    assert [list(seats.values()).count(ring) for ring in range(3)] == [5, 15, 180]
    again = rings.assigned(fleet.devices, plan, 43)
    tenth = {name for name, ring in seats.items() if ring == 1}
    assert len(tenth & {name for name, ring in again.items() if ring == 1}) < 6
    nobody = Plan(rings={"first": Ring(select="ring=none"), **plan.rings})
    with pytest.raises(ConfigError, match="ring first: ring=none: no device fits"):
        rings.assigned(fleet.devices, nobody, 1)
