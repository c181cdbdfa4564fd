"""What a model reached on a task: one JSON file for each, from which tables and pages are made.

A result holds figures of several sides: the leak-free one first, then the one that flatters (a
random split, or the protocol under which somebody published). A file's name says task, model, seed
and how many clips were drawn; it is written when all sides are judged, so each file is whole.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from edge_agent.errors import BuildError
from model_build.datasets import Skip

SCHEMA = 2
FOLDER = "results"
"""Below the cache."""

Unit: TypeAlias = Literal["clip", "window"]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of clips (or windows) that were judged once each, 0 to 1; None where nothing can be said."""

    clips: int
    accuracy: float
    macro_f1: float
    weighted_f1: float
    minority_recall: float | None
    """Of the class with the fewest clips; None where all have as many."""
    majority_recall: float | None
    confusion: tuple[tuple[int, ...], ...]
    """A row for each true label, in the order of the result's labels."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One training, and how it was judged."""

    name: str
    """`fold 1`, `random clips` and the like."""
    trained_on: int
    """Clips (or windows)."""
    figures: Figures
    losses: tuple[float, ...] = ()
    """Mean training loss of each epoch; empty for what does not learn in epochs."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """A clip (or window) that was taken for something else."""

    path: str
    """Below the folder of recordings."""
    wanted: str
    told: str
    score: float
    """Of what was told."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One way to divide the clips, and all its trials."""

    protocol: str
    """In words, like `3 official folds`."""
    leak_free: bool
    """No recording is on both sides of a trial."""
    unit: Unit
    trials: tuple[Trial, ...]
    mean: float
    """Of the trials' accuracies, 0 to 1."""
    spread: float
    """Standard deviation of these; 0 of a single one."""
    together: Figures
    """All trials counted as one."""
    mistakes: tuple[Mistake, ...] = ()


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes, a network before conversion; None for what cannot be said."""

    size_bytes: int
    """Of a network four bytes for each weight, of any other model what it takes when kept."""
    multiply_adds: int | None
    """For one row; None for trees, which compare and multiply nothing."""
    rows_per_s: float | None
    """Rows scored in a second of sound; None where a row is a whole clip."""
    latency_ms: float | None = None
    """Of one row in the laboratory, one thread, median; of a network `Device` has that of int8."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The int8 network, or why there is none.

    It is the network of one fold, which never heard that fold; agreement and accuracy are of it.
    """

    why_not: tuple[str, ...] = ()
    """Sentences; empty if it runs in the agent."""
    bundle: str | None = None
    """The folder that the agent loads."""
    model_bytes: int | None = None
    agreement: float | None = None
    """Share of held-out rows whose first label is that of the float network."""
    accuracy_loss: float | None = None
    """Clip accuracy that int8 costs on the held-out fold, 0 to 1; negative if it gains."""
    latency_ms: float | None = None
    """Of one row on the machine that made it, one thread, median."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What others report, under their own protocol and on their own data, 0 to 1."""

    accuracy: float | None = None
    macro_f1: float | None = None
    minority_recall: float | None = None
    recall: dict[str, float] = {}
    """Of single labels."""
    note: str = ""
    """What differs here."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one task."""

    schema: int = SCHEMA
    task: str
    task_title: str
    against_rest: str | None
    """The label that was set against all others; None: the task's own labels."""
    preset: str | None = None
    """The published system that this belongs to."""
    model: str
    model_title: str
    rows: str
    """What it learns from, in words."""
    seed: int
    per_class: int | None
    """No more clips of each class and fold than these; None: all."""
    quick: bool = False
    """Networks learnt for a moment only, to see that everything runs: no figure means anything."""
    labels: tuple[str, ...]
    sides: tuple[Side, ...]
    """Leak-free first."""
    cost: Cost | None = None
    """None for an ensemble: that of its members together."""
    device: Device = Device(why_not=("it was not exported",))
    published: Published | None = None
    missing: tuple[str, ...] = ()
    """What the task lacks here of the whole set, in sentences."""
    skipped: tuple[Skip, ...] = ()
    command: str = ""

    @property
    def file_name(self) -> str:
        """The same for the same question, so that a newer answer takes the place of the older."""
        parts = [self.task, self.model, str(self.seed)]
        if self.preset is not None:
            parts.insert(0, self.preset)
        if self.against_rest is not None:
            parts.append(f"{self.against_rest}-against-rest")
        if self.per_class is not None:
            parts.append(f"{self.per_class}-per-class")
        if self.quick:
            parts.append("quick")
        return f"{'.'.join(parts)}.json"


def keep(result: Result, cache: Path) -> Path:
    """Write a result below the cache, in place of an older one; gives the file."""
    folder = cache / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(result))
    partial.replace(path)
    return path


def found(cache: Path) -> tuple[Result, ...]:
    """All results below the cache, by their files' names.

    Raises:
        BuildError: A file is no result, or of another schema.
    """
    return tuple(read(path) for path in sorted((cache / FOLDER).glob("*.json")))


def read(path: Path) -> Result:
    """One result.

    Raises:
        BuildError: The file is no result, or of another schema.
    """
    hint = "Remove the file and run the command that made it again."
    try:
        result = msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.DecodeError as error:
        raise BuildError(f"{path}: is no result: {error}", hint=hint) from error
    if result.schema != SCHEMA:
        raise BuildError(f"{path}: has schema {result.schema}, not {SCHEMA}", hint=hint)
    return result


def of_task(results: Iterable[Result], task: str, against_rest: str | None) -> list[Result]:
    """Those of one task, in their order."""
    return [one for one in results if (one.task, one.against_rest) == (task, against_rest)]
