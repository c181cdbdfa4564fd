"""Models that learn from one vector a row: SVM, random forest, gradient boosting twice.

Each stands behind a StandardScaler in one pipeline, so that a scale is learnt from the rows that
the model learns from and from no others. Classes weigh the same, however many clips they have.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from edge_agent.records import Samples
from model_build.metrics import Doubles, Indices

_SCALER, _MODEL = "scaler", "model"


class Estimator(Protocol):
    """What scikit-learn and xgboost have in common."""

    def fit(
        self, rows: Samples, classes: Indices, sample_weight: Doubles | None = None
    ) -> "Estimator":
        """Learn from rows (n, values) of classes (n,)."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A model by its name."""

    title: str
    build: Callable[[int], Estimator]
    """From a seed."""


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
}


def trainer(name: str, seed: int) -> Callable[[Samples, Indices], "Trained"]:
    """What trains a model by its name, as the protocol asks for it."""
    return lambda rows, classes: Trained(name, rows, classes, seed)


class Trained:
    """A pipeline that has learnt.

    Args:
        name: A key of `KINDS`.
        rows: (n, values).
        classes: (n,), 0 to classes - 1, each of them present.
        seed: Of what is random in it.
    """

    def __init__(self, name: str, rows: Samples, classes: Indices, seed: int) -> None:
        self.scaler = StandardScaler()
        self._pipeline = Pipeline([(_SCALER, self.scaler), (_MODEL, KINDS[name].build(seed))])
        weights = compute_sample_weight("balanced", classes)
        # Beside other work the threads of gradient boosting wait for each other: 222 s instead of
        # half a second for 90 rows, on two cores at a load of 10.
        with threadpool_limits(limits=1):
            self._pipeline.fit(rows, classes, **{f"{_MODEL}__sample_weight": weights})

    def scores(self, rows: Samples) -> Doubles:
        """(n, classes), the largest for the class that each row is taken for.

        Probabilities where the model has them; of an SVM its votes, which are none.
        """
        with threadpool_limits(limits=1):
            if hasattr(self._pipeline, "predict_proba"):
                return np.asarray(self._pipeline.predict_proba(rows), np.float64)
            decided: npt.NDArray[np.float64] = self._pipeline.decision_function(rows)
        if decided.ndim == 1:
            # Of two classes it gives the second one's side alone.
            return np.stack([-decided, decided], axis=1)
        return decided
