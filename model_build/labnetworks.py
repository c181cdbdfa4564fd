"""The laboratory's networks: what rows each learns from, its layers, and how long it learns.

The first six stand for families, and share bodies with the street's networks where there are such.
The others belong to published systems, layer by layer as these describe themselves (`presets`).
What the device can compute is made of layers that convert to int8: recurrence is unrolled, over
twelve steps of four frames.
"""

import keras
import msgspec
from keras import layers

from edge_agent.errors import BuildError
from model_build import networks, train
from model_build.networks import Activation, Body, Tensor
from model_build.settingsfile import Settings
from model_build.train import Plan


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How a network learns."""

    plan: Plan
    rows_per_epoch: int | None = None
    """Drawn from clips, however many rows each has; None: every row once."""
    balanced: bool = True
    """Every class is drawn as often as any other; needs `rows_per_epoch`."""

    def __post_init__(self) -> None:
        if self.balanced and self.rows_per_epoch is None:
            raise ValueError("every row once is not every class equally often")


class LabNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the table."""

    title: str
    rows: str
    """The configuration that its rows come from, one of `recipes/`, or `yamnet`."""
    input: str
    """The name of the input tensor."""
    body: Body
    course: Course
    one_scale: bool = False
    """Rows are standardised by one mean and deviation; else each of their columns by its own."""
    clip: float | None = 4.0
    """Where standardised values end, as on the device; None: nowhere."""
    capped: bool = False
    """Its activations end where int8 can still tell them apart."""


def build(
    name: str,
    shape: tuple[int, ...],
    outputs: int,
    activation: Activation = "softmax",
    *,
    batch: int | None = None,
) -> keras.Model:
    """A network with fresh weights.

    Args:
        name: A key of `NETWORKS`.
        shape: Of a row.
        outputs: Number of labels.
        activation: Of the last layer.
        batch: Fixed batch size, 1 for conversion; None for training.
    """
    network = NETWORKS[name]
    model = networks.assembled(
        name, network.input, network.body, shape, outputs, activation, batch=batch
    )
    return networks.with_caps(model) if network.capped else model


def course(name: str, settings: Settings) -> Course:
    """How a network learns, with some of it set anew.

    Args:
        name: A key of `NETWORKS`.
        settings: Of its plan, and `rows_per_epoch`.

    Raises:
        BuildError: There is no such setting, or not of such a value.
    """
    own = NETWORKS[name].course
    rows = settings.get("rows_per_epoch", own.rows_per_epoch)
    of_plan = {key: value for key, value in settings.items() if key != "rows_per_epoch"}
    plan = train.altered(name, own.plan, of_plan, others=("rows_per_epoch",))
    try:
        return Course(
            plan=plan, rows_per_epoch=msgspec.convert(rows, int | None), balanced=own.balanced
        )
    except msgspec.ValidationError as error:
        raise BuildError(f"{name}: rows_per_epoch: {error}", hint=train.ABOUT_SETTINGS) from error


def multiply_adds(model: keras.Model) -> int:
    """For one row; multiplications alone, those of normalisation left out as they fold away."""
    return sum(_of_layer(layer) for layer in model.layers)


def _of_layer(layer: keras.layers.Layer) -> int:
    sizes = [int(weight.shape.num_elements()) for weight in layer.weights if len(weight.shape) > 1]
    kernels = sum(sizes)
    if isinstance(layer, layers.LSTM | layers.GRU):
        # A GRU's bias has two rows, and multiplies nothing.
        kernels = sum(
            int(weight.shape.num_elements())
            for weight in layer.weights
            if weight.path.endswith("kernel")
        )
        # With a state to begin with it has two inputs.
        sequence = layer.input[0] if isinstance(layer.input, list) else layer.input
        return kernels * int(sequence.shape[1])
    if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
        positions = 1
        for size in layer.output.shape[1:-1]:
            positions *= int(size)
        return kernels * positions
    return 0


# As networks._NOISE: what int8 rounds is minded less by what learnt among noise.
_NOISE = 0.1
_FRAMES_IN_A_STEP = 4


def _steps(frames: Tensor) -> Tensor:
    """Four frames side by side, through one dense layer: twelve steps of a patch."""
    noisy = layers.GaussianNoise(_NOISE, name="noise")(frames)
    length, values = frames.shape[1:]
    joined = layers.Reshape(
        (length // _FRAMES_IN_A_STEP, values * _FRAMES_IN_A_STEP), name="steps"
    )(noisy)
    hidden = layers.Dense(64, activation="relu", name="dense")(joined)
    return layers.Dropout(0.2, name="dense_drop")(hidden)


def _lstm(frames: Tensor) -> Tensor:
    # As wide as each other: with less in the second the converter left a float tensor in it.
    sequence = layers.LSTM(64, return_sequences=True, unroll=True, name="lstm1")(_steps(frames))
    last = layers.LSTM(64, unroll=True, name="lstm2")(sequence)
    return layers.Dropout(0.3, name="drop")(last)


def _gru(frames: Tensor) -> Tensor:
    steps = _steps(frames)
    sequence = layers.GRU(64, return_sequences=True, unroll=True, name="gru1")(
        steps, initial_state=_start(steps, "gru1")
    )
    last = layers.GRU(64, unroll=True, name="gru2")(
        sequence, initial_state=_start(sequence, "gru2")
    )
    return layers.Dropout(0.3, name="drop")(last)


def _start(sequence: Tensor, name: str) -> Tensor:
    """A first state from the mean of all steps.

    From a state of zeros the first step is a constant, which the converter leaves in float.
    """
    mean = layers.GlobalAveragePooling1D(name=f"{name}_mean")(sequence)
    return layers.Dense(64, activation="tanh", name=f"{name}_start")(mean)


def _cnn1d(hops: Tensor) -> Tensor:
    length, hop = hops.shape[1:]
    maps = layers.Reshape((length * hop, 1), name="samples")(hops)
    for number, (channels, size, stride) in enumerate(
        ((32, 80, 8), (64, 3, 1), (128, 3, 1), (256, 3, 1)), start=1
    ):
        name = f"conv{number}"
        maps = layers.Conv1D(channels, size, stride, "same", use_bias=False, name=name)(maps)
        maps = layers.BatchNormalization(momentum=0.97, name=f"{name}_norm")(maps)
        maps = layers.ReLU(name=f"{name}_relu")(maps)
        maps = layers.MaxPooling1D(4, name=f"{name}_pool")(maps)
    pooled = layers.GlobalAveragePooling1D(name="pool")(maps)
    return layers.Dropout(0.3, name="drop")(pooled)


def _yamnet(embedding: Tensor) -> Tensor:
    # Linear: a hidden layer of 256 in front of the last one lost 2 to 6 points (MODELS, section 5).
    return layers.Dropout(0.8, name="drop")(embedding)


def _dense(*hidden: tuple[int, float]) -> Body:
    """Layers of so many units, each with a share that is dropped out behind it."""

    def body(values: Tensor) -> Tensor:
        for number, (units, dropped) in enumerate(hidden, start=1):
            values = layers.Dense(units, activation="relu", name=f"dense{number}")(values)
            if dropped:
                values = layers.Dropout(dropped, name=f"dense{number}_drop")(values)
        return values

    return body


def _conv_lstm(log_mel: Tensor) -> Tensor:
    maps = layers.Reshape((*log_mel.shape[1:], 1), name="image")(log_mel)
    for number, (channels, pool) in enumerate(((16, (2, 2)), (32, (2, 2)), (64, (1, 2))), start=1):
        name = f"conv{number}"
        maps = layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)(maps)
        maps = layers.MaxPooling2D(pool, name=f"{name}_pool")(maps)
        maps = layers.BatchNormalization(momentum=0.97, name=f"{name}_norm")(maps)
        maps = layers.Dropout(0.2, name=f"{name}_drop")(maps)
    steps, bands, channels = maps.shape[1:]
    sequence = layers.Reshape((steps, bands * channels), name="steps")(maps)
    sequence = layers.Dense(64, activation="relu", name="dense")(sequence)
    sequence = layers.LSTM(64, return_sequences=True, unroll=True, name="lstm1")(sequence)
    sequence = layers.Dropout(0.2, name="lstm1_drop")(sequence)
    sequence = layers.BatchNormalization(momentum=0.97, name="lstm1_norm")(sequence)
    last = layers.LSTM(64, unroll=True, name="lstm2")(sequence)
    return layers.Dropout(0.2, name="drop")(last)


def _zoo_lstm(frames: Tensor) -> Tensor:
    return layers.Dropout(0.3, name="drop")(layers.LSTM(64, name="lstm")(frames))


def _zoo_gru(frames: Tensor) -> Tensor:
    return layers.Dropout(0.3, name="drop")(layers.GRU(64, name="gru")(frames))


YAMNET = "yamnet"
"""Rows that come from that file, and from no configuration."""

_SMOOTHING = 0.05
# Of a run of some hundred steps; at .998 half of the average would be of networks that know little.
_AVERAGE = 0.99
_LOG_MEL = Course(
    plan=Plan(epochs=10, label_smoothing=_SMOOTHING, average=_AVERAGE), rows_per_epoch=6000
)
_RECURRENT = Course(
    plan=Plan(epochs=12, label_smoothing=_SMOOTHING, average=_AVERAGE), rows_per_epoch=8000
)
# As published: every row once, one rate, no weights for classes.
_AUDIFY = Course(
    plan=Plan(epochs=100, batch=50, peak_rate=1e-3, steady=True),
    balanced=False,
)
_AUDIFY_PATCHES = Course(
    plan=Plan(epochs=30, batch=50, peak_rate=1e-3, steady=True),
    balanced=False,
)
# Weights for classes, as drawing each equally often.
_ZOO = Course(plan=Plan(epochs=40, batch=32, average=0.99), rows_per_epoch=1500)

NETWORKS: dict[str, LabNetwork] = {
    "dnn": LabNetwork(
        title="DNN on statistics of MFCCs",
        rows="device",
        input="mfcc",
        body=networks.NETWORKS["dnn"].body,
        course=Course(
            plan=Plan(epochs=12, label_smoothing=_SMOOTHING, average=_AVERAGE), rows_per_epoch=8000
        ),
    ),
    "lstm": LabNetwork(
        title="two LSTM layers on MFCCs",
        rows="mfcc_patches",
        input="mfcc",
        body=_lstm,
        course=_RECURRENT,
    ),
    "gru": LabNetwork(
        title="two GRU layers on MFCCs",
        rows="mfcc_patches",
        input="mfcc",
        body=_gru,
        course=_RECURRENT,
    ),
    "cnn1d": LabNetwork(
        title="1D-CNN on raw audio",
        rows="waveform",
        input="waveform",
        body=_cnn1d,
        course=Course(
            plan=Plan(epochs=10, label_smoothing=_SMOOTHING, average=_AVERAGE), rows_per_epoch=4000
        ),
        one_scale=True,
        clip=None,
    ),
    "cnn": LabNetwork(
        title="CNN on log-mel",
        rows="mel_patches",
        input="log_mel",
        body=networks.NETWORKS["cnn"].body,
        course=_LOG_MEL,
        one_scale=True,
        capped=True,
    ),
    "cnn_lstm": LabNetwork(
        title="CNN and two LSTM layers on log-mel",
        rows="mel_patches",
        input="log_mel",
        body=networks.NETWORKS["cnn_lstm"].body,
        course=_LOG_MEL,
        one_scale=True,
    ),
    "yamnet": LabNetwork(
        title="linear head on YAMNet's embeddings",
        rows=YAMNET,
        input="embedding",
        body=_yamnet,
        course=Course(
            plan=Plan(epochs=15, label_smoothing=_SMOOTHING, average=_AVERAGE), rows_per_epoch=8000
        ),
        clip=None,
    ),
    "audify": LabNetwork(
        title="DNN 100-200-100 on MFCC means of a clip",
        rows="mfcc_means",
        input="mfcc",
        body=_dense((100, 0.5), (200, 0.5), (100, 0.0)),
        course=_AUDIFY,
    ),
    "audify_patches": LabNetwork(
        title="the same on MFCC means of a second",
        rows="mfcc_means_patches",
        input="mfcc",
        body=_dense((100, 0.5), (200, 0.5), (100, 0.0)),
        course=_AUDIFY_PATCHES,
    ),
    "three_way": LabNetwork(
        title="DNN 128-64 on MFCC means of a clip",
        rows="mfcc_means",
        input="mfcc",
        body=_dense((128, 0.3), (64, 0.3)),
        course=_AUDIFY,
    ),
    "three_way_patches": LabNetwork(
        title="the same on MFCC means of a second",
        rows="mfcc_means_patches",
        input="mfcc",
        body=_dense((128, 0.3), (64, 0.3)),
        course=_AUDIFY_PATCHES,
    ),
    "conv_lstm": LabNetwork(
        title="Conv2D blocks and two LSTM layers on log-mel",
        rows="mel_patches",
        input="log_mel",
        body=_conv_lstm,
        course=Course(
            plan=Plan(epochs=12, batch=32, peak_rate=1e-4, steady=True),
            rows_per_epoch=10000,
            balanced=False,
        ),
        one_scale=True,
    ),
    "zoo_dnn": LabNetwork(
        title="DNN on statistics of seven features",
        rows="zoo",
        input="features",
        body=_dense((256, 0.4), (128, 0.4)),
        course=_ZOO,
    ),
    "zoo_lstm": LabNetwork(
        title="LSTM on frames of seven features",
        rows="zoo_frames",
        input="features",
        body=_zoo_lstm,
        course=_ZOO,
    ),
    "zoo_gru": LabNetwork(
        title="GRU on frames of seven features",
        rows="zoo_frames",
        input="features",
        body=_zoo_gru,
        course=_ZOO,
    ),
}
