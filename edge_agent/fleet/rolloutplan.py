"""How releases go out: `rollouts/plan.yaml`, read as strictly as every other file of the folder."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from edge_agent import configfile, configtree
from edge_agent.configtree import Place, Problem, is_null
from edge_agent.errors import ConfigError
from edge_agent.settings import Settings

FOLDER: Final = "rollouts"
FILE: Final = "plan.yaml"

RingName = Annotated[
    str, Meta(description="a-z, 0-9 and -", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$(?!\n)")
]
Percent = Annotated[float, Meta(gt=0, le=100)]


class Ring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Devices that are given a release together, after those of the rings before."""

    select: Annotated[str, Meta(min_length=1)] | None = None
    """As for `fleet list`, like `ring=canary`."""
    percent: Percent | None = None
    """Of all that the release is for, those of the rings before included."""
    soak_h: Annotated[float, Meta(ge=0, le=8760)] = 0.0
    """How long it has to work before the next ring."""

    def __post_init__(self) -> None:
        """A ring is chosen in one way."""
        if (self.select is None) == (self.percent is None):
            raise ValueError("a ring has `select` or `percent`, one of the two")


class StopWhen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ends a rollout by itself."""

    canary_failed: Annotated[int, Meta(ge=1)] = 1
    """So many devices of the first ring did not keep it."""
    failed_percent: Annotated[float, Meta(ge=0, le=100)] = 2.0
    """More than this, of those that were given it, did not keep it."""
    silent_percent: Annotated[float, Meta(ge=0, le=100)] = 5.0
    """More than this, of those that were given it, are not heard any more."""


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Never a whole site at once."""

    at_once_percent: Percent = 25.0
    """Of a site's devices; one, where that would be less."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`rollouts/plan.yaml`."""

    about: str | None = None
    rings: dict[RingName, Ring]
    """In this order."""
    stop_when: StopWhen = StopWhen()
    spread: Spread = Spread()
    patience_h: Annotated[float, Meta(gt=0, le=168)] = 2.0
    """What a device takes at most to answer: it looks each quarter of an hour, waits for its turn,
    tries for three minutes, and may need as long to return."""

    def __post_init__(self) -> None:
        """Everybody has a ring."""
        if not self.rings or list(self.rings.values())[-1].percent != 100:
            raise ValueError("the last of `rings` must be `percent: 100`: all others")

    @property
    def in_turn(self) -> tuple[tuple[str, Ring], ...]:
        """The rings with their names, the first one first."""
        return tuple(self.rings.items())


def read(fleet: Path) -> Plan:
    """The plan in a fleet's folder.

    Raises:
        ConfigError: It is not there, or something in it is not allowed.
    """
    file = fleet / FOLDER / FILE
    if not file.is_file():
        raise ConfigError(
            f"{file}: is missing",
            hint="Copy it from the sample that `edge-agent fleet init` makes.",
        )
    plan, problems = parsed(fleet)
    if problems:
        raise problems[0].error()
    assert plan is not None, "nothing is wrong with it"
    return plan


def parsed(fleet: Path) -> tuple[Plan | None, list[Problem]]:
    """The plan of a fleet that has one, and what is wrong with it.

    Raises:
        ConfigError: The file cannot be read.
    """
    file, name = fleet / FOLDER / FILE, f"{FOLDER}/{FILE}"
    tree = configtree.read(file, configfile.read_bytes(file), name)
    problems = list(tree.problems)
    if problems:
        return None, problems
    if tree.root is None or is_null(tree.root):
        place = Place(name)
        return None, [Problem(place=place, key="", found="says nothing", hint="It needs `rings`.")]
    reader = Settings()
    typed = reader.typed(tree.root, Plan)
    built = None if typed is None else reader.built(typed, Plan)
    return built if isinstance(built, Plan) else None, reader.problems
