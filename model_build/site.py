"""A user's own recordings in which nothing happened, as event-free streams.

They are played as they are, at their own level and without added noise: a site's own quiet is what
its budget has to hold in. What was recorded first (by file name) chooses thresholds, what came
later judges them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.capture.files import RecordingSource
from edge_agent.errors import AudioError, BuildError
from edge_agent.records import Samples
from model_build.audible import RATE
from model_build.datasets import Skip
from model_build.streams import Stream

SUFFIXES = (".wav", ".flac", ".ogg")
# A long recording is played in parts, so that only one is in memory.
_PART_S = 300


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Recordings of a place, by what they are for."""

    validation: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    skipped: tuple[Skip, ...] = ()


def recordings(folder: Path) -> Site:
    """All recordings under a folder: the first half by name is validation, the rest test.

    Raises:
        BuildError: There is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    fit, skipped = [], []
    first_of: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            skipped.append(Skip(path=str(path), reason=f"is no {', '.join(SUFFIXES)} file"))
            continue
        with path.open("rb") as file:
            first = first_of.setdefault(hashlib.file_digest(file, "sha256").hexdigest(), path)
        if first is path:
            fit.append(path)
        else:
            reason = f"is a copy of {first}: a repeat proves nothing"
            skipped.append(Skip(path=str(path), reason=reason))
    if not fit:
        raise BuildError(
            f"{folder}: holds no recording ({len(skipped)} files of other kinds)"
            if folder.is_dir()
            else f"{folder}: no such folder",
            hint="Give a folder of WAV, FLAC or Ogg files in which no listed sound is heard.",
        )
    half = len(fit) // 2
    return Site(validation=tuple(fit[:half]), test=tuple(fit[half:]), skipped=tuple(skipped))


def streams(paths: Sequence[Path], skipped: list[Skip]) -> Iterator[Stream]:
    """The recordings, each as streams of a few minutes at 48 kHz.

    Args:
        paths: Recordings.
        skipped: Takes what cannot be read; the parts of a file before that are played all the same.
    """
    for path in paths:
        try:
            for number, samples in enumerate(_parts(path)):
                yield Stream(
                    name=f"{path.name} part {number}",
                    samples=samples,
                    events=(),
                    sha256=hashlib.sha256(samples.tobytes()).hexdigest(),
                )
        except AudioError as error:
            skipped.append(Skip(path=str(path), reason=error.message))


def _parts(path: Path) -> Iterator[Samples]:
    """Stretches of unbroken sound, none longer than a part."""
    source = RecordingSource("site", path, start_ns=0)
    blocks: list[Samples] = []
    have = 0
    try:
        while (block := source.read(0)) is not None:
            if blocks and (block.missed or have >= _PART_S * RATE):
                yield np.concatenate(blocks)
                blocks, have = [], 0
            blocks.append(block.samples)
            have += block.samples.size
    finally:
        source.close()
    if blocks:
        yield np.concatenate(blocks)
