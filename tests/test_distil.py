"""Lessons ask for what they should, and what was learnt is passed on whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from edge_agent.records import Samples
from model_build import distil, networks
from model_build.datasets import Clip
from model_build.features import Features
from model_build.school import nearest

LABELS, VALUES = 3, 4


def loss(wanted: list[float], given: list[float], kind: networks.Activation) -> float:
    asked = distil.lesson_loss(LABELS, kind, 1.0, 1.0)
    rows = (tf.constant([row], tf.float32) for row in (wanted, given))
    return float(asked(*rows)[0])


GIVEN = [0.2, 0.5, 0.3, 1.0, 2.0, 3.0, 4.0]


def test_a_lesson_is_cross_entropy_and_the_square_of_what_is_missing() -> None:
    wanted = [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0]
    assert loss(wanted, GIVEN, "softmax") == pytest.approx(-np.log(0.5) + 4 / 4, rel=1e-5)
    surprise = -np.mean(np.log([0.8, 0.5, 0.7]))
    assert loss(wanted, GIVEN, "sigmoid") == pytest.approx(surprise + 4 / 4, rel=1e-5)


def test_what_is_not_known_is_not_asked_for() -> None:
    nothing = [float("nan")] * (LABELS + VALUES)
    assert loss(nothing, GIVEN, "sigmoid") == 0
    wanted = tf.constant([nothing], tf.float32)
    given = tf.constant([GIVEN], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        asked = distil.lesson_loss(LABELS, "softmax", 1.0, 1.0)(wanted, given)
    assert np.array_equal(tape.gradient(asked, given), np.zeros((1, LABELS + VALUES)))


@pytest.fixture(scope="module")
def patches() -> Samples:
    return np.random.default_rng(1).normal(0, 1, (4, 48, 64)).astype(np.float32)


def test_the_network_that_is_kept_scores_as_the_one_that_was_taught(patches: Samples) -> None:
    keras.utils.set_random_seed(3)
    taught = distil.student("cnn", LABELS, "sigmoid", VALUES)
    kept = distil.plain("cnn", LABELS, "sigmoid", taught)
    lessons = taught.predict(patches, verbose=0)
    assert lessons.shape == (4, LABELS + VALUES)
    assert np.array_equal(kept.predict(patches, verbose=0), lessons[:, :LABELS])


def test_all_but_the_last_layers_are_passed_on(patches: Samples) -> None:
    keras.utils.set_random_seed(4)
    learnt = distil.student("cnn", 5, "softmax", 9)
    pupil = distil.passed_on(learnt, distil.student("cnn", LABELS, "sigmoid", VALUES))
    heard = [
        keras.Model(model.input, model.get_layer("pool").output).predict(patches, verbose=0)
        for model in (learnt, pupil)
    ]
    assert np.array_equal(*heard)


def test_components_are_the_directions_of_most_variance_each_of_one() -> None:
    rng = np.random.default_rng(5)
    rows = (rng.normal(0, 1, (3000, 200)) @ rng.normal(0, 1, (200, 1024))).astype(np.float16)
    found = distil.components(rows)
    values = found(rows)
    assert values.shape == (3000, distil.COMPONENTS)
    assert np.cov(values.T) == pytest.approx(np.eye(distil.COMPONENTS), abs=0.02)


def _heard(*clips: list[list[float]]) -> Features:
    return Features(
        clips=tuple(
            Clip(path=f"{i}", label="x", origin="set", group=f"{i}") for i, _ in enumerate(clips)
        ),
        rows=np.array([row for clip in clips for row in clip], np.float16),
        starts=np.cumsum([0, *map(len, clips)]),
        rms_dbfs=np.zeros(len(clips), np.float32),
        skipped=(),
    )


def test_one_patch_that_sounds_alike_is_enough() -> None:
    judged = _heard([[1, 0, 0]], [[0, 2, 0]])
    strange = _heard([[0, 0, 1], [0, 1, 0]], [[0, 0, 5], [1, 1, 0]])
    # Rows are roots of embeddings: (1, 1, 0) is halfway between the two.
    assert nearest(strange, judged) == pytest.approx([1, np.sqrt(0.5)])
