"""A search over a space of settings, by Optuna; the only door to it.

Each trial draws from a generator of its own number, so a study that was cut off goes on as if it
had not been, and workers that share one never draw the same.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import optuna
import sqlalchemy.exc
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import FanovaImportanceEvaluator
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from edge_agent.errors import BuildError
from model_build.spaces import Axis, Space, Value, combinations

How: TypeAlias = Literal["grid", "random", "tpe"]

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_SPACE, _PURPOSE = "space", "purpose"
# Before as many are whole, nothing is known of what is bad.
_STARTUP = 5
# Of those that came to their end, which are the good ones: the median gave up 31 of 40 of an SVM,
# some of them better on two folds than any that was kept.
_KEPT = 75.0


class Judge(Protocol):
    """Says how good some settings are."""

    def __call__(self, settings: dict[str, Value], go_on: Callable[[float], bool]) -> float | None:
        """The score, higher for better; None where `go_on` said no.

        Args:
            settings: A value for each axis of the space.
            go_on: Asked with what is known so far, after each part.
        """


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, and what came of them."""

    settings: dict[str, Value]
    parts: tuple[float, ...]
    """The score as far as it was known after each part."""
    score: float | None
    """None: given up for being worse than three quarters of others after as many parts."""


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """All that was tried, in its order."""

    name: str
    tried: tuple[Tried, ...]


def search(
    judge: Judge,
    space: Space,
    how: How,
    *,
    trials: int,
    seed: int,
    name: str,
    purpose: str,
    storage: str | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Study:
    """Try settings until so many were tried in all.

    Args:
        judge: Says how good settings are.
        space: Where they lie.
        how: Every point of the grid, at random, or by what did well so far.
        trials: Of the whole study, by whomever; a grid ends with its last point.
        seed: Of the draws.
        name: Of the study in its storage.
        purpose: What is judged by what; a study of another purpose is not gone on with.
        storage: Optuna's URL; None: in memory.
        told: Called with the number of finished trials after each.

    Raises:
        BuildError: The storage cannot be used, or holds a study of this name for something else.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = _opened(space, how, seed=seed, name=name, purpose=purpose, storage=storage)

    axes = {key: _distribution(axis, how) for key, axis in space.items()}

    def finished() -> int:
        return len(found.get_trials(deepcopy=False, states=_FINISHED))

    def one(trial: optuna.Trial) -> float:
        settings = {key: _suggested(trial, key, axis) for key, axis in axes.items()}
        part = 0

        def go_on(value: float) -> bool:
            nonlocal part
            trial.report(value, part)
            part += 1
            return not trial.should_prune()

        score = judge(settings, go_on)
        if score is None:
            raise optuna.TrialPruned
        return score

    most = min(trials, combinations(space)) if how == "grid" else trials
    while (done := finished()) < most:
        told(done)
        found.optimize(one, n_trials=1)
    told(most)
    return Study(
        name=name, tried=tuple(_tried(trial) for trial in found.get_trials(states=_FINISHED))
    )


def importance(tried: Sequence[Tried], space: Space, how: How, seed: int) -> dict[str, float]:
    """Share of each setting in the variance of the scores (fANOVA), the largest first.

    Trials that were given up are left out; empty where all others are equally good.
    """
    whole = [one for one in tried if one.score is not None]
    if len({one.score for one in whole}) < 2:
        return {}
    axes = {key: _distribution(axis, how) for key, axis in space.items()}
    found = optuna.create_study(direction="maximize")
    found.add_trials(
        [
            optuna.create_trial(params=one.settings, distributions=axes, value=one.score)
            for one in whole
        ]
    )
    shares = optuna.importance.get_param_importances(
        found, evaluator=FanovaImportanceEvaluator(seed=seed)
    )
    return {key: float(share) for key, share in shares.items()}


def _opened(
    space: Space, how: How, *, seed: int, name: str, purpose: str, storage: str | None
) -> optuna.Study:
    try:
        found = optuna.create_study(
            storage=storage,
            sampler=_sampler(space, how, seed),
            pruner=optuna.pruners.PercentilePruner(_KEPT, n_startup_trials=_STARTUP),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise BuildError(
            f"--storage {storage}: cannot be used: {said}",
            hint="Give an address as SQLAlchemy knows it, like sqlite:///study.db; another "
            "database needs its driver.",
        ) from error
    axes = msgspec.json.encode({key: _points(axis, how) for key, axis in space.items()}).decode()
    for key, value in ((_SPACE, axes), (_PURPOSE, purpose)):
        there = found.user_attrs.get(key)
        if there is None:
            found.set_user_attr(key, value)
        elif there != value:
            raise BuildError(
                f"study {name} of {storage} is of another {key}: {there}",
                hint="Name another study by --study, or give what it was begun with.",
            )
    return found


def _points(axis: Axis, how: How) -> Axis | tuple[Value, ...]:
    """A grid's points stand in for its axes: their trials are of no use to the other searches."""
    return axis.points() if how == "grid" else axis


def _sampler(space: Space, how: How, seed: int) -> BaseSampler:
    match how:
        case "grid":
            return GridSampler({key: axis.points() for key, axis in space.items()}, seed=seed)
        case "random":
            return _ByNumber(lambda number: RandomSampler(seed=number), seed)
        case "tpe":
            return _ByNumber(lambda number: TPESampler(seed=number), seed)


class _ByNumber(BaseSampler):
    """A sampler that is made anew for each trial, from the seed and the trial's number."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._number = -1
        self._own: BaseSampler = make(0)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> object:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            drawn = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)
            self._number, self._own = trial.number, self._make(int(drawn[0]))
        return self._own


def _suggested(trial: optuna.Trial, key: str, axis: BaseDistribution) -> Value:
    match axis:
        case FloatDistribution():
            return trial.suggest_float(key, axis.low, axis.high, log=axis.log)
        case IntDistribution():
            return trial.suggest_int(key, axis.low, axis.high, log=axis.log)
        case CategoricalDistribution():
            value = trial.suggest_categorical(key, axis.choices)
            assert value is not None, "null is no value of an axis"
            return value
    raise AssertionError(axis)


def _distribution(axis: Axis, how: How) -> BaseDistribution:
    if how == "grid" or axis.choices is not None:
        return CategoricalDistribution(axis.points())
    low, high = axis.ends
    if axis.whole:
        return IntDistribution(round(low), round(high), log=axis.log)
    return FloatDistribution(low, high, log=axis.log)


def _tried(trial: FrozenTrial) -> Tried:
    return Tried(
        settings=trial.params,
        parts=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        score=trial.value if trial.state == TrialState.COMPLETE else None,
    )
