"""The UrbanSound8K task: ten classes, leak-free folds, and the same under a random split.

A clip's class is the arg max of the mean of its patches' scores.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.frontend import from_levels
from edge_agent.modelfile import Metric
from edge_agent.records import Samples
from model_build import datasets, features, networks, train
from model_build.augment import Bench, Recipe, to_levels, to_power
from model_build.datasets import Clip, Skip, Split
from model_build.street import white_noise
from model_build.taxonomy import URBANSOUND8K

_PATCHES_PER_EPOCH = 8000
_MIXUP_BETA = 0.3
# Bent less than for the street: a run of minutes over a thousand clips underfits otherwise.
_MIXED = 0.3
_RECIPE = Recipe(tilt=2.0, ripple=1.5, masks=2)
_GAIN_DB = 6.0
PLANS = {
    "dnn": train.Plan(epochs=10, label_smoothing=0.05),
    "cnn": train.Plan(epochs=20, label_smoothing=0.05),
    "cnn_lstm": train.Plan(epochs=8, label_smoothing=0.05),
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one network reaches; accuracies in percent of clips."""

    network: str
    seed: int
    folds: dict[str, float]
    mean: float
    spread: float
    """Standard deviation over the folds."""
    clips: int
    random: float
    random_clips: int
    skipped: tuple[Skip, ...]
    command: str


def run(name: str, data: Path, cache: Path, seed: int, command: str) -> Result:
    """Train and judge a network on each official fold in turn, then on a random split.

    Args:
        name: A key of `networks.NETWORKS`.
        data: The folder of recordings.
        cache: For features and unfinished runs.
        seed: Of everything random.
        command: What the user typed, for the card.
    """
    manifest = datasets.read_manifest(data / "urbansound8k.csv", data)
    settings = networks.NETWORKS[name].frontend
    levels = msgspec.structs.replace(settings, kind="logmel")
    cached = features.patches(manifest.clips, data, levels, cache)
    splits = datasets.by_fold(cached.clips)
    flattering = datasets.random_clips(cached.clips, 1 / 3, np.random.default_rng([seed, 2**29]))
    reached = {}
    for split in (*splits, flattering):
        place = cache / "folds" / f"{name}-{seed}-{split.name.replace(' ', '-')}"
        reached[split.name] = _judge(name, settings, cached, split, seed, place)
    folds = {split.name: reached[split.name] for split in splits}
    values = np.array(list(folds.values()))
    return Result(
        network=name,
        seed=seed,
        folds=folds,
        mean=round(float(values.mean()), 2),
        spread=round(float(values.std()), 2),
        clips=sum(len(split.test) for split in splits),
        random=reached[flattering.name],
        random_clips=len(flattering.test),
        skipped=(*manifest.skipped, *cached.skipped),
        command=command,
    )


def metrics(result: Result) -> list[Metric]:
    """The result as the card shows it, the honest figure beside the flattering one."""
    task = "UrbanSound8K folds 1 to 3, ten classes, network retrained"
    return [
        Metric(
            task=task,
            split="leak-free: train on two official folds, test on the third, mean of three",
            metric="clip accuracy, %",
            value=result.mean,
            spread=result.spread,
            n=result.clips,
            seeds=(result.seed,),
            command=result.command,
        ),
        Metric(
            task=task,
            split="random by clip, which leaks: slices of one recording are on both sides",
            metric="clip accuracy, %",
            value=result.random,
            spread=None,
            n=result.random_clips,
            seeds=(result.seed,),
            command=result.command,
        ),
    ]


def _judge(
    name: str,
    settings: FrontendSettings,
    cached: features.Features,
    split: Split,
    seed: int,
    place: Path,
) -> float:
    """Clip accuracy of the float network, percent."""
    draw = _drawer(cached, split.train, settings)
    own = train.standardised(settings, draw, seed)
    model = train.fit(
        name, len(URBANSOUND8K), "categorical_crossentropy", own, draw, PLANS[name], seed, place
    )
    right = 0
    for clip, scores in zip(split.test, _clip_scores(model, cached, split.test, own), strict=True):
        right += int(URBANSOUND8K[int(scores.argmax())] == clip.label)
    return round(100 * right / len(split.test), 2)


def _clip_scores(
    model: train.Model, cached: features.Features, clips: Sequence[Clip], own: FrontendSettings
) -> list[Samples]:
    """For each clip, in the manifest's order, the mean of its patches' scores, (labels,)."""
    rows, owners = cached.rows_of(cached.chosen(clips))
    scores = train.predict(model, from_levels(rows.astype(np.float32), own))
    return [scores[owners == owner].mean(axis=0) for owner in np.unique(owners)]


def _drawer(
    cached: features.Features, clips: Sequence[Clip], settings: FrontendSettings
) -> train.Draw:
    """Patches of the training clips: clip-uniform, mixed up in power, bent, masked."""
    chosen = cached.chosen(clips)
    chosen = chosen[cached.rms_dbfs[chosen] >= features.SILENT_DBFS]
    labels = np.array([URBANSOUND8K.index(clip.label) for clip in cached.clips])
    bench = Bench(white_noise(settings), _RECIPE)
    floor = settings.floor_value

    def patch(rng: np.random.Generator) -> tuple[Samples, int]:
        clip = int(rng.choice(chosen))
        row = int(rng.integers(cached.starts[clip], cached.starts[clip + 1]))
        return to_power(cached.rows[row].astype(np.float32), floor), int(labels[clip])

    def draw(rng: np.random.Generator, own: FrontendSettings) -> train.Batch:
        levels = np.empty((_PATCHES_PER_EPOCH, own.patch, own.n_mels), np.float32)
        targets = np.zeros((_PATCHES_PER_EPOCH, len(URBANSOUND8K)), np.float32)
        for row in range(_PATCHES_PER_EPOCH):
            power, label = patch(rng)
            share = 1.0
            if rng.random() < _MIXED:
                other, other_label = patch(rng)
                share = float(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
                power = np.float32(share) * power + np.float32(1 - share) * other
                targets[row, other_label] += 1 - share
            targets[row, label] += share
            power = bench.bent(power, rng) * np.float32(10 ** (rng.normal(0, _GAIN_DB) / 10))
            levels[row] = bench.masked(to_levels(power, floor), rng)
        return from_levels(levels, own), targets

    return draw
