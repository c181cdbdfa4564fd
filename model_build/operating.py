"""Recall against false alarms of a bundle's labels: one JSON file for each bundle.

The curves are those of validation streams, from which the thresholds were chosen; the test's
streams give one point each, at these thresholds, and no curve: whoever picks a point from a picture
has chosen by it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.errors import BuildError
from model_build.thresholds import STEPS, Listener, Trial

if TYPE_CHECKING:
    # Who only reads curves needs nothing of what hears streams.
    from model_build.certify import Certification

SCHEMA = 1
_GRID = range(STEPS // 32, STEPS, STEPS // 32)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What one threshold gives."""

    on: float
    recall: float
    """Share of true events that were told with the right onset, 0 to 1."""
    alarms_per_hour: float
    """On event-free sound."""


class LabelCurve(msgspec.Struct, frozen=True, kw_only=True):
    """A label's points as `on` rises, with the N of M that was chosen for it."""

    label: str
    title: str
    points: tuple[Point, ...]
    chosen: Point
    """On validation."""
    test: Point
    """The same thresholds, on streams that chose nothing."""


class Operating(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's curves."""

    schema: int = SCHEMA
    model: str
    model_sha256: str
    seed: int
    validation_hours: float
    test_hours: float
    """Of event-free sound."""
    labels: tuple[LabelCurve, ...]
    command: str


def curves(found: "Certification", listeners: Sequence[Listener], command: str) -> Operating:
    """From what `certify` found and heard."""
    return Operating(
        model=found.model,
        model_sha256=found.model_sha256,
        seed=found.seed,
        validation_hours=found.validation_hours,
        test_hours=found.test.alarms.hours,
        labels=tuple(_curves(found, listeners)),
        command=command,
    )


def _curves(found: "Certification", listeners: Sequence[Listener]) -> Iterator[LabelCurve]:
    for listener in listeners:
        chosen = found.chosen[listener.label.id]
        judged = found.test.labels[listener.label.id]
        share = chosen.off / chosen.on
        yield LabelCurve(
            label=listener.label.id,
            title=listener.label.title,
            points=tuple(
                _point(listener.tried(on, share, chosen.n, chosen.m), listener.hours)
                for on in _GRID
            ),
            chosen=_point(chosen, listener.hours),
            test=Point(
                on=chosen.on,
                recall=judged.recall or 0.0,
                alarms_per_hour=judged.alarms.per_hour,
            ),
        )


def _point(trial: Trial, hours: float) -> Point:
    return Point(
        on=trial.on,
        recall=trial.counts.recall or 0.0,
        alarms_per_hour=trial.alarms / hours,
    )


def write(found: Operating, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(found))


def read(path: Path) -> Operating:
    """Read such a file.

    Raises:
        BuildError: It is none, or of another schema.
    """
    hint = "`model-build certify MODEL --dry-run --curves FILE` writes it."
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Operating)
    except OSError as error:
        raise BuildError(f"{path}: cannot be read ({error.strerror})", hint=hint) from error
    except msgspec.DecodeError as error:
        raise BuildError(f"{path}: holds no curves: {error}", hint=hint) from error
    if found.schema != SCHEMA:
        raise BuildError(f"{path}: has schema {found.schema}, not {SCHEMA}", hint=hint)
    return found
