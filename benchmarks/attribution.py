"""How well shares tell who made the energy: scenes whose every source's energy is known.

    python -m benchmarks.attribution [--data DIR] [--scenes N] [--seed N] [--json]

Held-out recordings over recorded background, each label twice in about five minutes, by the test's
SNRs. Two listeners: the shipped model, and perfect ears, which know from the truth what sounds: the
first errs as the model does, the second only as the definition must.
"""

import argparse
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import scipy.fft
import scipy.signal

from edge_agent import resources
from edge_agent.acoustics.weighting import Float
from edge_agent.attribution import Attribution, Second
from edge_agent.bundle import Bundle, load
from edge_agent.classifier import Classifier
from edge_agent.config import Config
from edge_agent.energies import merged
from edge_agent.events import Events
from edge_agent.ids import Ids
from edge_agent.labels import event_rules
from edge_agent.records import Energies, Prediction, Samples
from model_build import audible, features, street
from model_build.audible import RATE, Sound
from model_build.datasets import Clip
from model_build.detection import listen
from model_build.scenes import mixed
from model_build.streams import Stream, TrueEvent, joined
from model_build.street import LABELS, TEST_SNRS_DB

_LEAD_S, _TAIL_S = 75.0, 5.0
_ROUNDS = 2
_BED_DBFS = -40.0
_OVERLAPPING = 0.2
_UNIT = 1e18
_OFFSET = 10 * np.log10(2)


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, and the A-weighted energy that each label alone brought into it."""

    stream: Stream
    energies: dict[str, float]
    total: float


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One listener: errors of shares, in points of the scene's energy."""

    ears: str
    pairs: int
    """Of scene and label."""
    median_error: float
    p90_error: float
    within_bounds: float
    """How often the true share lay from min_share to max_share."""
    within_a_point: float
    """How often it lay there or at most a point beside."""
    all_labels_true: float
    """What all labels together really made, mean over scenes."""
    all_labels_told: float
    unlabelled: float
    background: float


def main() -> None:
    """Play the scenes and print how shares compare with the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("EARSHOT_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    bundle = load(resources.root() / "models" / "street")
    scenes = _scenes(given.data, given.scenes, given.seed)
    classifier = Classifier(bundle)
    heard = {
        "the shipped model": [listen(s.stream, bundle, classifier).predictions for s in scenes],
        "perfect ears": [_perfect(scene.stream, bundle) for scene in scenes],
    }
    judged = [
        _judged(
            ears,
            scenes,
            [
                _attributed(scene, predictions, bundle)
                for scene, predictions in zip(scenes, patches, strict=True)
            ],
        )
        for ears, patches in heard.items()
    ]
    if given.json:
        print(json.dumps(msgspec.to_builtins(judged)))
        return
    for one in judged:
        print(
            f"{one.ears}, {one.pairs} of scene and label: error of a share, median "
            f"{100 * one.median_error:.1f}, 90 % {100 * one.p90_error:.1f} points; truth within "
            f"the bounds {100 * one.within_bounds:.0f} %, or a point beside "
            f"{100 * one.within_a_point:.0f} %; all labels "
            f"{100 * one.all_labels_told:.0f} of {100 * one.all_labels_true:.0f} %, unlabelled "
            f"{100 * one.unlabelled:.0f} %, background {100 * one.background:.0f} %"
        )


def _scenes(data: Path, count: int, seed: int) -> list[Scene]:
    sounds = street.corpus(data).test
    return [_scene(sounds, data, np.random.default_rng([seed, number])) for number in range(count)]


def _scene(sounds: street.Sounds, data: Path, rng: np.random.Generator) -> Scene:
    placed: list[tuple[TrueEvent, Sound]] = []
    end_s = before_s = 0.0
    for number, label in enumerate(rng.permutation(_ROUNDS * len(LABELS)) % len(LABELS)):
        clip, sound = _usable(sounds.events[label], data, rng)
        onset_s = end_s + rng.uniform(2.0, 5.0) if placed else _LEAD_S
        if placed and rng.random() < _OVERLAPPING:
            onset_s = before_s + rng.uniform(0.3, 0.7) * (placed[-1][0].offset_s - before_s)
        onset = round(onset_s * RATE)
        event = TrueEvent(
            label=LABELS[label],
            onset_s=onset / RATE,
            offset_s=(onset + sound.offset - sound.onset) / RATE,
            snr_db=TEST_SNRS_DB[number % len(TEST_SNRS_DB)],
            path=clip.path,
        )
        placed.append((event, sound))
        before_s, end_s = event.onset_s, max(end_s, event.offset_s)
    bed = _bed(sounds.beds, data, round((end_s + _TAIL_S) * RATE), rng)
    energies: dict[str, float] = defaultdict(float)
    for event, sound in placed:
        first = round(event.onset_s * RATE) - sound.onset
        around = slice(first - RATE, first + sound.samples.size + RATE)
        alone = (mixed(bed, [(event, sound)])[around] - bed[around]).astype(np.float64)
        energies[event.label] += float(np.square(_a_weighted(alone)).sum())
    samples = mixed(bed, placed)
    # A scene that would clip is turned down, as its first second shows.
    turned = float(np.linalg.norm(samples[:RATE]) / np.linalg.norm(bed[:RATE])) ** 2
    return Scene(
        stream=Stream(name="", samples=samples, events=tuple(e for e, _ in placed), sha256=""),
        energies={label: turned * energy for label, energy in energies.items()},
        total=float(np.square(_a_weighted(samples.astype(np.float64))).sum()),
    )


def _usable(clips: Sequence[Clip], data: Path, rng: np.random.Generator) -> tuple[Clip, Sound]:
    while True:
        clip = clips[int(rng.integers(len(clips)))]
        sound = audible.cut(clip, data)
        if isinstance(sound, Sound):
            return clip, sound


def _bed(clips: Sequence[Clip], data: Path, length: int, rng: np.random.Generator) -> Samples:
    parts: list[Samples] = []
    while sum(part.size - RATE // 10 for part in parts) < length:
        samples = audible.whole(clips[int(rng.integers(len(clips)))], data)
        if isinstance(samples, np.ndarray) and samples.size > RATE:
            level_dbfs = features.level_dbfs(samples)
            if level_dbfs > features.SILENT_DBFS:
                parts.append(samples * np.float32(10 ** ((_BED_DBFS - level_dbfs) / 20)))
    return joined(parts)[:length]


def _a_weighted(samples: Float) -> Float:
    """By the analytic curve, in the frequency domain (IEC 61672-1:2013, Annex E)."""
    points = scipy.fft.next_fast_len(len(samples) + RATE, real=True)
    square = np.square(np.fft.rfftfreq(points, 1 / RATE))
    low, mid, mid2, high = np.square((20.598997, 107.652649, 737.862231, 12194.217148))
    gain = np.sqrt((square + mid) * (square + mid2)) * (square + low) * (square + high)
    gain = high * square**2 / gain * 10 ** (1.999656 / 20)
    return np.asarray(np.fft.irfft(np.fft.rfft(samples, points) * gain, points)[: len(samples)])


def _perfect(stream: Stream, bundle: Bundle) -> tuple[Prediction, ...]:
    """Patches of who knows what sounds: .95 while at least half of patch or sound is in it."""
    hop_ns, patch_ns = 240_000_000, 1_004_000_000
    labels = [label.id for label in bundle.labels]
    predictions = []
    for start_ns in range(0, round(stream.seconds * 1e9) - patch_ns, hop_ns):
        scores = np.zeros(len(labels), np.float32)
        for event in stream.events:
            lasts_s = min(event.offset_s, (start_ns + patch_ns) / 1e9) - max(
                event.onset_s, start_ns / 1e9
            )
            if lasts_s >= 0.5 * min(patch_ns / 1e9, event.offset_s - event.onset_s):
                scores[labels.index(event.label)] = 0.95
        predictions.append(
            Prediction(
                microphone="mic",
                start_ns=start_ns,
                end_ns=start_ns + patch_ns,
                scores=scores,
                synced=False,
                gap_before=False,
            )
        )
    return tuple(predictions)


def _attributed(scene: Scene, predictions: Sequence[Prediction], bundle: Bundle) -> Energies:
    config = Config()
    events = Events(
        event_rules(bundle.labels, config.events), config.events.max_duration_s, Ids(0).new
    )
    attribution = Attribution(
        [label.id for label in bundle.labels],
        [label.id for label in bundle.labels if label.stationary],
    )
    told = []
    for second in _seconds(scene.stream.samples):
        told += attribution.second(second)
    for prediction in predictions:
        changes = events.feed(prediction)
        told += attribution.prediction(prediction, [*events.open(), *changes])
    last = events.finish("end_of_input", round(scene.stream.seconds * 1e9))
    told += attribution.finish(last)
    return merged(energies for _, energies in told)


def _seconds(samples: Samples) -> list[Second]:
    squares = np.square(_a_weighted(samples.astype(np.float64)))
    keep = np.exp(-1 / (RATE * 0.125))
    fast = scipy.signal.lfilter([1 - keep], [1, -keep], squares)[RATE // 8 - 1 :: RATE // 8]
    tenths = np.floor(100 * np.log10(np.maximum(fast, 1e-15)) + 10 * _OFFSET + 0.5).astype(int)
    return [
        Second(
            start_ns=s * 1_000_000_000,
            heard_us=1_000_000,
            # A full-scale sine has a mean square of one half.
            energy=int(2 * _UNIT * 1e6 * squares[s * RATE : (s + 1) * RATE].mean()),
            fast=Counter(tenths[8 * s : 8 * s + 8].tolist()),
        )
        for s in range(len(samples) // RATE)
    ]


def _judged(ears: str, scenes: Sequence[Scene], told: Sequence[Energies]) -> Judged:
    errors, beside = [], []
    for scene, energies in zip(scenes, told, strict=True):
        for label in LABELS:
            true = scene.energies.get(label, 0.0) / scene.total
            source = energies.sources.get(label)
            part, alone, heard = (source.part, source.alone, source.heard) if source else (0, 0, 0)
            errors.append(abs(part / energies.total - true))
            beside.append(max(alone / energies.total - true, true - heard / energies.total))
    return Judged(
        ears=ears,
        pairs=len(errors),
        median_error=median(errors),
        p90_error=float(np.quantile(errors, 0.9)),
        within_bounds=float(np.mean(np.array(beside) <= 0)),
        within_a_point=float(np.mean(np.array(beside) <= 0.01)),
        all_labels_true=float(np.mean([sum(s.energies.values()) / s.total for s in scenes])),
        all_labels_told=float(
            np.mean([sum(one.part for one in e.sources.values()) / e.total for e in told])
        ),
        unlabelled=float(np.mean([e.unlabelled / e.total for e in told])),
        background=float(np.mean([e.background / e.total for e in told])),
    )


if __name__ == "__main__":
    main()
