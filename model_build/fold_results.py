"""What `folds` found: kept for the model card, and told as its figures."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.modelfile import Metric
from model_build import tasks
from model_build.datasets import Skip


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one network reaches; accuracies in percent of clips."""

    task: str
    network: str
    taught: bool
    """It learnt from a teacher as well."""
    seed: int
    folds: dict[str, float]
    mean: float
    spread: float
    """Standard deviation over the folds."""
    clips: int
    random: float | None
    """None where the task has no random split."""
    random_clips: int
    skipped: tuple[Skip, ...]
    command: str


def keep(result: Result, cache: Path) -> None:
    """For `found`, in place of what the same training gave before."""
    place = folder(result.network, cache, taught=result.taught)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{result.task}-{result.seed}.json"
    path.write_bytes(msgspec.json.encode(result))


def metrics(name: str, cache: Path, *, taught: bool) -> list[Metric]:
    """The card's figures of a network, task by task."""
    return [
        metric
        for _, of_task in groupby(found(name, cache, taught=taught), key=lambda one: one.task)
        for metric in _metrics(list(of_task))
    ]


def found(name: str, cache: Path, *, taught: bool) -> list[Result]:
    """All results of a network that are kept, in the order of tasks and seeds."""
    paths = folder(name, cache, taught=taught).glob("*.json")
    results = [msgspec.json.decode(path.read_bytes(), type=Result) for path in paths]
    order = list(tasks.TASKS)
    return sorted(results, key=lambda result: (order.index(result.task), result.seed))


def folder(name: str, cache: Path, *, taught: bool) -> Path:
    """Where a network's results are kept, and its runs that were cut off."""
    return cache / "folds" / (f"{name}-taught" if taught else name)


def _metrics(results: Sequence[Result]) -> list[Metric]:
    """One network's results on one task as the card shows them, one result for each seed.

    The spread is over seeds, or over folds where there is one seed. The flattering figure stands
    beside the honest one.
    """
    first = results[0]
    task = f"{tasks.TASKS[first.task].title}, network retrained"
    seeds = tuple(result.seed for result in results)
    several = len(results) > 1
    folds = len(first.folds)
    figures = [
        Metric(
            task=task,
            split=f"leak-free: each of {folds} official folds judged by a network trained on the "
            f"others, mean; spread over {'seeds' if several else 'folds'}",
            metric="clip accuracy, %",
            value=round(float(np.mean([result.mean for result in results])), 2),
            spread=round(float(np.std([result.mean for result in results])), 2)
            if several
            else first.spread,
            n=first.clips,
            seeds=seeds,
            command=first.command,
        )
    ]
    flattering = [result.random for result in results if result.random is not None]
    if flattering:
        figures.append(
            Metric(
                task=task,
                split="random by clip, which leaks: slices of one recording are on both sides",
                metric="clip accuracy, %",
                value=round(float(np.mean(flattering)), 2),
                spread=round(float(np.std(flattering)), 2) if several else None,
                n=first.random_clips,
                seeds=seeds,
                command=first.command,
            )
        )
    return figures
