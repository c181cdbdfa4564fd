"""A laboratory's network as a bundle that the agent runs, or why there is none.

Exported is the network of the first fold's trial, which never heard that fold: so the gates are
passed on recordings that are new to it, and nothing is trained for the bundle alone.
"""

import hashlib
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.classifier import Network, quantise
from edge_agent.clock import SystemClock
from edge_agent.errors import BuildError
from edge_agent.labels import Label
from edge_agent.modelfile import DataSet, Metric, Training, failed_checks
from edge_agent.records import Samples
from model_build import bundles, devicefit, features, labconfig, parity, protocol, runs, train
from model_build import quantise as conversion
from model_build.datasets import Clip, list_sha256
from model_build.laboratory import Asked, Laboratory
from model_build.labtraining import Trained
from model_build.metrics import Indices
from model_build.protocol import Lesson
from model_build.results import Device, Side
from model_build.taxonomy import STREET

VERSION = "2026.1"
_CALIBRATION = 400
# More than the gates ask for, spread evenly over the clips.
_HELD_OUT = 5000
_LIBROSA_CLIPS = 40
_TIMED = 200
_LICENCE = "inherited from the recordings that it learnt from (`data`); research use"


def export(laboratory: Laboratory, asked: Asked, out: Path, legacy_python: Path) -> Device:
    """Convert a model, pass it through all gates, and write its bundle.

    Args:
        laboratory: Who asked it.
        asked: The model; of a network the state of its first trial is taken up.
        out: The folder that will hold the bundle's own one.
        legacy_python: An interpreter with tflite-runtime 2.14.

    Returns:
        The bundle with its figures, or every reason why there is none.
    """
    in_the_way = laboratory.obstacles(asked.model)
    if in_the_way:
        return Device(why_not=in_the_way)
    question = laboratory.question
    division = asked.given.ways[0].divisions[0]
    lesson = protocol.lesson(asked.given, division)
    trained = Trained(
        asked.model.name,
        lesson,
        question.seed,
        asked.place,
        quick=question.quick,
        settings=asked.model.settings,
    )
    front = msgspec.structs.replace(
        devicefit.frontend(labconfig.load(Path(asked.model.rows))),
        mean=trained.scale.mean,
        std=trained.scale.std,
        clip=trained.scale.clip,
    )
    try:
        model = conversion.convert_int8(
            asked.model.name,
            trained.model.get_weights(),
            lesson.labels,
            _calibration(trained, lesson, question.seed),
            "laboratory",
        )
    except BuildError as error:
        return Device(why_not=(error.message,))
    owners = asked.given.table.owners()
    rows = _spread(np.flatnonzero(division.asked), owners)
    test = [asked.given.table.clips[clip] for clip in np.unique(owners[rows])]
    held_out = _held_out(asked, trained, rows, owners[rows])
    sounds = [
        features.heard(question.data / clip.path, front.rate)
        for clip in test[:: max(1, len(test) // _LIBROSA_CLIPS)]
    ]
    found = parity.compare(model, front, held_out, sounds, legacy_python=legacy_python)
    checks = {check.name: check.value for check in found.checks}
    device = Device(
        model_bytes=len(model),
        agreement=checks["float_top1"],
        accuracy_loss=checks["accuracy_loss_points"] / 100,
        latency_ms=_latency_ms(model, held_out),
    )
    problems = failed_checks(found.checks)
    if problems:
        return msgspec.structs.replace(device, why_not=tuple(problems))
    folder = out / f"{question.task}-{asked.model.called}"
    learnt = [asked.given.table.clips[clip] for clip in np.unique(lesson.clips)]
    bundles.write(
        folder,
        name=folder.name,
        version=VERSION,
        labels=[_label(name) for name in asked.given.labels],
        multilabel=False,
        frontend=front,
        tflite=model,
        training=_training(laboratory, trained, learnt, test),
        data=_data_sets({"training": learnt, "test": test}),
        weights_licence=_LICENCE,
        metrics=_metrics(laboratory, asked),
        found=found,
        clips=parity.certified([clip.path for clip in test], question.data),
    )
    return msgspec.structs.replace(device, bundle=str(folder))


def _label(name: str) -> Label:
    """With what the street's list knows of a sound of this name; else it is neither."""
    title = name.replace("_", " ").capitalize()
    known = next((sound for sound in STREET if sound.id == name), None)
    if known is None:
        return bundles.label(name, title, impulsive=False, stationary=False)
    return bundles.label(name, known.title, impulsive=known.impulsive, stationary=known.stationary)


def _calibration(trained: Trained, lesson: Lesson, seed: int) -> Samples:
    """(n, *patch), standardised rows of the lesson, each class as often as any other."""
    rng = np.random.default_rng([seed, 2**28])
    known = np.unique(lesson.classes)
    drawn = [
        rng.choice(np.flatnonzero(lesson.classes == one), -(-_CALIBRATION // len(known)))
        for one in known
    ]
    return trained.scale(lesson.rows[np.concatenate(drawn)])


def _spread(rows: Indices, owners: Indices) -> Indices:
    """About `_HELD_OUT` of the rows: of each clip as many, from its first to its last."""
    _, first, counts = np.unique(owners[rows], return_index=True, return_counts=True)
    each = -(-_HELD_OUT // len(first))
    kept = [
        at + np.unique(np.linspace(0, count - 1, each).astype(np.intp))
        for at, count in zip(first, counts, strict=True)
    ]
    chosen: Indices = rows[np.concatenate(kept)]
    return chosen


def _held_out(asked: Asked, trained: Trained, rows: Indices, owners: Indices) -> parity.HeldOut:
    given = asked.given
    truth = np.array([given.labels.index(clip.label) for clip in given.table.clips])[owners]
    return parity.HeldOut(
        features=trained.scale(given.table.rows[rows]),
        float_scores=trained.scores(given.table.rows[rows]).astype(np.float32),
        targets=np.eye(len(given.labels), dtype=bool)[truth],
        clips=owners,
    )


def _latency_ms(model: bytes, held_out: parity.HeldOut) -> float:
    """The median time of a patch, as the device runs it, on this machine."""
    network = Network(model, delegate=True, stateful=False)
    clock = SystemClock()
    taken = []
    for patch in quantise(held_out.features[:_TIMED], network.input):
        before = clock.monotonic_ns()
        network.run(patch)
        taken.append(clock.monotonic_ns() - before)
    return float(np.median(taken)) / 1e6


def _training(
    laboratory: Laboratory, trained: Trained, learnt: list[Clip], test: list[Clip]
) -> Training:
    question = laboratory.question
    origins = sorted({clip.origin for clip in (*learnt, *test)})
    manifests = {
        name: hashlib.sha256((question.data / f"{name}.csv").read_bytes()).hexdigest()
        for name in origins
    }
    return Training(
        command=question.command or "model_build",
        commit=runs.commit(),
        seed=question.seed,
        threads=train.THREADS,
        versions=train.environment(),
        cpu=train.cpu(),
        epochs=trained.epochs,
        manifests=manifests,
        audio_lists={
            "train and calibration": list_sha256(learnt),
            "test": list_sha256(test),
        },
        teacher_sha256=None,
    )


def _data_sets(sides: dict[str, list[Clip]]) -> list[DataSet]:
    sets = []
    for use, clips in sides.items():
        for name, count in sorted(Counter(clip.origin for clip in clips).items()):
            licence, url = runs.TERMS[name]
            sets.append(DataSet(set=name, licence=licence, url=url, clips=count, use=use))
    return sets


def _metrics(laboratory: Laboratory, asked: Asked) -> list[Metric]:
    """Of the float network, trained anew for each trial."""
    question = laboratory.question

    def metric(side: Side, name: str, value: float, spread: float | None) -> Metric:
        leaks = "" if side.leak_free else ", which leaks: recordings are on both sides"
        return Metric(
            task=f"{laboratory.task.title}, network retrained",
            split=f"{side.protocol}{leaks}",
            metric=name,
            value=round(100 * value, 2),
            spread=None if spread is None else round(100 * spread, 2),
            n=side.together.clips,
            seeds=(question.seed,),
            command=question.command or "model_build",
        )

    return [
        one
        for side in protocol.sides(asked.given, asked.answers)
        for one in (
            metric(
                side,
                f"{side.unit} accuracy, %",
                side.together.accuracy,
                side.spread if len(side.trials) > 1 else None,
            ),
            metric(side, "macro F1, %", side.together.macro_f1, None),
        )
    ]
