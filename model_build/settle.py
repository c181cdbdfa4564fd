"""Makes a trained CNN fit for int8: equal channels, then a while of training with int8's rounding.

A tensor of activations has one int8 scale for all channels, so a channel that is ten times smaller
than its neighbour keeps a tenth of the steps. A ReLU lets a factor pass through: what a channel is
divided by in front of it, the next layer's weights are multiplied by, and the network computes
what it did before (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
correction"). Rare peaks would still set the scale; they are capped.

Then a twin of the network, which rounds weights and activations as int8 will, learns to give the
scores that the trained network gives (quantisation-aware training, Jacob et al. 2018): what is to
survive the conversion is the network that was trained, and its figures are the reference.
"""

from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from edge_agent.config import FrontendSettings
from edge_agent.records import Samples
from model_build import networks, train

# Of the values of a channel; what is above is a rare peak.
_PERCENTILE = 99.9
# Where that percentile comes to lie under the cap.
_TARGET = 4.5
# In front of weights with one scale for all their inputs, a channel's factor is split between the
# activation and those weights; in front of depthwise weights, which have a scale each, it is not.
_SHARED, _OWN = 0.5, 1.0
_WIDEST = 16.0

# A short average: a long one would hold much of the weights that rounding did not shape.
PLAN = train.Plan(epochs=5, peak_rate=5e-4, weight_decay=0.0, average=0.98)


def settled(
    name: str,
    trained: keras.Model,
    settings: FrontendSettings,
    draw: train.Draw,
    calibration: Samples,
    seed: int,
    folder: Path,
) -> keras.Model:
    """The network whose int8 form answers as the trained one: capped, same layers, other weights.

    Args:
        name: A key of `networks.NETWORKS`, of a network that is a chain of convolutions.
        trained: The network to be imitated; its weights are equalised, its scores stay.
        settings: The front end with its constants.
        draw: Gives an epoch's patches.
        calibration: (n, *shape), standardised training patches.
        seed: Of order and patches.
        folder: For the state of the run and its log.
    """
    equalise(trained, calibration)

    def lesson(rng: np.random.Generator) -> train.Batch:
        features, _ = draw(rng, settings)
        return features, train.predict(trained, features)

    outputs = trained.output_shape[-1]
    imitates = train.fit(lambda: twin(trained), _logit_error, lesson, PLAN, seed, folder)
    capped = networks.build(name, outputs, "sigmoid", capped=True)
    capped.set_weights(imitates.get_weights())
    return capped


def _logit_error(wanted: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Mean square of the difference in logits, (n,): small scores count as much as large ones."""
    wanted, scores = (tf.clip_by_value(value, 1e-3, 1 - 1e-3) for value in (wanted, scores))
    away = tf.math.log(scores / (1 - scores)) - tf.math.log(wanted / (1 - wanted))
    return tf.reduce_mean(away**2, axis=-1)


def twin(trained: keras.Model) -> keras.Model:
    """The same network with int8's rounding in it; weights of either fit the other."""
    rounds = keras.models.clone_model(trained, clone_function=_rounding)
    rounds.set_weights(trained.get_weights())
    return rounds


def equalise(trained: keras.Model, patches: Samples) -> None:
    """Bring the channels behind each ReLU of a chain of layers to one size; no score changes.

    Args:
        trained: With its weights, which are changed.
        patches: (n, *shape), standardised training patches.
    """
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    chain = [layer for layer in trained.layers if isinstance(layer, kinds)]
    for layer, following in pairwise(chain):
        _equalise(trained, layer.name, following, patches)


def _equalise(
    model: keras.Model, name: str, following: keras.layers.Layer, patches: Samples
) -> None:
    """Divide the channels behind layer `name` by factors, and multiply the following weights."""
    heard = keras.Model(model.input, model.get_layer(f"{name}_relu").output)
    values = heard.predict(patches, batch_size=64, verbose=0)
    size = np.percentile(values.reshape(-1, values.shape[-1]), _PERCENTILE, axis=0)
    size = np.maximum(size, 1e-3)
    share = _OWN if isinstance(following, keras.layers.DepthwiseConv2D) else _SHARED
    mean = float(np.exp(np.log(size).mean()))
    factor = np.clip((size / mean) ** share, 1 / _WIDEST, _WIDEST)
    # The same factor for all brings the largest channel under the cap.
    factor *= float((size / factor).max()) / _TARGET
    norm = model.get_layer(f"{name}_norm")
    gamma, beta, average, variance = norm.get_weights()
    norm.set_weights([gamma / factor, beta / factor, average, variance])
    kernel, *rest = following.get_weights()
    # Input channels are the last axis but one of every kind of weights.
    following.set_weights([kernel * factor[:, None], *rest])


def _rounding(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The twin's layer: rounds what int8 will round, and is as the network runs, not as it learns.

    Scales of weights go by output channel, and so does what a batch normalisation multiplies them
    by when it is folded in: rounding before it is the same as rounding after.
    """
    settings = layer.get_config()
    for kind, twin in _TWINS.items():
        if type(layer) is kind:
            return twin.from_config(settings)
    if isinstance(layer, keras.layers.Dropout):
        settings["rate"] = 0.0
    if isinstance(layer, keras.layers.GaussianNoise):
        settings["stddev"] = 0.0
    return layer.__class__.from_config(settings)


@keras.saving.register_keras_serializable("settle")
class _RoundedReLU(keras.layers.ReLU):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_args(inputs, 0.0, networks.CAP)


@keras.saving.register_keras_serializable("settle")
class _RoundedConv2D(keras.layers.Conv2D):
    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return super().convolution_op(inputs, _rounded(kernel, (0, 1, 2)))


@keras.saving.register_keras_serializable("settle")
class _RoundedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = _rounded(self.kernel, (0, 1))
        return keras.ops.depthwise_conv(inputs, kernel, self.strides, self.padding)


@keras.saving.register_keras_serializable("settle")
class _SettledNormalization(keras.layers.BatchNormalization):
    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,  # noqa: ARG002 (Keras passes it)
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return super().call(inputs, training=False, mask=mask)


_TWINS: dict[type[keras.layers.Layer], type[keras.layers.Layer]] = {
    keras.layers.ReLU: _RoundedReLU,
    keras.layers.Conv2D: _RoundedConv2D,
    keras.layers.DepthwiseConv2D: _RoundedDepthwiseConv2D,
    keras.layers.BatchNormalization: _SettledNormalization,
}


def _rounded(kernel: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """A kernel in 255 steps a channel; gradients pass as if it were not rounded."""
    kernel = tf.convert_to_tensor(kernel)
    step = tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True) / 127
    return kernel + tf.stop_gradient(tf.round(kernel / (step + 1e-12)) * step - kernel)
