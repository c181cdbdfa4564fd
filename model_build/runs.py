"""A training of a street network: what it learns from, and the record that goes into its bundle."""

import hashlib
import subprocess
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.modelfile import DataSet, Training
from edge_agent.records import Samples
from model_build import distil, networks, plans, settle, street, tasks, train, yamnet
from model_build.datasets import Clip, list_sha256
from model_build.school import School, attended
from model_build.settingsfile import Settings
from model_build.teacher import Head

_CALIBRATION = 400
_ESC50 = "https://github.com/karolpiczak/ESC-50"
TERMS = {
    # Licence and address of each set of recordings.
    "urbansound8k": ("CC BY-NC 3.0", "https://urbansounddataset.weebly.com/urbansound8k.html"),
    "esc50": ("CC BY-NC 3.0", _ESC50),
    "esc50_clean": ("CC BY-NC 3.0 (ten of the classes CC BY)", _ESC50),
    "ambient": ("CC0, CC BY, CC BY-SA or public domain by file; quiet room not stated", ""),
    "speech": ("mixed, not stated for every clip: research use", ""),
    "sesa": ("as its sources on Freesound, not stated: research use", ""),
    "babycry": ("not stated: research use", ""),
    "music": ("CC BY and the like for the pieces", ""),
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A finished training: all that `bundle_street` needs beside the weights."""

    network: str
    frontend: FrontendSettings
    training: Training
    data: tuple[DataSet, ...]


def folder(name: str, cache: Path, seed: int) -> Path:
    """Where a run keeps its state, its weights and its record."""
    return cache / "street" / f"{name}-{seed}"


def train_street(
    name: str,
    data: Path,
    cache: Path,
    seed: int,
    command: str,
    *,
    yamnet_file: Path | None = None,
    chosen: Settings | None = None,
) -> Run:
    """Train a network on street mixtures; what an interrupted run left is taken up.

    Args:
        name: A key of `networks.NETWORKS`.
        data: The folder of recordings.
        cache: For features, state and weights.
        seed: Of everything random.
        command: What the user typed, for the record.
        yamnet_file: The teacher, for a network that learns from one.
        chosen: Settings of its plan, other ones than its own.

    Raises:
        BuildError: The plan has no such setting, or the recordings cannot be used.
    """
    plan = plans.PLANS[name] if yamnet_file is None else plans.TAUGHT
    plan = train.altered(name, plan, chosen or {})
    place = folder(name, cache, seed)
    corpus = street.corpus(data)
    settings = networks.NETWORKS[name].frontend
    # A run without a teacher must not be taken up by one with, nor by one with other settings.
    state = place if yamnet_file is None else place / "taught"
    if chosen:
        encoded = msgspec.json.encode(chosen, order="sorted")
        state /= f"settings-{hashlib.sha256(encoded).hexdigest()[:12]}"
    school, sounds = None, corpus.train
    if yamnet_file is not None:
        # UrbanSound8K's school, so that one serves both: it leaves out the street's test as well.
        school = attended(name, tasks.URBANSOUND8K, data, settings, yamnet_file, cache, seed)
        # Sets without recordings' names, of which the teacher's ear found what is judged elsewhere.
        sounds = street.with_more(sounds, school.patches.clips)
    mixer = street.Mixer(sounds, data, settings, cache)
    if school is None:
        own = train.standardised(settings, mixer.training, seed)
        model = train.fit(
            lambda: networks.build(name, len(street.LABELS), "sigmoid"),
            "binary_crossentropy",
            train.lessons(mixer.training, own),
            plan,
            seed,
            state,
        )
    else:
        own = school.frontend
        model = _taught(name, school, sounds, mixer, data, cache, plan, seed, state)
    calibration, _ = mixer.training(np.random.default_rng([seed, 2**28]), own, _CALIBRATION)
    np.savez(place / "float.npz", *model.get_weights())
    if networks.NETWORKS[name].settles:
        model = settle.settled(
            name, model, own, mixer.training, calibration, seed + 1, state / "settled"
        )
    np.savez(place / "weights.npz", calibration, *model.get_weights())
    run = Run(
        network=name,
        frontend=own,
        training=_training(corpus, mixer.clips, school, seed, plan.epochs, command),
        data=_data_sets(corpus, mixer.clips, school),
    )
    (place / "run.json").write_bytes(msgspec.json.encode(run))
    return run


def _taught(
    name: str,
    school: School,
    sounds: street.Sounds,
    mixer: street.Mixer,
    data: Path,
    cache: Path,
    plan: train.Plan,
    seed: int,
    place: Path,
) -> train.Model:
    """A network that went to school, and learns from labels and teacher together."""
    labels = len(street.LABELS)
    clips = mixer.clips
    levels = msgspec.structs.replace(school.frontend, kind="logmel")
    heard = yamnet.embeddings(clips, data, levels, school.yamnet, cache)
    label_of = {clip.path: i for i, of in enumerate(sounds.events) for clip in of}
    # Background is a class of its own, behind the labels.
    classes = np.array([label_of.get(clip.path, labels) for clip in heard.clips])
    head = Head(heard, np.arange(len(clips)), classes)
    told = street.Told(
        scores=head.scores(heard.rows)[:, :labels],
        values=school.components(heard.rows),
        starts=heard.starts,
        settings=school.frontend,
    )
    taught = train.fit(
        lambda: distil.passed_on(
            school.network, distil.student(name, labels, "sigmoid", distil.COMPONENTS)
        ),
        distil.lesson_loss(labels, "sigmoid", 1.0, plans.VALUES_WEIGHT),
        lambda rng: mixer.training(rng, school.frontend, told=told),
        plan,
        seed,
        place,
    )
    return distil.plain(name, labels, "sigmoid", taught)


def finished(place: Path, name: str) -> tuple[Run, list[Samples], list[Samples]]:
    """The record, the weights as trained, and calibration patches with the weights to convert."""
    record = place / "run.json"
    if not record.is_file():
        raise BuildError(
            f"{place}: holds no finished training of {name}",
            hint=f"Run `model-build train --network {name}` first, with the same cache and seed.",
        )
    run = msgspec.json.decode(record.read_bytes(), type=Run)
    return run, _arrays(place / "float.npz"), _arrays(place / "weights.npz")


def _arrays(path: Path) -> list[Samples]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[key] for key in stored.files]


def _training(
    corpus: street.Corpus,
    used: tuple[Clip, ...],
    school: School | None,
    seed: int,
    epochs: int,
    command: str,
) -> Training:
    lists = {
        "train and calibration": used,
        "validation": corpus.validation.clips(),
        "test": corpus.test.clips(),
    }
    if school is not None:
        lists["pretraining"] = school.patches.clips
    return Training(
        command=command,
        commit=commit(),
        seed=seed,
        threads=train.THREADS,
        versions=train.environment(),
        cpu=train.cpu(),
        epochs=epochs,
        manifests={manifest.name: manifest.sha256 for manifest in corpus.manifests},
        audio_lists={name: list_sha256(clips) for name, clips in lists.items()},
        teacher_sha256=None if school is None else school.yamnet.sha256,
    )


def commit() -> str:
    """The checkout's commit, marked when something was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    root = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown (no git)"
    return done.stdout.strip() or "unknown (not a git checkout)"


def _data_sets(
    corpus: street.Corpus, used: tuple[Clip, ...], school: School | None
) -> tuple[DataSet, ...]:
    before = () if school is None else school.patches.clips
    sets = []
    sides = {
        "pretraining": before,
        "training": used,
        "validation": corpus.validation.clips(),
        "test": corpus.test.clips(),
    }
    for side, clips in sides.items():
        for name in TERMS:
            count = sum(clip.origin == name for clip in clips)
            if count:
                licence, url = TERMS[name]
                sets.append(DataSet(set=name, licence=licence, url=url, clips=count, use=side))
    return tuple(sets)
