"""Streams with a known truth, made in memory from recordings of one side of the split.

A stream is a street scene (`scenes`), or event-free: background one clip after the other, each clip
once, so that its hours are hours of distinct sound. The same recordings, plan and seed give the
same samples.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.records import Samples
from model_build import audible
from model_build.audible import RATE
from model_build.datasets import Clip, Skip, read_manifest
from model_build.taxonomy import UNFIT_TO_COUNT

CROSSFADE = RATE // 10
_NOISE_DBFS = -70.0
_FREE_STREAM_S = 300.0


class TrueEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A sound that was put into a scene."""

    label: str
    onset_s: float
    offset_s: float
    snr_db: float
    """RMS of the event over that of the background, from its onset to its offset."""
    path: str


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Sound at 48 kHz, what is in it, and what identifies it."""

    name: str
    samples: Samples
    events: tuple[TrueEvent, ...]
    sha256: str
    """Of the recordings' bytes and where they were put; no rounding of samples enters."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples.size / RATE


def event_free(
    side: str, clips: Sequence[Clip], data: Path, seed: int, skipped: list[Skip]
) -> Iterator[Stream]:
    """Streams of some minutes in which no street sound is; each clip once, at its own level.

    Args:
        side: For the streams' names.
        clips: Background and other sounds.
        data: The folder of recordings.
        seed: Of order and noise.
        skipped: Takes the clips that cannot be used.
    """
    rng = np.random.default_rng([seed, 2])
    parts: list[Samples] = []
    digest = hashlib.sha256()
    number = 0
    for index in rng.permutation(len(clips)):
        samples = audible.whole(clips[index], data)
        if isinstance(samples, Skip):
            skipped.append(samples)
            continue
        parts.append(samples)
        digest.update(f"{identity(clips[index], data)}\n".encode())
        if sum(part.size for part in parts) >= _FREE_STREAM_S * RATE:
            yield _free(f"{side} event-free {number}", parts, digest.hexdigest(), rng)
            parts, digest, number = [], hashlib.sha256(), number + 1
    if parts:
        yield _free(f"{side} event-free {number}", parts, digest.hexdigest(), rng)


def evaluation_background(data: Path) -> tuple[tuple[Clip, ...], tuple[Skip, ...]]:
    """Clips of `ambient_eval` that hold no street sound, and those left out with the reason."""
    path = data / "ambient_eval.csv"
    if not path.is_file():
        return (), (Skip(path=path.name, reason="no such file: alarms are counted without it"),)
    manifest = read_manifest(path, data)
    fit = tuple(clip for clip in manifest.clips if clip.label not in UNFIT_TO_COUNT)
    unfit = tuple(
        Skip(path=clip.path, reason=UNFIT_TO_COUNT[clip.label])
        for clip in manifest.clips
        if clip.label in UNFIT_TO_COUNT
    )
    return fit, (*manifest.skipped, *unfit)


def _free(name: str, parts: list[Samples], sha256: str, rng: np.random.Generator) -> Stream:
    samples = with_noise(joined(parts), rng)
    return Stream(name=name, samples=samples, events=(), sha256=sha256)


def joined(parts: Sequence[Samples]) -> Samples:
    """One after the other, crossfaded, so that no joint clicks."""
    total = sum(part.size for part in parts)
    out = np.zeros(total, np.float32)
    at = 0
    for part in parts:
        overlap = min(CROSSFADE, at, part.size // 2)
        ramp = np.linspace(0, 1, overlap, dtype=np.float32)
        begin = at - overlap
        out[begin:at] *= 1 - ramp
        faded = part.copy()
        faded[:overlap] *= ramp
        out[begin : begin + part.size] += faded
        at = begin + part.size
    return out[:at]


def with_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """The samples over a microphone's own noise: no street is digitally silent."""
    noise = rng.standard_normal(samples.size, np.float32)
    noisy: Samples = samples + noise * np.float32(10 ** (_NOISE_DBFS / 20))
    return noisy


def identity(clip: Clip, data: Path) -> str:
    """A clip's path and the SHA-256 of its file."""
    return f"{clip.path} {hashlib.sha256((data / clip.path).read_bytes()).hexdigest()}"
