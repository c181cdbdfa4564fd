"""Trains the laboratory's networks on the protocol's lessons."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import keras
import msgspec
import numpy as np

from edge_agent.records import Samples
from model_build import labnetworks, train
from model_build.labnetworks import Course, LabNetwork
from model_build.metrics import Doubles, Indices
from model_build.protocol import Lesson
from model_build.settingsfile import Settings

Told: TypeAlias = Callable[[], None]
"""Called at the end of each epoch."""

_SCORED_AT_ONCE = 4096
_QUICK_EPOCHS, _QUICK_ROWS = 2, 128


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are standardised, as the device's front end does it."""

    mean: tuple[float, ...]
    """One, or one for each column."""
    std: tuple[float, ...]
    clip: float | None

    def __call__(self, rows: Samples) -> Samples:
        """(n, *shape), standardised and clipped."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        scaled: Samples = (rows - mean) / std
        if self.clip is not None:
            np.clip(scaled, -self.clip, self.clip, out=scaled)
        return scaled


def scaling(network: LabNetwork, rows: Samples) -> Scaling:
    """Of the rows that a network learns from, (n, *shape), and of no others."""
    axes = tuple(range(rows.ndim if network.one_scale else rows.ndim - 1))
    mean = np.atleast_1d(rows.mean(axis=axes, dtype=np.float64))
    std = np.atleast_1d(rows.std(axis=axes, dtype=np.float64))
    return Scaling(
        mean=tuple(round(float(value), 6) for value in mean),
        std=tuple(round(max(float(value), 1e-3), 6) for value in std),
        clip=network.clip,
    )


class Trained:
    """A network that has learnt.

    Args:
        name: A key of `labnetworks.NETWORKS`.
        lesson: What from.
        seed: Of everything random.
        place: For the state of the run, in a folder named as the trial; taken up if it is there.
        quick: Learn for a moment only.
        settings: Other ones than its own.
        told: Called at the end of each epoch.
    """

    def __init__(
        self,
        name: str,
        lesson: Lesson,
        seed: int,
        place: Path,
        *,
        quick: bool = False,
        settings: Settings | None = None,
        told: Told = lambda: None,
    ) -> None:
        network = labnetworks.NETWORKS[name]
        course = labnetworks.course(name, settings or {})
        if quick:
            course = at_once(course)
        self.scale = scaling(network, lesson.rows)
        self.epochs = course.plan.epochs
        folder = place / lesson.name.replace(" ", "-")
        self.model: keras.Model = train.fit(
            lambda: labnetworks.build(name, lesson.rows.shape[1:], lesson.labels),
            "categorical_crossentropy",
            _lessons(lesson, course, self.scale),
            course.plan,
            seed,
            folder,
            told,
        )
        self.losses = train.losses(folder)

    def scores(self, rows: Samples) -> Doubles:
        """Probabilities, (n, labels)."""
        parts = [
            train.predict(self.model, self.scale(rows[at : at + _SCORED_AT_ONCE]))
            for at in range(0, len(rows), _SCORED_AT_ONCE)
        ]
        return np.concatenate(parts).astype(np.float64)

    def taken(self, row: Samples) -> None:
        """Its layers tell that (`labnetworks.multiply_adds`)."""


def at_once(course: Course) -> Course:
    """The same for a moment only."""
    plan = msgspec.structs.replace(course.plan, epochs=_QUICK_EPOCHS, traced=False)
    return msgspec.structs.replace(course, plan=plan, rows_per_epoch=_QUICK_ROWS)


def _lessons(lesson: Lesson, course: Course, scale: Scaling) -> train.Lessons:
    wanted = np.eye(lesson.labels, dtype=np.float32)[lesson.classes]
    clips, first, counts = np.unique(lesson.clips, return_index=True, return_counts=True)
    classes = lesson.classes[first]

    def draw(rng: np.random.Generator) -> train.Batch:
        if course.rows_per_epoch is None:
            chosen = rng.permutation(len(lesson.rows))
        else:
            drawn = _clips(rng, course, classes, course.rows_per_epoch)
            # Every clip as often as any other, however long it is; its rows lie side by side.
            chosen = first[drawn] + rng.integers(counts[drawn])
        return scale(lesson.rows[chosen]), wanted[chosen]

    assert len(clips) == len(classes), "a clip has one class"
    return draw


def _clips(rng: np.random.Generator, course: Course, classes: Indices, count: int) -> Indices:
    if not course.balanced:
        return rng.integers(len(classes), size=count)
    known = np.unique(classes)
    members = [np.flatnonzero(classes == one) for one in known]
    of_class = rng.integers(len(known), size=count)
    within = rng.random(count)
    return np.array(
        [
            members[one][int(at * len(members[one]))]
            for one, at in zip(of_class, within, strict=True)
        ]
    )
