"""What a set of recordings holds, before anything learns from it.

Every clip is read to its end. What cannot be read, is listed twice, is nearly silent or is the same
sound as another clip is told, clip by clip; nothing is left out without a reason.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from scipy.stats import rankdata

from edge_agent.errors import AudioError
from edge_agent.frontend import Frames
from edge_agent.records import Samples
from edge_agent.resample import resample
from model_build import duplicates, manifestcheck, steps
from model_build.datasets import Clip, Skip, groups
from model_build.duplicates import TRACE, Pair
from model_build.exploration import ClassCount, Examined, Exploration
from model_build.features import level_dbfs
from model_build.labconfig import LabConfig
from model_build.labrows import Doubles, Maker, summed_up
from model_build.steps import Sound

_TELL_EVERY = 200

_log = logging.getLogger(__name__)


class _Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What reading one clip gave."""

    examined: Examined
    trace: Samples
    features: Samples
    """(columns,)"""


def explore(
    manifests: Sequence[Path],
    root: Path,
    config: LabConfig,
    *,
    per_class: int | None = None,
    seed: int = 0,
) -> Exploration:
    """Read every clip of some manifests, and compare them.

    Args:
        manifests: CSV files with `path` and `label`.
        root: The folder that their paths are relative to.
        config: Whose features are correlated.
        per_class: Look at no more clips of each class than these, drawn by the seed.
        seed: Of the draw.

    Raises:
        BuildError: A manifest cannot be read, or no clip of any can be used.
    """
    checked = manifestcheck.check(manifests, root)
    chosen = _drawn(checked.clips, per_class, seed)
    maker = Maker(config)
    sights, unreadable = _seen(chosen, root, maker)
    clips = tuple(sight.examined for sight in sights)
    exact = _same([one.sound_sha256 for one in clips])
    bad, kept = _finite(sights, maker.column_names)
    return Exploration(
        manifests=tuple(path.name for path in manifests),
        rows=checked.rows,
        classes=_counted(checked.clips),
        per_class=per_class,
        not_drawn=len(checked.clips) - len(chosen),
        clips=clips,
        unreadable=unreadable,
        missing=checked.missing,
        problems=(*checked.problems, *bad),
        exact=exact,
        near=_nearly(sights, exact),
        columns=maker.column_names,
        correlation=_correlation(kept),
    )


def _counted(clips: Sequence[Clip]) -> tuple[ClassCount, ...]:
    by_label: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_label[clip.label].append(clip)
    counts = [
        ClassCount(
            label=label,
            clips=len(of),
            recordings=len(groups(of)),
            folds=dict(Counter("" if clip.fold is None else str(clip.fold) for clip in of)),
        )
        for label, of in by_label.items()
    ]
    return tuple(sorted(counts, key=lambda one: (-one.clips, one.label)))


def _drawn(clips: Sequence[Clip], per_class: int | None, seed: int) -> list[Clip]:
    if per_class is None:
        return list(clips)
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        by_label[clip.label].append(index)
    kept: list[int] = []
    for label in sorted(by_label):
        kept += rng.permutation(by_label[label])[:per_class].tolist()
    return [clips[index] for index in sorted(kept)]


def _seen(clips: Sequence[Clip], root: Path, maker: Maker) -> tuple[list[_Sight], tuple[Skip, ...]]:
    sights: list[_Sight] = []
    unreadable: list[Skip] = []
    tracer = Frames(TRACE)
    for done, clip in enumerate(clips):
        if done % _TELL_EVERY == 0:
            _log.info("read %d of %d clips", done, len(clips))
        try:
            sights.append(_sight(clip, steps.load(root / clip.path), maker, tracer))
        except AudioError as error:
            unreadable.append(Skip(path=clip.path, reason=error.message))
    return sights, tuple(unreadable)


def _sight(clip: Clip, sound: Sound, maker: Maker, tracer: Frames) -> _Sight:
    peak = float(np.abs(sound.samples).max(initial=0.0))
    digest = hashlib.sha256(f"{sound.rate} ".encode() + sound.samples.tobytes())
    examined = Examined(
        clip=clip,
        seconds=sound.samples.size / sound.rate,
        rate=sound.rate,
        peak_dbfs=20.0 * float(np.log10(peak + 1e-10)),
        rms_dbfs=level_dbfs(sound.samples),
        sound_sha256=digest.hexdigest(),
    )
    trace = duplicates.trace(resample(sound.samples, sound.rate, TRACE.rate), tracer)
    for step in maker.steps:
        sound = step.run(sound)
    features = summed_up(maker.frames(sound), ("mean",))
    return _Sight(examined=examined, trace=trace, features=features)


def _same(digests: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    by_digest: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        by_digest[digest].append(index)
    return tuple(tuple(of) for of in by_digest.values() if len(of) > 1)


def _nearly(sights: Sequence[_Sight], exact: Sequence[tuple[int, ...]]) -> tuple[Pair, ...]:
    """Of clips with the same samples the first stands for all."""
    doubles = {index for group in exact for index in group[1:]}
    _log.info("comparing %d clips", len(sights) - len(doubles))
    nothing = np.empty((0, TRACE.n_mels), np.float32)
    traces = [nothing if i in doubles else sight.trace for i, sight in enumerate(sights)]
    return tuple(duplicates.near(traces))


def _finite(sights: Sequence[_Sight], columns: tuple[str, ...]) -> tuple[list[Skip], Doubles]:
    """Clips with a feature that is no number, and the features of the others."""
    bad: list[Skip] = []
    kept: list[Samples] = []
    for sight in sights:
        wrong = np.flatnonzero(~np.isfinite(sight.features))
        if wrong.size:
            reason = f"{columns[wrong[0]]} is not a number: left out of the correlation"
            bad.append(Skip(path=sight.examined.clip.path, reason=reason))
        else:
            kept.append(sight.features)
    rows = np.stack(kept) if kept else np.empty((0, len(columns)), np.float32)
    return bad, rows.astype(np.float64)


def _correlation(rows: Doubles) -> tuple[tuple[float | None, ...], ...]:
    """Spearman's between columns, whose tails are heavy; rows are clips."""
    if len(rows) < 2:
        return tuple((None,) * rows.shape[1] for _ in range(rows.shape[1]))
    ranks = rankdata(rows, axis=0)
    ranks -= ranks.mean(axis=0)
    norms = np.sqrt(np.square(ranks).sum(axis=0))
    products = ranks.T @ ranks
    scale = np.outer(norms, norms)
    return tuple(
        tuple(
            round(float(value / of), 4) if of > 0 else None
            for value, of in zip(row, of_row, strict=True)
        )
        for row, of_row in zip(products, scale, strict=True)
    )
