"""Learning from the teacher: a network that first learns to hear as YAMNet does, then a task.

Pretraining: from sound outside the task, the network regresses YAMNet's embedding and names what
has a name. Afterwards its last layers are replaced and it learns the task, from labels and from
what the teacher says of the same patches; principal components of the embedding are regressed
beside it. The source of the recipe and what each step gave: docs/decisions.md.

A lesson's targets are scores and embedding values in one row; a NaN asks for nothing.
"""

from pathlib import Path

import keras
import msgspec
import numpy as np
import tensorflow as tf
from keras import layers

from edge_agent.config import FrontendSettings
from edge_agent.frontend import from_levels
from edge_agent.records import Samples
from model_build import features, networks, train
from model_build.augment import Bench, Recipe, to_levels, to_power
from model_build.features import Features, Halves
from model_build.teacher import Scaling, scaling

COMPONENTS = 128
_PATCHES_PER_EPOCH = 10_000
_RECIPE = Recipe(masks=2)
_GAIN_DB = 8.0
_NAMES_WEIGHT = 0.3
COMPONENTS_WEIGHT = 0.5
PLAN = train.Plan(epochs=30, batch=128)


class Components(msgspec.Struct, frozen=True, kw_only=True):
    """The directions in which embeddings differ most, each of unit variance."""

    scale: Scaling
    axes: Samples
    """(1024, components)."""

    def __call__(self, rows: Halves) -> Samples:
        """(n, components) for embeddings (n, 1024)."""
        values: Samples = self.scale(rows) @ self.axes
        return values


def components(rows: Halves) -> Components:
    """Of embeddings, (n, 1024)."""
    scale = scaling(rows)
    values = scale(rows)
    variances, axes = np.linalg.eigh(values.T @ values / len(values))
    axes = axes[:, ::-1][:, :COMPONENTS] / np.sqrt(variances[::-1][:COMPONENTS])
    return Components(scale=scale, axes=axes.astype(np.float32))


def student(name: str, labels: int, activation: networks.Activation, values: int) -> keras.Model:
    """A network with fresh weights whose output is scores and embedding values in one row.

    Args:
        name: A key of `networks.NETWORKS`.
        labels: Number of scores.
        activation: Of the scores.
        values: Of the embedding, or of its components.
    """
    plain = networks.build(name, labels, activation)
    heard = layers.Dense(values, name="values")(plain.get_layer("scores").input)
    joined = layers.Concatenate(name="lesson")([plain.output, heard])
    return keras.Model(plain.input, joined, name=name)


def lesson_loss(
    labels: int,
    activation: networks.Activation,
    scores_weight: float,
    values_weight: float,
) -> train.LossFunction:
    """Cross-entropy of the scores and mean square error of the values; NaN targets are left out."""

    def _lesson(wanted: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
        known = tf.math.is_finite(wanted)
        wanted = tf.where(known, wanted, 0.0)
        scores = tf.clip_by_value(given[:, :labels], 1e-6, 1 - 1e-6)
        sure = wanted[:, :labels]
        surprise = -sure * tf.math.log(scores)
        if activation == "sigmoid":
            surprise -= (1 - sure) * tf.math.log(1 - scores)
        surprise = tf.where(known[:, :labels], surprise, 0.0)
        reduce = tf.reduce_mean if activation == "sigmoid" else tf.reduce_sum
        away = tf.where(known[:, labels:], given[:, labels:] - wanted[:, labels:], 0.0)
        return scores_weight * reduce(surprise, axis=-1) + values_weight * tf.reduce_mean(
            away**2, axis=-1
        )

    return _lesson


def passed_on(learnt: keras.Model, pupil: keras.Model) -> keras.Model:
    """The pupil with the weights of all layers that both have in the same shape."""
    for layer in pupil.layers:
        weights = layer.get_weights()
        if not weights or layer.name in ("scores", "values"):
            continue
        layer.set_weights(learnt.get_layer(layer.name).get_weights())
    return pupil


def plain(
    name: str, labels: int, activation: networks.Activation, taught: keras.Model
) -> keras.Model:
    """The network as it is converted: scores only."""
    model = passed_on(taught, networks.build(name, labels, activation))
    model.get_layer("scores").set_weights(taught.get_layer("scores").get_weights())
    return model


def pretrained(
    name: str,
    patches: Features,
    heard: Features,
    names: tuple[str, ...],
    settings: FrontendSettings,
    plan: train.Plan,
    seed: int,
    folder: Path,
) -> tuple[keras.Model, FrontendSettings]:
    """A network that hears as the teacher does, and the front end's constants that it learnt with.

    Args:
        name: A key of `networks.NETWORKS`.
        patches: Of recordings outside every task that will be judged.
        heard: The teacher's embeddings of them, row by row.
        names: Labels to be named; clips with others are only heard.
        settings: The front end.
        plan: How long and how hard.
        seed: Of everything random.
        folder: For the state of the run and its log.
    """
    draw = _drawer(patches, heard, names, settings)
    own = train.standardised(settings, draw, seed)
    loss = lesson_loss(len(names), "softmax", _NAMES_WEIGHT, 1.0)

    def build() -> keras.Model:
        return student(name, len(names), "softmax", heard.rows.shape[1])

    return train.fit(build, loss, train.lessons(draw, own), plan, seed, folder), own


def _drawer(
    patches: Features, heard: Features, names: tuple[str, ...], settings: FrontendSettings
) -> train.Draw:
    """Patches, bent and masked, with what they are called and what YAMNet hears in them."""
    owners = patches.owners()
    audible = np.flatnonzero(patches.rms_dbfs[owners] >= features.SILENT_DBFS)
    number = {name: index for index, name in enumerate(names)}
    called = np.array([number.get(clip.label, -1) for clip in patches.clips])[owners]
    scale = scaling(heard.rows)
    bench = Bench(features.white_noise(settings), _RECIPE)
    floor = settings.floor_value

    def draw(rng: np.random.Generator, own: FrontendSettings) -> train.Batch:
        chosen = rng.choice(audible, _PATCHES_PER_EPOCH)
        levels = np.empty((len(chosen), own.patch, own.n_mels), np.float32)
        for row, source in enumerate(chosen):
            power = to_power(patches.rows[source].astype(np.float32), floor)
            power = bench.bent(power, rng) * np.float32(10 ** (rng.normal(0, _GAIN_DB) / 10))
            levels[row] = bench.masked(to_levels(power, floor), rng)
        # A patch without a name asks for none: cross-entropy with zeros is zero.
        named = (called[chosen][:, None] == np.arange(len(names))).astype(np.float32)
        return from_levels(levels, own), np.hstack([named, scale(heard.rows[chosen])])

    return draw
