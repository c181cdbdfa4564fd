"""From trained street networks to bundles: the run's record, conversion, gates, figures.

`train_street` leaves weights and their record in the cache, `bundle_street` turns them into
`models/<name>/`. Nothing here chooses by looking at the test side.
"""

import subprocess
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.bundle import Bundle
from edge_agent.classifier import Network, dequantise, quantise
from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import from_levels
from edge_agent.modelfile import DataSet, Metric, Training
from edge_agent.records import Samples
from model_build import bundles, features, folds, networks, parity, plans, settle, street, train
from model_build import quantise as conversion
from model_build.datasets import Clip, list_sha256
from model_build.metrics import average_precision, macro
from model_build.taxonomy import STREET

VERSION = "2026.1"
BUNDLES = {"cnn": "street", "dnn": "street-dnn", "cnn_lstm": "street-cnn-lstm"}
QUICK_EPOCHS = 2

_CALIBRATION = 400
_HELD_OUT_PER_CLIP = 6
_LIBROSA_CLIPS = 40
_JUDGED_PER_LABEL = 50
_ESC50 = "https://github.com/karolpiczak/ESC-50"
_TERMS = {
    "urbansound8k": ("CC BY-NC 3.0", "https://urbansounddataset.weebly.com/urbansound8k.html"),
    "esc50": ("CC BY-NC 3.0", _ESC50),
    "esc50_clean": ("CC BY-NC 3.0 (ten of the classes CC BY)", _ESC50),
    "ambient": ("CC0, CC BY, CC BY-SA or public domain by file; quiet room not stated", ""),
    "speech": ("mixed, not stated for every clip: research use", ""),
}
_WEIGHTS_LICENCE = "CC BY-NC 3.0 (inherited from UrbanSound8K and ESC-50); research use"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A finished training: all that `bundle_street` needs beside the weights."""

    network: str
    frontend: FrontendSettings
    training: Training
    data: tuple[DataSet, ...]


def run_folder(name: str, cache: Path, seed: int, *, quick: bool) -> Path:
    """Where a run keeps its state, its weights and its record."""
    return cache / "street" / (f"{name}-{seed}" + ("-quick" if quick else ""))


def train_street(
    name: str, data: Path, cache: Path, seed: int, command: str, *, quick: bool = False
) -> Run:
    """Train a network on street mixtures; what an interrupted run left is taken up.

    Args:
        name: A key of `networks.NETWORKS`.
        data: The folder of recordings.
        cache: For features, state and weights.
        seed: Of everything random.
        command: What the user typed, for the record.
        quick: Two epochs only: to see the path, not the figures.
    """
    folder = run_folder(name, cache, seed, quick=quick)
    corpus = street.corpus(data)
    settings = networks.NETWORKS[name].frontend
    mixer = street.Mixer(corpus.train, data, settings, cache)

    def draw(rng: np.random.Generator, own: FrontendSettings) -> train.Batch:
        return mixer.training(plans.PATCHES_PER_EPOCH, rng, own)

    plan = plans.PLANS[name]
    if quick:
        plan = msgspec.structs.replace(plan, epochs=QUICK_EPOCHS)
    own = train.standardised(settings, draw, seed)
    model = train.fit(
        name, len(street.LABELS), "binary_crossentropy", own, draw, plan, seed, folder
    )
    calibration, _ = mixer.training(_CALIBRATION, np.random.default_rng([seed, 2**28]), own)
    np.savez(folder / "float.npz", *model.get_weights())
    if networks.NETWORKS[name].settles:
        model = settle.settled(name, model, own, draw, calibration, seed + 1, folder / "settled")
    np.savez(folder / "weights.npz", calibration, *model.get_weights())
    run = Run(
        network=name,
        frontend=own,
        training=_training(corpus, mixer.clips, seed, plan.epochs, command),
        data=_data_sets(corpus, mixer.clips),
    )
    (folder / "run.json").write_bytes(msgspec.json.encode(run))
    return run


def bundle_street(
    name: str,
    data: Path,
    cache: Path,
    seed: int,
    out: Path,
    legacy_python: Path,
    fold_figures: folds.Result | None,
    command: str,
    *,
    quick: bool = False,
) -> Bundle:
    """Convert a trained network, pass it through all gates, measure it and write its bundle.

    Args:
        name: A key of `networks.NETWORKS`.
        data: The folder of recordings.
        cache: Where `train_street` left the run.
        seed: Its seed.
        out: The bundle's folder.
        legacy_python: An interpreter with tflite-runtime 2.14.
        fold_figures: What `folds` found, for the card.
        command: What the user typed, for the figures.
        quick: Take the quick run.

    Raises:
        BuildError: There is no such run, or a gate refuses the network.
    """
    run, trained, (calibration, *weights) = _finished(
        run_folder(name, cache, seed, quick=quick), name
    )
    model = conversion.convert_int8(name, weights, len(street.LABELS), calibration)
    if networks.NETWORKS[name].settles:
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
        *(folds.metrics(fold_figures) if fold_figures else []),
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


def _finished(folder: Path, name: str) -> tuple[Run, list[Samples], list[Samples]]:
    """The record, the weights as trained, and calibration patches with the weights to convert."""
    record = folder / "run.json"
    if not record.is_file():
        raise BuildError(
            f"{folder}: holds no finished training of {name}",
            hint=f"Run `model-build train --network {name}` first, with the same cache and seed.",
        )
    run = msgspec.json.decode(record.read_bytes(), type=Run)
    return run, _arrays(folder / "float.npz"), _arrays(folder / "weights.npz")


def _arrays(path: Path) -> list[Samples]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[key] for key in stored.files]


def _training(
    corpus: street.Corpus, used: tuple[Clip, ...], seed: int, epochs: int, command: str
) -> Training:
    return Training(
        command=command,
        commit=_commit(),
        seed=seed,
        threads=train.THREADS,
        versions=train.environment(),
        cpu=train.cpu(),
        epochs=epochs,
        manifests={manifest.name: manifest.sha256 for manifest in corpus.manifests},
        audio_lists={
            "train and calibration": list_sha256(used),
            "validation": list_sha256(corpus.validation.clips()),
            "test": list_sha256(corpus.test.clips()),
        },
        teacher_sha256=None,
    )


def _commit() -> str:
    """The checkout's commit, marked when something was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    root = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown (no git)"
    return done.stdout.strip() or "unknown (not a git checkout)"


def _data_sets(corpus: street.Corpus, used: tuple[Clip, ...]) -> tuple[DataSet, ...]:
    sets = []
    sides = {
        "training": used,
        "validation": corpus.validation.clips(),
        "test": corpus.test.clips(),
    }
    for side, clips in sides.items():
        for name in street.SETS:
            count = sum(clip.origin == name for clip in clips)
            if count:
                licence, url = _TERMS[name]
                sets.append(DataSet(set=name, licence=licence, url=url, clips=count, use=side))
    return tuple(sets)


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
    """Patches spread evenly over the test's recordings, with the float network's scores."""
    levels = msgspec.structs.replace(settings, kind="logmel", mean=(0.0,), std=(1.0,))
    cached = features.patches(clips, data, levels, cache)
    rows = np.concatenate(
        [
            np.unique(np.linspace(first, last - 1, _HELD_OUT_PER_CLIP).astype(np.int64))
            for first, last in zip(cached.starts[:-1], cached.starts[1:], strict=True)
            if last > first
        ]
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
