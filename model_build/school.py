"""Where a network goes before it learns a task: recordings outside, and what YAMNet hears in them.

Outside is what the network will not be judged by: nothing of a task's recordings, nothing of the
street's validation and test sides, and no recording that is also in one of them. Sets that lost
their recordings' names are held against those by ear: what YAMNet hears alike is left out.
"""

import logging
from pathlib import Path

import keras
import msgspec
import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.records import Samples
from model_build import datasets, distil, features, street, tasks, yamnet
from model_build.datasets import Clip
from model_build.features import Features
from model_build.tasks import Task
from model_build.yamnet import Yamnet

# Sets with labels worth naming; the others' say where a recording was found.
_NAMED = ("esc50", "esc50_clean", "urbansound8k")
_UNNAMED = ("sesa", "babycry", "music")
# Cosine of two patches' embeddings.
_ALIKE = 0.9

_log = logging.getLogger(__name__)


class School(msgspec.Struct, frozen=True, kw_only=True):
    """A network that learnt to hear, and what it learnt from."""

    network: keras.Model
    frontend: FrontendSettings
    """With the constants that it learnt with."""
    yamnet: Yamnet
    patches: Features
    heard: Features
    """Embeddings of `patches`, row by row."""
    components: distil.Components


def attended(
    name: str,
    task: Task,
    data: Path,
    settings: FrontendSettings,
    teacher: Path,
    cache: Path,
    seed: int,
) -> School:
    """Pretrain a network, or take up what an earlier run left.

    Args:
        name: A key of `networks.NETWORKS`.
        task: What the network will be judged by, besides the street.
        data: The folder of recordings.
        settings: The network's front end.
        teacher: A YAMNet with embeddings.
        cache: For features, embeddings, and the state of the run.
        seed: Of everything random.
    """
    ears = Yamnet(teacher)
    levels = msgspec.structs.replace(settings, kind="logmel")
    clips = outside(task, data, levels, ears, cache)
    patches = features.patches(clips, data, levels, cache)
    heard = yamnet.embeddings(clips, data, levels, ears, cache)
    labels = sorted({clip.label for clip in clips if clip.origin in _NAMED})
    folder = cache / "school" / f"{task.id}-{name}-{seed}"
    network, own = distil.pretrained(
        name, patches, heard, tuple(labels), settings, distil.PLAN, seed, folder
    )
    return School(
        network=network,
        frontend=own,
        yamnet=ears,
        patches=patches,
        heard=heard,
        components=distil.components(heard.rows),
    )


def outside(
    task: Task, data: Path, settings: FrontendSettings, ears: Yamnet, cache: Path
) -> tuple[Clip, ...]:
    """The recordings that neither the task nor the street is judged by."""
    judged, known = named(task, data)
    unknown = [
        clip
        for name in _UNNAMED
        for clip in datasets.read_manifest(data / f"{name}.csv", data).clips
    ]
    judged_by_ear = yamnet.embeddings(judged, data, settings, ears, cache)
    strange = yamnet.embeddings(unknown, data, settings, ears, cache)
    alike = nearest(strange, judged_by_ear) > _ALIKE
    _log.info("outside: %d of %d clips without names are left out", alike.sum(), len(alike))
    fresh = [clip for clip, heard in zip(strange.clips, alike, strict=True) if not heard]
    return (*known, *fresh)


def named(task: Task, data: Path) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """What task and street are judged by, and what lies outside of it by its recordings' names."""
    corpus = street.corpus(data)
    judged = (
        *tasks.recordings(task, data),
        *corpus.validation.clips(),
        *corpus.test.clips(),
    )
    known = [clip for clip in corpus.train.clips() if clip.origin not in task.sets()]
    return judged, datasets.without_groups(known, datasets.groups(judged))


def nearest(strange: Features, judged: Features) -> Samples:
    """For each strange clip the largest cosine between one of its patches and a judged one.

    Args:
        strange: Roots of embeddings, as `yamnet.embeddings` gives them.
        judged: The same.
    """
    theirs = _directions(judged)
    found = np.empty(len(strange.clips), np.float32)
    for clip, (first, last) in enumerate(zip(strange.starts[:-1], strange.starts[1:], strict=True)):
        found[clip] = (_directions(strange, slice(first, last)) @ theirs.T).max()
    return found


def _directions(heard: Features, rows: slice = slice(None)) -> Samples:
    values: Samples = np.square(heard.rows[rows].astype(np.float32))
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values
