"""One protocol for all models: official folds, and a split beside them that shows how it lies.

Each fold is judged by a model that learnt from the others; what comes out is counted together. The
split beside it ignores recordings, so what was learnt is asked again: its figures stand beside the
honest ones and are never used for anything. What a model answered is kept trial by trial, so that
a run that was cut off goes on, and an ensemble asks its members' answers and not them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build import datasets, metrics
from model_build.datasets import Clip, Skip, Split
from model_build.labrows import Table
from model_build.metrics import Doubles, Flags, Indices
from model_build.results import Figures, Mistake, Side, Trial, Unit

REST = "rest"


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What a model may learn from, and nothing else."""

    name: str
    """Of the trial."""
    rows: Samples
    """(n, *shape)."""
    classes: Indices
    """(n,), 0 to labels - 1."""
    clips: Indices
    """(n,), which rows belong to one clip."""
    recordings: Indices
    """(n,), which rows were cut from one recording."""
    labels: int


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes that is no network, whose own layers tell that."""

    size_bytes: int
    """As it is kept."""
    latency_ms: float
    """Of one row, one thread, median."""
    multiply_adds: int | None
    """For one row; None for trees."""


class Scores(Protocol):
    """A model that has learnt."""

    losses: tuple[float, ...]
    """Of each epoch; empty for what does not learn in epochs."""

    def scores(self, rows: Samples) -> Doubles:
        """(n, labels), the largest for the class that each row is taken for."""

    def taken(self, row: Samples) -> Taken | None:
        """What it takes to be kept and to score a row, (1, *shape); None of a network."""


Train: TypeAlias = Callable[[Lesson], Scores]


class Division(msgspec.Struct, frozen=True, kw_only=True):
    """Rows to learn from and rows to be asked, (n,) each."""

    name: str
    """No two divisions of a task and a seed share one: answers are kept by it."""
    learnt: Flags
    asked: Flags


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to divide a table's rows."""

    protocol: str
    leak_free: bool
    unit: Unit
    divisions: tuple[Division, ...]


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """A task's rows and how they are divided, the same for every model that learns from them."""

    table: Table
    labels: tuple[str, ...]
    ways: tuple[Way, ...]
    """Leak-free first."""
    skipped: tuple[Skip, ...]


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said in one trial."""

    name: str
    units: Indices
    """(n,), the index of each clip, or of each row where windows are judged."""
    scores: Doubles
    """(n, labels)."""
    trained_on: int
    losses: tuple[float, ...]
    taken: Taken | None = None


def material(table: Table, ways: Sequence[Way], skipped: Sequence[Skip] = ()) -> Material:
    """A table with its divisions; `skipped` are clips that never came to have rows."""
    return Material(
        table=table,
        labels=tuple(sorted({clip.label for clip in table.clips})),
        ways=tuple(ways),
        skipped=(*skipped, *table.skipped),
    )


def leak_free(table: Table, title: str) -> Way:
    """Each fold against the others.

    Args:
        table: Its clips have folds.
        title: What the folds are, like `official folds`.

    Raises:
        BuildError: There are fewer than two, or a recording lies in two.
    """
    folds = datasets.by_fold(table.clips)
    return Way(
        protocol=f"{len(folds)} {title}",
        leak_free=True,
        unit="clip",
        divisions=tuple(_division(table, split) for split in folds),
    )


def random_clips(table: Table, clips: Sequence[Clip], share: float, seed: int) -> Way:
    """One split that ignores recordings, with `share` of the clips as its test.

    Args:
        table: The rows of those among them that could be used.
        clips: All of the task, so that every table of it is split alike.
        share: 0 to 1.
        seed: Of the draw.
    """
    split = datasets.random_clips(clips, share, np.random.default_rng([seed, 2**29]))
    split = msgspec.structs.replace(split, name=f"random clips {share:.1%}")
    return Way(
        protocol=f"random clips, {share:.0%} for the test",
        leak_free=False,
        unit="clip",
        divisions=(_division(table, split),),
    )


def random_windows(table: Table, share: float, seed: int) -> Way:
    """One split that ignores even clips, with `share` of the rows as its test, judged by row."""
    rows = len(table.rows)
    asked = np.zeros(rows, bool)
    asked[np.random.default_rng([seed, 2**29]).permutation(rows)[: round(share * rows)]] = True
    return Way(
        protocol=f"random windows, {share:.0%} for the test",
        leak_free=False,
        unit="window",
        divisions=(Division(name=f"random windows {share:.1%}", learnt=~asked, asked=asked),),
    )


def one_against_rest(clips: Sequence[Clip], label: str) -> tuple[Clip, ...]:
    """The same clips with two classes: a label, and the rest.

    Raises:
        BuildError: No clip has the label.
    """
    labels = {clip.label for clip in clips}
    if label not in labels:
        raise BuildError(
            f"the task has no label `{label}`", hint=f"It has {', '.join(sorted(labels))}."
        )
    return tuple(
        clip if clip.label == label else msgspec.structs.replace(clip, label=REST) for clip in clips
    )


def answers(train: Train, given: Material, place: Path) -> list[list[Answers]]:
    """Train and ask a model in each division of each way.

    Args:
        train: From a lesson to a model.
        given: The rows.
        place: Where the answers are kept; what lies there is not asked again.
    """
    return [
        [answered(train, given, way.unit, division, place) for division in way.divisions]
        for way in given.ways
    ]


def sides(given: Material, found: Sequence[Sequence[Answers]]) -> tuple[Side, ...]:
    """Figures of a model's answers, way by way."""
    return tuple(_side(given, way, of_way) for way, of_way in zip(given.ways, found, strict=True))


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


def _division(table: Table, split: Split) -> Division:
    index = {clip.path: i for i, clip in enumerate(table.clips)}
    owners = table.owners()
    learnt, asked = (
        np.isin(owners, [index[clip.path] for clip in clips if clip.path in index])
        for clips in (split.train, split.test)
    )
    return Division(name=split.name, learnt=learnt, asked=asked)


def _classes(given: Material) -> Indices:
    """(clips,)."""
    return np.array([given.labels.index(clip.label) for clip in given.table.clips], np.intp)


def lesson(given: Material, division: Division) -> Lesson:
    """The side of a division that may be learnt from."""
    table = given.table
    owners = table.owners()[division.learnt]
    groups = sorted({clip.group for clip in table.clips})
    number = {group: index for index, group in enumerate(groups)}
    recordings = np.array([number[clip.group] for clip in table.clips], np.intp)
    return Lesson(
        name=division.name,
        rows=table.rows[division.learnt],
        classes=_classes(given)[owners],
        clips=owners,
        recordings=recordings[owners],
        labels=len(given.labels),
    )


def answered(train: Train, given: Material, unit: Unit, division: Division, place: Path) -> Answers:
    """What a model says in one division; what lies at `place` is not asked again."""
    path = place / f"{division.name.replace(' ', '-')}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return Answers(
                name=division.name,
                units=kept["units"],
                scores=kept["scores"],
                trained_on=int(kept["trained_on"]),
                losses=tuple(kept["losses"].tolist()),
                taken=_told(kept["taken"]) if "taken" in kept else None,
            )
    known = lesson(given, division)
    model = train(known)
    scores = model.scores(given.table.rows[division.asked])
    if unit == "clip":
        owners = given.table.owners()[division.asked]
        units, first = np.unique(owners, return_index=True)
        # A clip's rows lie one behind the other.
        counts = np.diff([*first, len(owners)])
        scores = np.add.reduceat(scores, first, axis=0) / counts[:, None]
        trained_on = len(np.unique(known.clips))
    else:
        units, trained_on = np.flatnonzero(division.asked), len(known.rows)
    place.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    taken = model.taken(given.table.rows[division.asked][:1])
    np.savez(
        partial,
        units=units,
        scores=scores,
        trained_on=trained_on,
        losses=model.losses,
        taken=np.frombuffer(msgspec.json.encode(taken), np.uint8),
    )
    partial.replace(path)
    return Answers(
        name=division.name,
        units=units,
        scores=scores,
        trained_on=trained_on,
        losses=model.losses,
        taken=taken,
    )


def _told(kept: npt.NDArray[np.uint8]) -> Taken | None:
    return msgspec.json.decode(kept.tobytes(), type=Taken | None)


def confusion(given: Material, unit: Unit, found: Answers) -> metrics.Counts:
    """(labels, labels), a row for each true label."""
    clips = found.units if unit == "clip" else given.table.owners()[found.units]
    return metrics.confusion(_classes(given)[clips], found.scores.argmax(axis=1), len(given.labels))


def _side(given: Material, way: Way, found: Sequence[Answers]) -> Side:
    trials, counted = [], []
    mistakes: list[Mistake] = []
    for one in found:
        clips = one.units if way.unit == "clip" else given.table.owners()[one.units]
        truth, guess = _classes(given)[clips], one.scores.argmax(axis=1)
        counts = confusion(given, way.unit, one)
        counted.append(counts)
        trials.append(
            Trial(
                name=one.name,
                trained_on=one.trained_on,
                figures=figures(counts),
                losses=one.losses,
            )
        )
        mistakes += [
            Mistake(
                path=given.table.clips[clips[at]].path,
                wanted=given.labels[truth[at]],
                told=given.labels[guess[at]],
                score=float(one.scores[at, guess[at]]),
            )
            for at in np.flatnonzero(truth != guess)
        ]
    accuracies = [trial.figures.accuracy for trial in trials]
    return Side(
        protocol=way.protocol,
        leak_free=way.leak_free,
        unit=way.unit,
        trials=tuple(trials),
        mean=float(np.mean(accuracies)),
        spread=float(np.std(accuracies)),
        together=figures(np.sum(counted, axis=0)),
        # Those of a split that leaks say nothing of what a model cannot tell apart.
        mistakes=tuple(mistakes) if way.leak_free else (),
    )
