"""Rows that a model learns from: features, cut into patches and summed up as configured."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.errors import AudioError, BuildError
from edge_agent.records import Samples
from edge_agent.transform import slopes
from model_build import clipfeatures, steps
from model_build.clipfeatures import DELTA_WIDTH
from model_build.datasets import Clip, Skip
from model_build.features import audio_sha256, looped
from model_build.labconfig import LabConfig, Statistic
from model_build.steps import Sound

Doubles: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]

_VERSION = 1
"""Grows when the same configuration gives other rows, so that no old cache is taken for them."""
_TELL_EVERY = 200

_log = logging.getLogger(__name__)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of many clips, one after the other.

    `rows` is (n, *shape), float32; those of clip i are `rows[starts[i]:starts[i + 1]]`. `clips` are
    those used, `columns` the names of the last axis.
    """

    clips: tuple[Clip, ...]
    rows: Samples
    starts: Indices
    columns: tuple[str, ...]
    skipped: tuple[Skip, ...]

    def owners(self) -> Indices:
        """For each row the index of its clip."""
        return np.repeat(np.arange(len(self.clips)), np.diff(self.starts))


class Maker:
    """From recordings to rows, by one configuration."""

    def __init__(self, config: LabConfig) -> None:
        self.steps = steps.chosen(config.steps)
        self.features = clipfeatures.chosen(config)
        self._config = config
        self._least = _least_samples(config)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of a frame's values."""
        return tuple(name for one in self.features for name in one.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of a row's last axis."""
        names = self.column_names
        if self._config.summary is None:
            return names
        return tuple(f"{name}_{what}" for what in self._config.summary for name in names)

    def rows(self, path: Path) -> Samples:
        """A recording's rows, (n, *shape).

        Raises:
            AudioError: It cannot be read, or a feature of it is no number.
        """
        found = self.rows_of(steps.prepared(path, self.steps))
        bad = ~np.isfinite(found).reshape(-1, found.shape[-1]).all(axis=0)
        if bad.any():
            raise AudioError(
                f"{path}: {self.columns[int(bad.argmax())]} is not a number",
                hint="Leave the recording, or the feature, out.",
            )
        return found

    def rows_of(self, sound: Sound) -> Samples:
        """Rows of what the steps made, (n, *shape); what is too short for one is repeated."""
        frames = self.frames(sound)
        patches, summary = self._config.patches, self._config.summary
        cut = [frames]
        if patches is not None:
            starts = range(0, len(frames) - patches.frames + 1, patches.hop)
            cut = [frames[start : start + patches.frames] for start in starts]
        if summary is not None:
            cut = [summed_up(part, summary) for part in cut]
        return np.stack(cut)

    def frames(self, sound: Sound) -> Samples:
        """Features of what the steps made, (frames, columns)."""
        long_enough = Sound(looped(sound.samples, self._least), sound.rate)
        return clipfeatures.by_frame(long_enough, self.features, self._config.grid)


def summed_up(frames: Samples, summary: Sequence[Statistic]) -> Samples:
    """Statistics over frames, (statistics * columns,): all columns by the first, then by the next.

    `std` is that of the population, `delta_rms` the root mean square of the slope where all nine
    frames that it is fitted to exist, both as the device's `mfcc_stats`.
    """
    rows = frames.astype(np.float64)
    parts = [_statistic(rows, what) for what in summary]
    return np.concatenate(parts).astype(np.float32)


def _statistic(rows: Doubles, what: Statistic) -> Doubles:
    match what:
        case "mean":
            found = rows.mean(axis=0)
        case "std":
            found = rows.std(axis=0)
        case "min":
            found = rows.min(axis=0)
        case "max":
            found = rows.max(axis=0)
        case "delta_rms":
            found = np.sqrt(np.square(slopes(rows)).mean(axis=0))
    return np.asarray(found)


def _least_samples(config: LabConfig) -> int:
    """What one row takes."""
    frames = 1
    if config.patches is not None:
        frames = config.patches.frames
    mfcc = config.features.mfcc
    if "delta_rms" in (config.summary or ()) or (mfcc is not None and mfcc.deltas):
        frames = max(frames, DELTA_WIDTH)
    return config.grid.n_fft + (frames - 1) * config.grid.hop


def table(clips: Sequence[Clip], root: Path, config: LabConfig, cache: Path) -> Table:
    """Rows of each clip, computed once for this configuration and this list of recordings.

    Args:
        clips: In the order of the rows.
        root: What their paths are relative to.
        config: From recording to row.
        cache: The folder.

    Raises:
        BuildError: None of the clips can be used, or their rows differ in shape.
    """
    if not (config.patches or config.summary or config.steps.fit):
        raise BuildError(
            "clips of different lengths would give rows of different lengths",
            hint="Switch on `summary`, `patches` or `steps.fit` in the configuration.",
        )
    maker = Maker(config)
    name = f"rows-{_fingerprint(config)[:12]}-{audio_sha256(clips, root)[:12]}"
    path = cache / f"{name}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _save(path, maker, clips, root)
    with np.load(path, allow_pickle=False) as data:
        skipped = msgspec.json.decode(data["skipped"].tobytes(), type=tuple[Skip, ...])
        gone = {skip.path for skip in skipped}
        return Table(
            clips=tuple(clip for clip in clips if clip.path not in gone),
            rows=data["rows"],
            starts=data["starts"],
            columns=maker.columns,
            skipped=skipped,
        )


def _fingerprint(config: LabConfig) -> str:
    settings = msgspec.json.encode(config, order="deterministic")
    return hashlib.sha256(b"%d %s" % (_VERSION, settings)).hexdigest()


def _save(path: Path, maker: Maker, clips: Sequence[Clip], root: Path) -> None:
    rows: list[Samples] = []
    skipped: list[Skip] = []
    for done, clip in enumerate(clips):
        if done % _TELL_EVERY == 0:
            _log.info("%s: %d of %d clips", path, done, len(clips))
        try:
            rows.append(maker.rows(root / clip.path))
        except AudioError as error:
            skipped.append(Skip(path=clip.path, reason=error.message))
    if not rows:
        raise BuildError(
            f"none of {len(clips)} recordings can be used ({skipped[0].reason})",
            hint="Mend the first reason; all recordings of a manifest lie under one folder.",
        )
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        rows=np.concatenate(rows),
        starts=np.cumsum([0, *(len(part) for part in rows)], dtype=np.int64),
        skipped=np.frombuffer(msgspec.json.encode(skipped), np.uint8),
    )
    partial.replace(path)
