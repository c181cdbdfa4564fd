"""The table of networks: what each hears, and its layers.

Every layer has a name of its own, since the bytes of a converted model depend on names that Keras
would otherwise number by what a process built before. A recurrent layer is unrolled: its loop
cannot be converted to int8. The last layer gives logits' squashed form, softmax or sigmoid.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import keras
import msgspec
from keras import layers

from edge_agent.config import FrontendSettings

Activation: TypeAlias = Literal["softmax", "sigmoid"]
Tensor: TypeAlias = keras.KerasTensor
Body: TypeAlias = Callable[[Tensor], Tensor]
"""From a network's input to the vector in front of its last layer."""

CAP = 6.0
"""Where the activations of a network that settles end."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the table.

    `frontend` is what it hears, not yet standardised; `input` names the model's input tensor.
    """

    title: str
    input: str
    frontend: FrontendSettings
    body: Body
    settles: bool = False
    """It is made fit for int8 before it is converted (`settle`), and ends activations at `CAP`."""


def build(
    name: str,
    outputs: int,
    activation: Activation,
    *,
    batch: int | None = None,
    capped: bool = False,
) -> keras.Model:
    """A network with fresh weights.

    Args:
        name: A key of `NETWORKS`.
        outputs: Number of labels.
        activation: `softmax` for one label out of many, `sigmoid` for any number of labels.
        batch: Fixed batch size, 1 for conversion; None for training.
        capped: Activations end at `CAP`, for int8.
    """
    network = NETWORKS[name]
    model = assembled(
        name, network.input, network.body, shape(network.frontend), outputs, activation, batch=batch
    )
    return with_caps(model) if capped else model


def assembled(
    name: str,
    input_name: str,
    body: Body,
    of_input: tuple[int, ...],
    outputs: int,
    activation: Activation,
    *,
    batch: int | None = None,
) -> keras.Model:
    """A body with its ends: an input of the shape `of_input`, and a score for each output."""
    inputs = keras.Input(batch_shape=(batch, *of_input), name=input_name)
    scores = layers.Dense(outputs, activation=activation, name="scores")(body(inputs))
    return keras.Model(inputs, scores, name=name)


def shape(settings: FrontendSettings) -> tuple[int, ...]:
    """Shape of a patch of features: (48, 64) by default, (120,) for statistics."""
    if settings.kind == "mfcc_stats":
        return (3 * settings.n_mfcc,)
    return (settings.patch, settings.n_mels)


def with_caps(model: keras.Model) -> keras.Model:
    """The same network, its activations ending at `CAP`, with fresh weights."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, layers.ReLU):
            return layers.ReLU(max_value=CAP, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


# What int8 rounds at the input and in first layers of few channels is heard in every score; a
# network that learned among noise minds it less. Standard deviations.
_NOISE = 0.1


def _dnn(statistics: Tensor) -> Tensor:
    hidden = layers.GaussianNoise(_NOISE, name="noise")(statistics)
    for number, (units, dropout) in enumerate(((256, 0.4), (128, 0.4)), start=1):
        hidden = layers.Dense(units, use_bias=False, name=f"dense{number}")(hidden)
        hidden = _norm_relu(hidden, f"dense{number}")
        hidden = layers.Dropout(dropout, name=f"dense{number}_drop")(hidden)
    return hidden


# Channels and stride (time, frequency) of each block. Frequency is kept late: bands tell sounds
# apart better than 20 ms steps do.
_BLOCKS = (
    (48, (1, 1)),
    (64, (1, 2)),
    (96, (1, 1)),
    (128, (2, 1)),
    (192, (1, 1)),
    (256, (1, 2)),
    (320, (1, 1)),
)


def _cnn(log_mel: Tensor) -> Tensor:
    maps = layers.GaussianNoise(_NOISE, name="noise")(_image(log_mel))
    for name, channels, size, strides in (("stem", 24, 5, (2, 2)), ("widen", 32, 3, (2, 1))):
        maps = layers.Conv2D(channels, size, strides, "same", use_bias=False, name=name)(maps)
        maps = _norm_relu(maps, name)
        maps = layers.GaussianNoise(_NOISE, name=f"{name}_noise")(maps)
    for number, (channels, strides) in enumerate(_BLOCKS, start=1):
        name = f"block{number}"
        maps = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depth")(maps)
        maps = _norm_relu(maps, f"{name}_depth")
        # TensorFlow has no depthwise stride that differs by axis; a strided 1 x 1 convolution
        # picks the very same values.
        maps = layers.Conv2D(channels, 1, strides, use_bias=False, name=f"{name}_point")(maps)
        maps = _norm_relu(maps, f"{name}_point")
    pooled = layers.GlobalAveragePooling2D(name="pool")(maps)
    return layers.Dropout(0.3, name="drop")(pooled)


def _cnn_lstm(log_mel: Tensor) -> Tensor:
    maps = layers.GaussianNoise(_NOISE, name="noise")(_image(log_mel))
    for number, (channels, pool) in enumerate(((16, (2, 2)), (32, (2, 2)), (48, (1, 2))), start=1):
        name = f"conv{number}"
        maps = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=name)(maps)
        maps = _norm_relu(maps, name)
        maps = layers.MaxPooling2D(pool, name=f"{name}_pool")(maps)
        maps = layers.Dropout(0.1, name=f"{name}_drop")(maps)
    steps, bands, channels = maps.shape[1:]
    sequence = layers.Reshape((steps, bands * channels), name="steps")(maps)
    sequence = layers.Dense(64, activation="relu", name="dense")(sequence)
    sequence = layers.Dropout(0.2, name="dense_drop")(sequence)
    sequence = layers.LSTM(64, return_sequences=True, unroll=True, name="lstm1")(sequence)
    # As wide as the first: with 48 or 32 units the converter left a float tensor in its first step.
    last = layers.LSTM(64, unroll=True, name="lstm2")(sequence)
    return layers.Dropout(0.3, name="drop")(last)


def _image(log_mel: Tensor) -> Tensor:
    return layers.Reshape((*log_mel.shape[1:], 1), name="image")(log_mel)


def _norm_relu(maps: Tensor, name: str) -> Tensor:
    maps = layers.BatchNormalization(momentum=0.97, name=f"{name}_norm")(maps)
    return layers.ReLU(name=f"{name}_relu")(maps)


NETWORKS: dict[str, Network] = {
    "dnn": Network(
        title="dense network on statistics of 40 MFCCs",
        input="mfcc",
        frontend=FrontendSettings(kind="mfcc_stats"),
        body=_dnn,
    ),
    "cnn": Network(
        title="depthwise-separable CNN on 48 x 64 log-mel patches",
        input="log_mel",
        frontend=FrontendSettings(kind="logmel"),
        body=_cnn,
        settles=True,
    ),
    "cnn_lstm": Network(
        title="CNN and two LSTM layers on 48 x 64 log-mel patches",
        input="log_mel",
        frontend=FrontendSettings(kind="logmel"),
        body=_cnn_lstm,
    ),
}
