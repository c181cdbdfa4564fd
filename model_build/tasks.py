"""The clip tasks on which a network is retrained and judged, by their official folds."""

from pathlib import Path

import msgspec

from model_build import datasets
from model_build.datasets import Clip, Manifest


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Recordings with one label each."""

    id: str
    """Also the manifest's name."""
    title: str
    copies: tuple[str, ...] = ()
    """Other sets of the same recordings."""
    slices: bool = False
    """Several clips are cut from one recording, so that a random split flatters."""

    def sets(self) -> tuple[str, ...]:
        """All sets that hold its recordings."""
        return (self.id, *self.copies)


URBANSOUND8K = Task(id="urbansound8k", title="UrbanSound8K folds 1 to 3, ten classes", slices=True)
ESC50 = Task(
    id="esc50", title="ESC-50 (8-bit, 16 kHz copy), fifty classes", copies=("esc50_clean",)
)
TASKS = {task.id: task for task in (URBANSOUND8K, ESC50)}


def read(task: Task, data: Path) -> Manifest:
    """The task's clips; those of a recording that lies in two folds are skipped.

    Raises:
        BuildError: The manifest is missing or cannot be read.
    """
    manifest = datasets.read_manifest(data / f"{task.id}.csv", data)
    clips, skipped = datasets.in_one_fold(manifest.clips)
    return msgspec.structs.replace(manifest, clips=clips, skipped=(*manifest.skipped, *skipped))


def recordings(task: Task, data: Path) -> tuple[Clip, ...]:
    """Every clip of every set that holds the task's recordings."""
    return tuple(
        clip
        for name in task.sets()
        for clip in datasets.read_manifest(data / f"{name}.csv", data).clips
    )
