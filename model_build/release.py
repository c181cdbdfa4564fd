"""From trained street networks to bundles: conversion, gates, figures.

`runs` leaves weights and their record in the cache, `bundle_street` turns them into
`models/<name>/`. Nothing here chooses by looking at the test side.
"""

from pathlib import Path

import msgspec
import numpy as np

from edge_agent.bundle import Bundle
from edge_agent.classifier import Network, dequantise, quantise
from edge_agent.config import FrontendSettings
from edge_agent.frontend import from_levels
from edge_agent.modelfile import Metric
from edge_agent.records import Samples
from model_build import bundles, features, fold_results, networks, parity, runs, street, train
from model_build import quantise as conversion
from model_build.augment import PAUSE_DB
from model_build.datasets import Clip
from model_build.features import Halves, Indices
from model_build.metrics import average_precision, macro
from model_build.taxonomy import STREET

VERSION = "2026.1"
BUNDLES = {"cnn": "street", "dnn": "street-dnn", "cnn_lstm": "street-cnn-lstm"}

_HELD_OUT_PER_CLIP = 6
_LIBROSA_CLIPS = 40
_JUDGED_PER_LABEL = 50
_WEIGHTS_LICENCE = "CC BY-NC 3.0 (inherited from UrbanSound8K and ESC-50); research use"


def bundle_street(
    name: str,
    data: Path,
    cache: Path,
    seed: int,
    out: Path,
    legacy_python: Path,
    command: str,
) -> Bundle:
    """Convert a trained network, pass it through all gates, measure it and write its bundle.

    What `folds` found with the same cache goes into the card.

    Args:
        name: A key of `networks.NETWORKS`.
        data: The folder of recordings.
        cache: Where `train_street` left the run.
        seed: Its seed.
        out: The bundle's folder.
        legacy_python: An interpreter with tflite-runtime 2.14.
        command: What the user typed, for the figures.

    Raises:
        BuildError: There is no such run, or a gate refuses the network.
    """
    run, trained, (calibration, *weights) = runs.finished(runs.folder(name, cache, seed), name)
    model = conversion.convert_int8(name, weights, len(street.LABELS), calibration)
    weights = _unbiased(name, trained, weights, model, calibration)
    model = conversion.convert_int8(name, weights, len(street.LABELS), calibration)
    corpus = street.corpus(data)
    test = _unsilent(corpus.test)
    held_out = _held_out(name, trained, test, corpus.test, data, run.frontend, cache)
    checked = [clip.path for clip in test]
    sounds = [
        features.heard(data / path, run.frontend.rate)
        for path in checked[:: max(1, len(checked) // _LIBROSA_CLIPS)]
    ]
    found = parity.compare(model, run.frontend, held_out, sounds, legacy_python=legacy_python)
    judge = street.Mixer(corpus.test, data, run.frontend, cache)
    metrics = [
        *_street_metrics(model, judge, run.frontend, seed, command),
        *fold_results.metrics(name, cache, taught=run.training.teacher_sha256 is not None),
    ]
    return bundles.write(
        out,
        name=BUNDLES[name],
        version=VERSION,
        labels=[
            bundles.label(
                sound.id, sound.title, impulsive=sound.impulsive, stationary=sound.stationary
            )
            for sound in STREET
        ],
        multilabel=True,
        frontend=run.frontend,
        tflite=model,
        training=run.training,
        data=run.data,
        weights_licence=_WEIGHTS_LICENCE,
        metrics=metrics,
        found=found,
        clips=parity.certified(checked, data),
    )


def _unbiased(
    name: str, trained: list[Samples], weights: list[Samples], model: bytes, patches: Samples
) -> list[Samples]:
    """The weights with the last bias moved by what int8 scores too high or too low on the whole."""
    wanted = _float_scores(name, trained, patches)
    network = Network(model, delegate=False, stateful=False)
    scores = dequantise(parity.run(network, quantise(patches, network.input)), network.output)
    # The sigmoid's slope turns an error of scores into one of logits.
    slope = (wanted * (1 - wanted)).sum(axis=0)
    return [*weights[:-1], weights[-1] + (wanted - scores).sum(axis=0) / slope]


def _float_scores(name: str, weights: list[Samples], patches: Samples) -> Samples:
    model = networks.build(name, len(street.LABELS), "sigmoid")
    model.set_weights(weights)
    return train.predict(model, patches)


def _unsilent(test: street.Sounds) -> list[Clip]:
    """Test clips in which one label is heard, in a fixed order."""
    return sorted((clip for of in test.events for clip in of), key=lambda clip: clip.path)


def _held_out(
    name: str,
    weights: list[Samples],
    clips: list[Clip],
    test: street.Sounds,
    data: Path,
    settings: FrontendSettings,
    cache: Path,
) -> parity.HeldOut:
    """Patches spread evenly over what is heard of the test's recordings, with the float scores.

    Pauses are left out, as in training: where no label is to be heard, none is the top one.
    """
    levels = msgspec.structs.replace(settings, kind="logmel", mean=(0.0,), std=(1.0,))
    cached = features.patches(clips, data, levels, cache)
    peaks = cached.rows.max(axis=(1, 2))
    bounds = zip(cached.starts[:-1], cached.starts[1:], strict=True)
    rows = np.concatenate(
        [_spread(first + _loud(peaks[first:last])) for first, last in bounds if last > first]
    )
    owners = cached.owners()[rows]
    inputs = from_levels(cached.rows[rows].astype(np.float32), settings)
    label_of = {clip.path: i for i, of in enumerate(test.events) for clip in of}
    answers = np.array([label_of[clip.path] for clip in cached.clips])[owners]
    return parity.HeldOut(
        features=inputs,
        float_scores=_float_scores(name, weights, inputs),
        targets=np.eye(len(street.LABELS), dtype=bool)[answers],
        clips=owners,
    )


def _loud(peaks: Halves) -> Indices:
    """Which patches of a clip are not a pause in it."""
    return np.flatnonzero(peaks > peaks.max() - PAUSE_DB)


def _spread(rows: Indices) -> Indices:
    """At most `_HELD_OUT_PER_CLIP` of the rows, from the first to the last."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, _HELD_OUT_PER_CLIP).astype(np.int64))]


def _street_metrics(
    model: bytes, judge: street.Mixer, settings: FrontendSettings, seed: int, command: str
) -> list[Metric]:
    """Average precision of the int8 network on held-out mixtures: the mean, then by label."""
    inputs, targets = judge.judging(_JUDGED_PER_LABEL, seed, settings)
    network = Network(model, delegate=False, stateful=False)
    scores = dequantise(parity.run(network, quantise(inputs, network.input)), network.output)
    by_label = [
        average_precision(targets[:, i] > 0, scores[:, i]) for i in range(len(street.LABELS))
    ]
    snrs = ", ".join(f"{snr_db:g}" for snr_db in street.TEST_SNRS_DB)
    split = (
        f"held-out recordings (UrbanSound8K fold 3, ESC-50 fold 5) mixed over held-out background "
        f"at {snrs} dB; {_JUDGED_PER_LABEL * len(street.TEST_SNRS_DB)} patches a label"
    )
    figures = {"macro average precision, %": macro(np.array(by_label))}
    figures |= {
        f"average precision, %, {label}": value
        for label, value in zip(street.LABELS, by_label, strict=True)
    }
    return [
        Metric(
            task="street, 14 labels, several at once",
            split=split,
            metric=name,
            value=round(100 * float(value), 2),
            spread=None,
            n=len(targets),
            seeds=(seed,),
            command=command,
        )
        for name, value in figures.items()
    ]
