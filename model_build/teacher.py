"""The teacher: a linear head on YAMNet's embeddings, learnt on training recordings only."""

import msgspec
import numpy as np
from sklearn.linear_model import LogisticRegression

from edge_agent.records import Samples
from model_build.features import Features, Halves, Indices

# Inverse strength of the penalty: between what recordings held back inside the training folds
# prefer (1e-3) and what keeps doubt in the answers, from which a student learns (1e-4).
_C = 3e-4
_MOST_STEPS = 300


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and deviation of each value, (1024,)."""

    mean: Samples
    std: Samples

    def __call__(self, rows: Halves) -> Samples:
        """Standardised rows, (n, 1024)."""
        scaled: Samples = (rows.astype(np.float32) - self.mean) / self.std
        return scaled


def scaling(rows: Halves) -> Scaling:
    """Of some rows, (n, 1024)."""
    values = rows.astype(np.float32)
    return Scaling(mean=values.mean(axis=0), std=np.maximum(values.std(axis=0), 1e-3))


class Head:
    """Probabilities of classes by embeddings; each clip weighs the same, however long it is.

    Args:
        heard: Embeddings of the training recordings and perhaps others.
        chosen: Indices of the training clips among them.
        classes: (clips,), the class of each clip of `heard`, 0 and up; each occurs among `chosen`.
    """

    def __init__(self, heard: Features, chosen: Indices, classes: Indices) -> None:
        rows, owners = heard.rows_of(chosen)
        self._scale = scaling(rows)
        weights = 1 / np.bincount(owners)[owners]
        self._head = LogisticRegression(C=_C, max_iter=_MOST_STEPS)
        self._head.fit(
            self._scale(rows), classes[owners], sample_weight=weights * len(rows) / weights.sum()
        )

    def scores(self, rows: Halves) -> Samples:
        """(n, classes), for the rows of any recordings, (n, 1024)."""
        found: Samples = self._head.predict_proba(self._scale(rows)).astype(np.float32)
        return found
