"""Where settings are searched: a range or a choice for each, read from a file.

A space is a YAML or JSON file of `setting: {low, high}` or `setting: {choices}`; `searches/` holds
the shipped ones. docs/laboratory.md describes what may stand there.
"""

from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta

from model_build import typedfile

SHIPPED = Path(__file__).parent / "searches"
NETWORK = "network"
"""The space of every network."""

Value: TypeAlias = float | int | str | bool
_POINTS = 3


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one setting may be: a range, both ends included, or one of some values."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Drawn evenly by its logarithm."""
    whole: bool = False
    """Whole numbers alone."""
    choices: Annotated[tuple[Value, ...], Meta(min_length=1)] | None = None
    grid: Annotated[tuple[float | int, ...], Meta(min_length=1)] | None = None
    """Points of a range that a grid search takes; three evenly spread ones if absent."""

    def __post_init__(self) -> None:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.grid or self.log or self.whole:
                raise ValueError("choices stand alone: no low, high, log, whole or grid beside")
            return
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm: above 0 is needed")
        if self.whole and (self.low % 1 or self.high % 1):
            raise ValueError("low and high must be whole numbers where `whole` is true")
        outside = [point for point in self.grid or () if not self.low <= point <= self.high]
        if outside:
            raise ValueError(f"grid's {outside[0]:g} is not from {self.low:g} to {self.high:g}")

    @property
    def ends(self) -> tuple[float, float]:
        """Of a range."""
        assert self.low is not None, "choices have no ends"
        assert self.high is not None, "choices have no ends"
        return self.low, self.high

    def points(self) -> tuple[Value, ...]:
        """Values of a grid search."""
        if self.choices is not None:
            return self.choices
        spread = np.geomspace if self.log else np.linspace
        points = self.grid or spread(*self.ends, _POINTS).tolist()
        return tuple(dict.fromkeys(round(one) if self.whole else float(one) for one in points))


Space: TypeAlias = dict[str, Axis]
"""By setting, in the file's order."""


def combinations(space: Space) -> int:
    """How many a grid search has."""
    return int(np.prod([len(axis.points()) for axis in space.values()]))


def shipped(model: str) -> Path:
    """The name of a model's space; networks share one."""
    own = SHIPPED / f"{model}.yaml"
    return Path(model if own.is_file() else NETWORK)


def load(path: Path) -> Space:
    """Read a space: a file, or the name of a shipped one.

    Raises:
        ConfigError: There is no such file, or something in it is not allowed, with its place.
    """
    hint = "Name a setting and its range, like `C: {low: 1, high: 100}`."
    space = typedfile.read(path, Space, if_empty=hint, shipped=SHIPPED)
    assert isinstance(space, dict), "what is built is what was asked for"
    return space
