"""Training: a network, a source of patches, a number of epochs; the same seed gives the same bytes.

The bytes depend on the number of threads and on oneDNN, so both are fixed here (docs/decisions.md).
An epoch's patches are drawn by a generator of its own, seeded by (seed, epoch), and the network is
saved after each epoch, so a run that was cut off goes on where it stopped.
"""

import os

# Before TensorFlow is imported: it reads them once.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import csv
import logging
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import keras
import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from msgspec import Meta

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build.settingsfile import Settings

Batch: TypeAlias = tuple[Samples, Samples]
"""Features (n, *shape) and targets (n, labels)."""
Draw: TypeAlias = Callable[[np.random.Generator, FrontendSettings], Batch]
"""An epoch's patches, standardised by the given settings."""
Lessons: TypeAlias = Callable[[np.random.Generator], Batch]
"""An epoch's patches, as the network takes them."""
Model: TypeAlias = keras.Model
LossFunction: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Of what was wanted and what was given, (n, outputs) each: the loss of each patch, (n,)."""
Loss: TypeAlias = Literal["categorical_crossentropy", "binary_crossentropy"] | LossFunction

THREADS = 2
# Before TensorFlow computes anything: afterwards it refuses.
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)
# It warns that each further model's first prediction is traced anew, as it must be.
tf.get_logger().setLevel(logging.ERROR)

_log = logging.getLogger(__name__)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how hard."""

    epochs: Annotated[int, Meta(ge=1)]
    batch: Annotated[int, Meta(ge=1)] = 64
    peak_rate: Annotated[float, Meta(gt=0)] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    average: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    """Share of the moving average of the weights that a step leaves."""
    steady: bool = False
    """Plain Adam at `peak_rate` from the first step to the last, and the weights as they end."""
    traced: bool = True
    """Compiled into a graph first, which takes longer than a handful of steps without."""


ABOUT_SETTINGS = "docs/laboratory.md has the settings of networks."


def altered(name: str, plan: Plan, settings: Settings, others: Sequence[str] = ()) -> Plan:
    """A plan with some of its settings set anew.

    Args:
        name: Of the network, for what is refused.
        plan: Its own.
        settings: Other values, by the plan's names.
        others: What the network has beside its plan.

    Raises:
        BuildError: There is no such setting, or not of such a value.
    """
    known = msgspec.structs.asdict(plan)
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise BuildError(
            f"{name} has no setting `{unknown[0]}`",
            hint=f"It has {', '.join([*known, *others])}.",
        )
    try:
        return msgspec.convert(known | settings, Plan)
    except msgspec.ValidationError as error:
        raise BuildError(
            f"{name}: a setting has a value that it cannot have: {error}", hint=ABOUT_SETTINGS
        ) from error


def deterministic(seed: int) -> None:
    """Fix what the bytes of the weights depend on, beside the number of threads."""
    keras.utils.set_random_seed(seed % 2**32)
    tf.config.experimental.enable_op_determinism()


def standardised(settings: FrontendSettings, draw: Draw, seed: int) -> FrontendSettings:
    """The settings with mean and deviation of an epoch of training patches.

    One pair for log-mel, one pair for each statistic of MFCCs.
    """
    raw = msgspec.structs.replace(settings, mean=(0.0,), std=(1.0,), clip=None)
    features, _ = draw(np.random.default_rng([seed, 2**31]), raw)
    axis = None if settings.kind == "logmel" else 0
    mean = np.atleast_1d(features.mean(axis=axis, dtype=np.float64))
    std = np.atleast_1d(features.std(axis=axis, dtype=np.float64))
    return msgspec.structs.replace(
        settings,
        mean=tuple(round(float(value), 6) for value in mean),
        std=tuple(round(max(float(value), 1e-3), 6) for value in std),
    )


def lessons(draw: Draw, settings: FrontendSettings) -> Lessons:
    """What `draw` gives, standardised by these settings."""
    return lambda rng: draw(rng, settings)


def fit(
    build: Callable[[], keras.Model],
    loss: Loss,
    draw: Lessons,
    plan: Plan,
    seed: int,
    folder: Path,
    told: Callable[[], None] = lambda: None,
) -> keras.Model:
    """Train a network; what `folder` holds of an earlier run is taken up.

    Args:
        build: Makes the network to begin with, after the seed was set.
        loss: Categorical for one label out of many, binary for any number of them, or a function.
        draw: Gives an epoch's patches.
        plan: How long and how hard.
        seed: Of weights, order and patches.
        folder: For the state of the run and its log.
        told: Called at the end of each epoch, those of an earlier run included.

    Returns:
        The network with the moving average of its weights, unless the plan is steady.
    """
    deterministic(seed)
    folder.mkdir(parents=True, exist_ok=True)
    state, log = folder / "state.keras", folder / "log.csv"
    done = _epochs_done(log) if state.is_file() else 0
    if done:
        known = {} if isinstance(loss, str) else {loss.__name__: loss}
        model = keras.models.load_model(state, custom_objects=known)
    else:
        log.unlink(missing_ok=True)
        model = build()
    steps = 0
    for _ in range(done):
        told()
    for epoch in range(done, plan.epochs):
        features, targets = draw(np.random.default_rng([seed, epoch]))
        if steps == 0:
            steps = -(-len(features) // plan.batch)
            if not done:
                _compile(model, loss, plan, steps)
        _reseed(model, seed, epoch)
        lost = _epoch(model, features, targets, plan.batch)
        _log.info("%s: epoch %d of %d, loss %.4g", folder.name, epoch + 1, plan.epochs, lost)
        partial = folder / "partial.keras"
        model.save(partial)
        partial.replace(state)
        _note(log, epoch + 1, lost)
        told()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return model


def losses(folder: Path) -> tuple[float, ...]:
    """The loss of each epoch of the run whose state `folder` holds."""
    with (folder / "log.csv").open(newline="") as file:
        return tuple(float(row["loss"]) for row in csv.DictReader(file))


def environment() -> dict[str, str]:
    """What, beside seed and threads, the bytes depend on."""
    packages = ("tensorflow-cpu", "keras", "numpy", "soxr")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def cpu() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def predict(model: keras.Model, features: npt.NDArray[np.float32]) -> Samples:
    """Scores of the float network, (n, labels)."""
    return np.asarray(model.predict(features, batch_size=256, verbose=0), dtype=np.float32)


def _epoch(model: keras.Model, features: Samples, targets: Samples, batch: int) -> float:
    """The mean loss of an epoch.

    Not by `fit`, which puts the average in the place of the weights at its end: after every epoch,
    the network would be thrown back by as many steps as the average is long.
    """
    total = 0.0
    for at in range(0, len(features), batch):
        part = slice(at, at + batch)
        total += len(features[part]) * float(model.train_on_batch(features[part], targets[part]))
    return total / len(features)


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Draw dropout and noise anew: Keras does not save where their generators stand."""
    rng = np.random.default_rng([seed, epoch, 2**26])
    for variable in model.non_trainable_variables:
        if variable.path.endswith("seed_generator_state"):
            variable.assign(rng.integers(2**32, size=2, dtype=np.uint32))


def _compile(model: keras.Model, loss: Loss, plan: Plan, steps: int) -> None:
    optimizer = keras.optimizers.Adam(plan.peak_rate) if plan.steady else _one_cycle(plan, steps)
    chosen: keras.losses.Loss | LossFunction
    if loss == "categorical_crossentropy":
        chosen = keras.losses.CategoricalCrossentropy(label_smoothing=plan.label_smoothing)
    elif loss == "binary_crossentropy":
        chosen = keras.losses.BinaryCrossentropy(label_smoothing=plan.label_smoothing)
    else:
        chosen = loss
    model.compile(optimizer, chosen, jit_compile=False, run_eagerly=not plan.traced)


def _one_cycle(plan: Plan, steps: int) -> keras.optimizers.Optimizer:
    total = steps * plan.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        plan.peak_rate / 20,
        total - total // 10,
        alpha=0.002,
        warmup_target=plan.peak_rate,
        warmup_steps=total // 10,
    )
    return keras.optimizers.AdamW(
        rate, weight_decay=plan.weight_decay, use_ema=True, ema_momentum=plan.average
    )


def _epochs_done(log: Path) -> int:
    if not log.is_file():
        return 0
    return len(log.read_text().splitlines()) - 1


def _note(log: Path, epoch: int, lost: float) -> None:
    new = not log.is_file()
    with log.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("epoch", "loss"))
        writer.writerow((epoch, f"{lost:.6f}"))
