"""Searches a model's settings where nothing that judges it later is looked at.

One fold is held out. In the others recordings are dealt into inner folds, and settings are judged
by macro F1 over these; a trial that is worse than three quarters of the others after as many of
them is given up. Only then the best settings and the model's own are trained once on all of it, and
asked the held-out fold, whose figures chose nothing.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable
from statistics import fmean

import msgspec
import numpy as np

from edge_agent.errors import BuildError
from model_build import labmodels, labtasks, metrics, protocol, study
from model_build.laboratory import Laboratory
from model_build.progress import Progress
from model_build.protocol import Division, Material
from model_build.settingsfile import Settings
from model_build.spaces import Space, Value, combinations
from model_build.study import How, Tried
from model_build.tuned import Tuning

_log = logging.getLogger(__name__)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched, and how."""

    model: str
    rows: str
    """Of a classical model; a network has its own."""
    space: Space
    how: How
    trials: int
    inner: int = 3
    """Folds within what is searched on."""
    held_out: int | None = None
    """The fold; None: the last one."""
    storage: str | None = None
    """Optuna's URL; None: in memory."""
    study: str | None = None
    """Its name; None: by task, model, search and seed."""


def tune(laboratory: Laboratory, plan: Plan) -> Tuning:
    """Search, then judge once.

    Args:
        laboratory: With the task, the seed and the cache.
        plan: What is searched.

    Raises:
        BuildError: The task has no such fold, settings are not the model's, or the storage cannot
            be used.
    """
    question = laboratory.question
    model = labmodels.find(plan.model, rows=plan.rows, quick=question.quick)
    laboratory.check(model)
    given = laboratory.material(model.rows)
    division = _held_out(given, plan.held_out)
    inner = inner_folds(given, division, plan.inner)
    bench = _Bench(laboratory, plan, given)
    axes = ", ".join(plan.space)
    _log.info("%s: %s, searched by %s; %s is held out", model.name, axes, plan.how, division.name)
    trials = plan.trials if plan.how != "grid" else min(plan.trials, combinations(plan.space))
    with Progress(trials) as bar:
        found = study.search(
            lambda settings, go_on: _searched(bench, inner, settings, go_on),
            plan.space,
            plan.how,
            trials=plan.trials,
            seed=question.seed,
            name=plan.study or _name(laboratory, plan),
            purpose=_purpose(given, division, inner, plan),
            storage=plan.storage,
            told=bar.reach,
        )
    own = _judged(bench, inner, {})
    whole = [tried for tried in found.tried if tried.score is not None]
    best = max([own, *whole], key=lambda tried: tried.score or 0.0)
    own_held_out = protocol.figures(bench.counted(division, {}))
    return Tuning(
        task_title=laboratory.task.title,
        against_rest=question.against_rest,
        model=model.name,
        model_title=model.title,
        rows=model.rows,
        how=plan.how,
        study=found.name,
        space=plan.space,
        inner=plan.inner,
        held_out=division.name,
        tried=found.tried,
        own=own,
        best=best,
        importance=study.importance(found.tried, plan.space, plan.how, question.seed),
        own_held_out=own_held_out,
        best_held_out=protocol.figures(bench.counted(division, best.settings))
        if best.settings
        else own_held_out,
        command=question.command,
    )


class _Bench:
    """Trains one model again and again."""

    def __init__(self, laboratory: Laboratory, plan: Plan, given: Material) -> None:
        self._laboratory = laboratory
        self._plan = plan
        self._given = given

    def counted(self, division: Division, settings: Settings) -> metrics.Counts:
        """The confusion of a division's clips, trained with these settings."""
        question, plan = self._laboratory.question, self._plan
        model = labmodels.find(plan.model, rows=plan.rows, quick=question.quick, settings=settings)
        # A network's state is of no use once it was judged, and there are many.
        place = question.cache / "tuning" / _digest(plan.model, settings, division.name)
        shutil.rmtree(place, ignore_errors=True)
        train = labmodels.trainer(
            model, question.seed, place, quick=question.quick, told=lambda: None
        )
        answers = protocol.answered(train, self._given, "clip", division, place)
        shutil.rmtree(place)
        return protocol.confusion(self._given, "clip", answers)


def _searched(
    bench: _Bench,
    inner: tuple[Division, ...],
    settings: dict[str, Value],
    go_on: Callable[[float], bool],
) -> float | None:
    scores: list[float] = []
    for division in inner:
        scores.append(metrics.macro(metrics.f1(bench.counted(division, settings))))
        if not go_on(fmean(scores)) and len(scores) < len(inner):
            return None
    return fmean(scores)


def _judged(bench: _Bench, inner: tuple[Division, ...], settings: Settings) -> Tried:
    parts: list[float] = []

    def note(value: float) -> bool:
        parts.append(value)
        return True

    score = _searched(bench, inner, settings, note)
    return Tried(settings=settings, parts=tuple(parts), score=score)


def _held_out(given: Material, fold: int | None) -> Division:
    divisions = {division.name: division for division in given.ways[0].divisions}
    if fold is None:
        return list(divisions.values())[-1]
    name = f"fold {fold}"
    if name not in divisions:
        raise BuildError(
            f"the task has no {name}", hint=f"It has {', '.join(divisions)}: name one's number."
        )
    return divisions[name]


def inner_folds(given: Material, division: Division, folds: int) -> tuple[Division, ...]:
    """So many folds by recording of what a division may learn from; they see nothing else of it."""
    table = given.table
    owners = table.owners()
    learnt = np.unique(owners[division.learnt])
    dealt = labtasks.dealt([table.clips[clip] for clip in learnt], folds)
    of_clip = np.zeros(len(table.clips), np.intp)
    of_clip[learnt] = [clip.fold or 0 for clip in dealt]
    of_row = of_clip[owners]
    return tuple(
        Division(
            name=f"{division.name} inner {fold}",
            learnt=division.learnt & (of_row != fold),
            asked=division.learnt & (of_row == fold),
        )
        for fold in range(1, folds + 1)
    )


def _name(laboratory: Laboratory, plan: Plan) -> str:
    question = laboratory.question
    parts = [question.task, plan.model, plan.how, str(question.seed)]
    if question.against_rest is not None:
        parts.insert(1, f"{question.against_rest}-against-rest")
    return ".".join(parts)


def _purpose(given: Material, division: Division, inner: tuple[Division, ...], plan: Plan) -> str:
    """What a study's scores can be compared by: clips, labels, rows and divisions."""
    clips = "\n".join(f"{clip.path} {clip.label}" for clip in given.table.clips)
    rows = hashlib.sha256(given.table.rows.tobytes()).hexdigest()
    flags = "".join(hashlib.sha256(one.asked.tobytes()).hexdigest() for one in inner)
    digest = _digest(clips, rows, flags)
    return f"{plan.model}, {len(given.table.clips)} clips, without {division.name} ({digest})"


def _digest(*of: object) -> str:
    return hashlib.sha256("\n".join(map(repr, of)).encode()).hexdigest()[:12]
