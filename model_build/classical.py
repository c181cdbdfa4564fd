"""Models that learn from one vector a row: SVM, random forest, gradient boosting twice.

Each stands behind a StandardScaler in one pipeline, so that a scale is learnt from the rows that
the model learns from and from no others. Classes weigh the same, however many clips they have.
"""

import pickle
import statistics
from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from edge_agent.clock import SystemClock
from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build.metrics import Doubles, Indices
from model_build.protocol import Lesson, Taken
from model_build.settingsfile import Settings
from model_build.spaces import Value

_SCALER, _MODEL = "scaler", "model"


class Estimator(Protocol):
    """What scikit-learn and xgboost have in common."""

    def fit(
        self, rows: Samples, classes: Indices, sample_weight: Doubles | None = None
    ) -> "Estimator":
        """Learn from rows (n, values) of classes (n,)."""

    def get_params(self) -> dict[str, object]:
        """Its settings by name."""

    def set_params(self, **settings: Value) -> "Estimator":
        """The same with other settings."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A model by its name."""

    title: str
    build: Callable[[int], Estimator]
    """From a seed."""
    search: "Search | None" = None
    """Some settings are chosen on the lesson itself; None: all stand fixed."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that are tried by cross-validation inside a lesson, recordings kept together."""

    settings: dict[str, list[float]]
    """Of the estimator, by name."""
    draws: int | None = None
    """So many settings drawn at random; None: the whole grid."""

    def best(self, pipeline: Pipeline, lesson: Lesson, weights: Doubles, seed: int) -> Pipeline:
        """The pipeline with the settings of the best macro F1, having learnt the whole lesson.

        Args:
            pipeline: Not fitted.
            lesson: With at least as many recordings of each class as there are inner folds.
            weights: (n,), of each row.
            seed: Of the draws and the inner folds.
        """
        inner = StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=seed)
        space = {f"{_MODEL}__{name}": values for name, values in self.settings.items()}
        chosen = {"scoring": "f1_macro", "cv": inner, "error_score": "raise"}
        if self.draws is None:
            search = GridSearchCV(pipeline, space, **chosen)
        else:
            search = RandomizedSearchCV(
                pipeline, space, n_iter=self.draws, random_state=seed, **chosen
            )
        told = {f"{_MODEL}__sample_weight": weights}
        search.fit(lesson.rows, lesson.classes, groups=lesson.recordings, **told)
        found: Pipeline = search.best_estimator_
        return found


_INNER_FOLDS = 3
_TIMED = 30

KINDS = {
    "svm": Kind(
        title="SVM (RBF, C 10)",
        build=lambda seed: SVC(C=10.0, random_state=seed),
    ),
    # Trees that are grown until they know each row by heart hardly heed what it weighs.
    "forest": Kind(
        title="random forest (300 trees)",
        build=lambda seed: RandomForestClassifier(
            300, min_samples_leaf=3, n_jobs=1, random_state=seed
        ),
    ),
    "boosting": Kind(
        title="gradient boosting (histograms)",
        build=lambda seed: HistGradientBoostingClassifier(random_state=seed),
    ),
    "xgboost": Kind(
        title="XGBoost (200 rounds)",
        build=lambda seed: XGBClassifier(
            n_estimators=200, max_depth=6, learning_rate=0.1, n_jobs=1, random_state=seed
        ),
    ),
    "forest_searched": Kind(
        title="random forest, settings by grid search",
        build=lambda seed: RandomForestClassifier(200, n_jobs=1, random_state=seed),
        search=Search(settings={"min_samples_leaf": [1, 3, 8], "max_features": [0.1, 0.3]}),
    ),
    "boosting_searched": Kind(
        title="gradient boosting, settings by random search",
        build=lambda seed: HistGradientBoostingClassifier(max_iter=60, random_state=seed),
        search=Search(
            settings={
                "learning_rate": [0.03, 0.1, 0.3],
                "max_leaf_nodes": [7, 15, 31],
                "l2_regularization": [0.0, 1.0, 10.0],
            },
            draws=4,
        ),
    ),
}


def trainer(
    name: str, seed: int, settings: Settings | None = None
) -> Callable[[Lesson], "Trained"]:
    """What trains a model by its name, as the protocol asks for it."""
    return lambda lesson: Trained(name, lesson, seed, settings)


def _with(name: str, estimator: Estimator, settings: Settings) -> Estimator:
    known = estimator.get_params()
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise BuildError(
            f"{name} has no setting `{unknown[0]}`", hint=f"It has {', '.join(sorted(known))}."
        )
    return estimator.set_params(**settings)


class Trained:
    """A pipeline that has learnt.

    Args:
        name: A key of `KINDS`.
        lesson: Rows are (n, values), of two classes or more.
        seed: Of what is random in it.
        settings: Of the estimator, other ones than its own.

    Raises:
        BuildError: It has no such setting, or not of such a value.
    """

    losses: tuple[float, ...] = ()

    def __init__(
        self, name: str, lesson: Lesson, seed: int, settings: Settings | None = None
    ) -> None:
        kind = KINDS[name]
        built = _with(name, kind.build(seed), settings or {})
        self._labels = lesson.labels
        # Of few clips a random split may leave a class out, and some models count without gaps.
        self._known, classes = np.unique(lesson.classes, return_inverse=True)
        dense = msgspec.structs.replace(lesson, classes=classes)
        pipeline = Pipeline([(_SCALER, StandardScaler()), (_MODEL, built)])
        weights = compute_sample_weight("balanced", classes)
        # Beside other work the threads of gradient boosting wait for each other: 222 s instead of
        # half a second for 90 rows, on two cores at a load of 10.
        with threadpool_limits(limits=1):
            if kind.search is None:
                told = {f"{_MODEL}__sample_weight": weights}
                try:
                    self._pipeline = pipeline.fit(lesson.rows, classes, **told)
                except ValueError as error:
                    if not settings:
                        raise
                    raise BuildError(
                        f"{name} cannot learn with {settings}: {error}",
                        hint="Mend the setting, or the range that it was drawn from.",
                    ) from error
            else:
                self._pipeline = kind.search.best(pipeline, dense, weights, seed)

    @property
    def scaler(self) -> StandardScaler:
        """That of the pipeline, fitted."""
        return self._pipeline.named_steps[_SCALER]

    def scores(self, rows: Samples) -> Doubles:
        """(n, labels), the largest for the class that each row is taken for.

        Probabilities where the model has them; of an SVM its votes, which are none. What it never
        learnt it gives no chance.
        """
        with threadpool_limits(limits=1):
            if hasattr(self._pipeline, "predict_proba"):
                found = np.asarray(self._pipeline.predict_proba(rows), np.float64)
                return self._of_all_labels(found, 0.0)
            decided: Doubles = self._pipeline.decision_function(rows)
        if decided.ndim == 1:
            # Of two classes it gives the second one's side alone.
            decided = np.stack([-decided, decided], axis=1)
        return self._of_all_labels(decided, -np.inf)

    def taken(self, row: Samples) -> Taken:
        """What it takes to be kept and to score a row, (1, values)."""
        model = self._pipeline.named_steps[_MODEL]
        # Each support vector is held against the row.
        multiply_adds = model.support_vectors_.size if isinstance(model, SVC) else None
        clock = SystemClock()
        spent_ms = []
        for _ in range(_TIMED):
            before = clock.monotonic_ns()
            self.scores(row)
            spent_ms.append((clock.monotonic_ns() - before) / 1e6)
        return Taken(
            size_bytes=len(pickle.dumps(self._pipeline)),
            latency_ms=statistics.median(spent_ms),
            multiply_adds=multiply_adds,
        )

    def _of_all_labels(self, found: Doubles, otherwise: float) -> Doubles:
        everything = np.full((len(found), self._labels), otherwise)
        everything[:, self._known] = found
        return everything
