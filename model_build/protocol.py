"""One protocol for all models: official folds, and a random split beside them to show how it lies.

Each fold is judged by a model that learnt from the others; what comes out is counted together. The
random split ignores recordings, so what was learnt is asked again: its figures stand beside the
honest ones and are never used for anything.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec
import numpy as np

from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build import datasets, labrows, metrics, tasks
from model_build.datasets import Clip, Skip, Split
from model_build.labconfig import LabConfig
from model_build.labrows import Table
from model_build.metrics import Doubles, Indices
from model_build.tasks import Task

REST = "rest"


class Scores(Protocol):
    """A model that has learnt."""

    def scores(self, rows: Samples) -> Doubles:
        """(n, classes), the largest for the class that each row is taken for."""


Train: TypeAlias = Callable[[Samples, Indices], Scores]
"""From rows and their classes to a model."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of clips that were judged once each, 0 to 1; None where nothing can be said."""

    clips: int
    accuracy: float
    macro_f1: float
    weighted_f1: float
    minority_recall: float | None
    """Of the class with the fewest clips; None where all have as many."""
    majority_recall: float | None
    confusion: tuple[tuple[int, ...], ...]
    """A row for each true label."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one task."""

    model: str
    labels: tuple[str, ...]
    folds: dict[str, float]
    """Accuracy of each."""
    spread: float
    """Standard deviation of these."""
    leak_free: Figures
    """Over all folds together."""
    random: Figures
    """Of the split that ignores recordings."""


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """A task's rows and splits, the same for every model."""

    table: Table
    labels: tuple[str, ...]
    folds: tuple[Split, ...]
    random: Split
    skipped: tuple[Skip, ...]


def material(
    task: Task,
    data: Path,
    config: LabConfig,
    cache: Path,
    *,
    against_rest: str | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> Material:
    """Read a task's clips, compute their rows, and split them.

    Args:
        task: Which.
        data: The folder of recordings.
        config: From recording to row.
        cache: For the rows.
        against_rest: Make two classes of it: this label, and the rest.
        per_class: Take no more clips of each class in each fold than these, drawn by the seed.
        seed: Of the random split and of the draw.

    Raises:
        BuildError: The label is not among the task's, or the task cannot be read or split.
    """
    manifest = tasks.read(task, data)
    clips = _drawn(manifest.clips, per_class, seed)
    table = labrows.table(clips, data, config, cache)
    if against_rest is not None:
        table = one_against_rest(table, against_rest)
    folds = datasets.by_fold(table.clips)
    rng = np.random.default_rng([seed, 2**29])
    return Material(
        table=table,
        labels=tuple(sorted({clip.label for clip in table.clips})),
        folds=folds,
        random=datasets.random_clips(table.clips, 1 / len(folds), rng),
        skipped=(*manifest.skipped, *table.skipped),
    )


def one_against_rest(table: Table, label: str) -> Table:
    """The same rows with two classes: a label, and the rest.

    Raises:
        BuildError: No clip has the label.
    """
    labels = {clip.label for clip in table.clips}
    if label not in labels:
        raise BuildError(
            f"the task has no label `{label}`", hint=f"It has {', '.join(sorted(labels))}."
        )
    clips = tuple(
        clip if clip.label == label else msgspec.structs.replace(clip, label=REST)
        for clip in table.clips
    )
    return msgspec.structs.replace(table, clips=clips)


def judge(name: str, train: Train, given: Material) -> Outcome:
    """Train and judge a model on each fold and on the random split."""
    counts = [_counted(train, given, split) for split in given.folds]
    accuracies = [metrics.accuracy(one) for one in counts]
    return Outcome(
        model=name,
        labels=given.labels,
        folds={split.name: value for split, value in zip(given.folds, accuracies, strict=True)},
        spread=float(np.std(accuracies)),
        leak_free=figures(np.sum(counts, axis=0)),
        random=figures(_counted(train, given, given.random)),
    )


def figures(counts: metrics.Counts) -> Figures:
    """Of a confusion matrix, (classes, classes), a row for each true label."""
    f1 = metrics.f1(counts)
    recall = metrics.recall(counts)
    clips = counts.sum(axis=1)
    uneven = clips.min() < clips.max()
    return Figures(
        clips=int(counts.sum()),
        accuracy=metrics.accuracy(counts),
        macro_f1=metrics.macro(f1),
        weighted_f1=metrics.weighted(f1, counts),
        minority_recall=float(recall[clips.argmin()]) if uneven and clips.min() else None,
        majority_recall=float(recall[clips.argmax()]) if uneven else None,
        confusion=tuple(tuple(int(count) for count in row) for row in counts),
    )


def _counted(train: Train, given: Material, split: Split) -> metrics.Counts:
    """The confusion matrix of a split's test clips; a clip is what its rows' mean score says."""
    table = given.table
    index = {clip.path: i for i, clip in enumerate(table.clips)}
    classes = np.array([given.labels.index(clip.label) for clip in table.clips])
    owners = table.owners()
    learnt = np.isin(owners, _indices(split.train, index))
    model = train(table.rows[learnt], classes[owners[learnt]])
    tested = _indices(split.test, index)
    asked = np.isin(owners, tested)
    scores, whose = model.scores(table.rows[asked]), owners[asked]
    guess = np.array([scores[whose == clip].mean(axis=0).argmax() for clip in tested])
    return metrics.confusion(classes[tested], guess, len(given.labels))


def _indices(clips: Sequence[Clip], index: dict[str, int]) -> Indices:
    return np.array([index[clip.path] for clip in clips], np.intp)


def _drawn(clips: Sequence[Clip], per_class: int | None, seed: int) -> Sequence[Clip]:
    if per_class is None:
        return clips
    taken: Counter[tuple[str, int | None]] = Counter()
    kept = []
    for index in np.random.default_rng(seed).permutation(len(clips)).tolist():
        where = (clips[index].label, clips[index].fold)
        taken[where] += 1
        if taken[where] <= per_class:
            kept.append(index)
    return [clips[index] for index in sorted(kept)]
