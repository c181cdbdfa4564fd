"""A run that was cut off goes on to the very weights of one that was not."""

from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest
import tensorflow as tf

from edge_agent.config import FrontendSettings
from model_build import networks, train

# Keras' own way of turning variables into arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SETTINGS = FrontendSettings(kind="mfcc_stats")
PLAN = train.Plan(epochs=3, batch=16, average=0.5)


class Lessons:
    """Two classes that differ in their mean; cut off before epoch `cut`."""

    def __init__(self, cut: int | None = None) -> None:
        self._cut = cut
        self._given = 0

    def __call__(self, rng: np.random.Generator) -> train.Batch:
        if self._given == self._cut:
            raise KeyboardInterrupt
        self._given += 1
        truth = rng.integers(2, size=64)
        patches = rng.normal(truth[:, None], 1, (64, 3 * SETTINGS.n_mfcc))
        return patches.astype(np.float32), np.eye(2, dtype=np.float32)[truth]


def squares(wanted: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean((wanted - given) ** 2, axis=-1)


def trained(
    folder: Path, loss: train.Loss, lessons: Lessons, plan: train.Plan = PLAN
) -> keras.Model:
    return train.fit(lambda: networks.build("dnn", 2, "softmax"), loss, lessons, plan, 5, folder)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", squares])
def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    tmp_path: Path, loss: train.Loss
) -> None:
    whole = trained(tmp_path / "whole", loss, Lessons())
    for cut in (1, 1):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", loss, Lessons(cut))
    mended = trained(tmp_path / "cut", loss, Lessons())
    for ours, theirs in zip(whole.get_weights(), mended.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 1 + PLAN.epochs


def test_the_average_is_taken_beside_the_training_and_does_not_hold_it_back(
    tmp_path: Path,
) -> None:
    logs = []
    for average in (0.0, 0.999):
        folder = tmp_path / str(average)
        plan = msgspec.structs.replace(PLAN, average=average)
        trained(folder, "categorical_crossentropy", Lessons(), plan)
        logs.append((folder / "log.csv").read_text())
    assert logs[0] == logs[1]


def test_what_was_learnt_is_in_the_weights_that_are_given_back(tmp_path: Path) -> None:
    model = trained(tmp_path, "categorical_crossentropy", Lessons())
    patches, targets = Lessons()(np.random.default_rng(9))
    guessed = train.predict(model, patches).argmax(axis=1)
    assert (guessed == targets.argmax(axis=1)).mean() > 0.8


def test_a_steady_plan_keeps_its_rate_and_ends_with_its_own_weights(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(PLAN, steady=True, peak_rate=1e-3)
    ticks = []
    model = train.fit(
        lambda: networks.build("dnn", 2, "softmax"),
        "categorical_crossentropy",
        Lessons(),
        plan,
        5,
        tmp_path,
        lambda: ticks.append(1),
    )
    assert type(model.optimizer) is keras.optimizers.Adam
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
    assert len(ticks) == len(train.losses(tmp_path)) == plan.epochs
    again = trained(tmp_path, "categorical_crossentropy", Lessons(0), plan)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
