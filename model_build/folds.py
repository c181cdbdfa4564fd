"""A clip task: leak-free folds, and, where several clips share a recording, a random split.

A clip's class is the arg max of the mean of its patches' scores.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.frontend import from_levels
from edge_agent.records import Samples
from model_build import datasets, distil, features, fold_results, networks, tasks, train, yamnet
from model_build.augment import Bench, Recipe, to_levels, to_power
from model_build.datasets import Clip, Split
from model_build.fold_results import Result
from model_build.school import School, attended
from model_build.tasks import Task
from model_build.teacher import Head

_PATCHES_PER_EPOCH = 8000
_MIXUP_BETA = 0.3
# Bent less than for the street: a run of minutes over a thousand clips underfits otherwise.
_MIXED = 0.3
_RECIPE = Recipe(tilt=2.0, ripple=1.5, masks=2)
_GAIN_DB = 6.0
# What a label weighs beside the teacher's opinion.
_LABEL = 0.3
# A shorter average than for the long runs: of .998, a fifth would still be the network that came
# from school after these few steps.
TAUGHT = train.Plan(epochs=4, batch=128, average=0.99)
PLANS = {
    "dnn": train.Plan(epochs=10, label_smoothing=0.05),
    "cnn": train.Plan(epochs=14, label_smoothing=0.05),
    "cnn_lstm": train.Plan(epochs=8, label_smoothing=0.05),
}


def run(
    task: Task,
    name: str,
    data: Path,
    cache: Path,
    seed: int,
    command: str,
    yamnet_file: Path | None = None,
) -> Result:
    """Train and judge a network on each official fold in turn, then on a random split.

    Args:
        task: Which.
        name: A key of `networks.NETWORKS`.
        data: The folder of recordings.
        cache: For features and unfinished runs.
        seed: Of everything random.
        command: What the user typed, for the card.
        yamnet_file: The teacher, for a network that learns from one.
    """
    manifest = tasks.read(task, data)
    settings = networks.NETWORKS[name].frontend
    levels = msgspec.structs.replace(settings, kind="logmel")
    school = heard = None
    if yamnet_file is not None:
        school = attended(name, task, data, settings, yamnet_file, cache, seed)
        heard = yamnet.embeddings(manifest.clips, data, levels, school.yamnet, cache)
    cached = features.patches(manifest.clips, data, levels, cache)
    labels = tuple(sorted({clip.label for clip in cached.clips}))
    splits = datasets.by_fold(cached.clips)
    flattering = []
    if task.slices:
        rng = np.random.default_rng([seed, 2**29])
        flattering.append(datasets.random_clips(cached.clips, 1 / 3, rng))
    reached = {}
    for split in (*splits, *flattering):
        place = fold_results.folder(name, cache, taught=school is not None)
        place /= f"{task.id}-{seed}-{split.name.replace(' ', '-')}"
        if school is None or heard is None:
            reached[split.name] = _judge(name, labels, settings, cached, split, seed, place)
        else:
            reached[split.name] = _judge_taught(
                name, labels, school, cached, heard, split, seed, place
            )
    folds = {split.name: reached[split.name] for split in splits}
    values = np.array(list(folds.values()))
    return Result(
        task=task.id,
        network=name,
        taught=school is not None,
        seed=seed,
        folds=folds,
        mean=round(float(values.mean()), 2),
        spread=round(float(values.std()), 2),
        clips=sum(len(split.test) for split in splits),
        random=reached[flattering[0].name] if flattering else None,
        random_clips=len(flattering[0].test) if flattering else 0,
        skipped=(*manifest.skipped, *cached.skipped),
        command=command,
    )


def _judge(
    name: str,
    labels: tuple[str, ...],
    settings: FrontendSettings,
    cached: features.Features,
    split: Split,
    seed: int,
    place: Path,
) -> float:
    """Clip accuracy of the float network, percent."""
    draw = _drawer(cached, split.train, settings, _one_hot(cached, labels))
    own = train.standardised(settings, draw, seed)
    model = train.fit(
        lambda: networks.build(name, len(labels), "softmax"),
        "categorical_crossentropy",
        train.lessons(draw, own),
        PLANS[name],
        seed,
        place,
    )
    return _accuracy(model, labels, cached, split, own)


def _judge_taught(
    name: str,
    labels: tuple[str, ...],
    school: School,
    cached: features.Features,
    heard: features.Features,
    split: Split,
    seed: int,
    place: Path,
) -> float:
    """The same of a network that went to school, and learns from labels and teacher together."""
    head = Head(heard, heard.chosen(split.train), _classes(cached, labels))
    told = head.scores(heard.rows)
    sure = _LABEL * _one_hot(cached, labels) + (1 - _LABEL) * told
    wanted = np.hstack([sure, school.components(heard.rows)])
    beside = np.hstack([head.scores(school.heard.rows), school.components(school.heard.rows)])
    inside = _drawer(cached, split.train, school.frontend, wanted)
    outside = _drawer(school.patches, school.patches.clips, school.frontend, beside)

    def draw(rng: np.random.Generator, own: FrontendSettings) -> train.Batch:
        parts = [inside(rng, own), inside(rng, own), outside(rng, own)]
        order = rng.permutation(sum(len(patches) for patches, _ in parts))
        patches, targets = (np.concatenate(of) for of in zip(*parts, strict=True))
        return patches[order], targets[order]

    taught = train.fit(
        lambda: distil.passed_on(
            school.network, distil.student(name, len(labels), "softmax", distil.COMPONENTS)
        ),
        distil.lesson_loss(len(labels), "softmax", 1.0, distil.COMPONENTS_WEIGHT),
        train.lessons(draw, school.frontend),
        TAUGHT,
        seed,
        place,
    )
    model = distil.plain(name, len(labels), "softmax", taught)
    return _accuracy(model, labels, cached, split, school.frontend)


def _accuracy(
    model: train.Model,
    labels: tuple[str, ...],
    cached: features.Features,
    split: Split,
    own: FrontendSettings,
) -> float:
    right = 0
    for clip, scores in zip(split.test, _clip_scores(model, cached, split.test, own), strict=True):
        right += int(labels[int(scores.argmax())] == clip.label)
    return round(100 * right / len(split.test), 2)


def _classes(cached: features.Features, labels: tuple[str, ...]) -> features.Indices:
    """(clips,)."""
    return np.array([labels.index(clip.label) for clip in cached.clips])


def _one_hot(cached: features.Features, labels: tuple[str, ...]) -> Samples:
    """(rows, labels)."""
    return np.eye(len(labels), dtype=np.float32)[_classes(cached, labels)[cached.owners()]]


def _clip_scores(
    model: train.Model, cached: features.Features, clips: Sequence[Clip], own: FrontendSettings
) -> list[Samples]:
    """For each clip, in the manifest's order, the mean of its patches' scores, (labels,)."""
    rows, owners = cached.rows_of(cached.chosen(clips))
    scores = train.predict(model, from_levels(rows.astype(np.float32), own))
    return [scores[owners == owner].mean(axis=0) for owner in np.unique(owners)]


def _drawer(
    cached: features.Features,
    clips: Sequence[Clip],
    settings: FrontendSettings,
    wanted: Samples,
) -> train.Draw:
    """Patches of some clips: clip-uniform, mixed up in power, bent, masked.

    Args:
        cached: Their patches, and perhaps others.
        clips: Which to draw from.
        settings: The front end.
        wanted: (rows, outputs), the target of each cached patch.
    """
    chosen = cached.chosen(clips)
    chosen = chosen[cached.rms_dbfs[chosen] >= features.SILENT_DBFS]
    bench = Bench(features.white_noise(settings), _RECIPE)
    floor = settings.floor_value

    def patch(rng: np.random.Generator) -> tuple[Samples, Samples]:
        clip = int(rng.choice(chosen))
        row = int(rng.integers(cached.starts[clip], cached.starts[clip + 1]))
        return to_power(cached.rows[row].astype(np.float32), floor), wanted[row]

    def draw(rng: np.random.Generator, own: FrontendSettings) -> train.Batch:
        levels = np.empty((_PATCHES_PER_EPOCH, own.patch, own.n_mels), np.float32)
        targets = np.empty((_PATCHES_PER_EPOCH, wanted.shape[1]), np.float32)
        for row in range(_PATCHES_PER_EPOCH):
            power, target = patch(rng)
            if rng.random() < _MIXED:
                other, other_target = patch(rng)
                share = np.float32(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
                power = share * power + (1 - share) * other
                target = share * target + (1 - share) * other_target
            targets[row] = target
            power = bench.bent(power, rng) * np.float32(10 ** (rng.normal(0, _GAIN_DB) / 10))
            levels[row] = bench.masked(to_levels(power, floor), rng)
        return from_levels(levels, own), targets

    return draw
