"""Manifests of recordings, and splits that keep a recording on one side.

A manifest is a CSV with the columns `path` and `label`; `fold`, `freesound_id` or `group` and the
rest are optional. Clips cut from one recording share its Freesound id or group, which holds across
data sets; a clip without either is its own group.
"""

import csv
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.errors import BuildError

_READ = ("path", "label", "fold", "freesound_id", "group")
# What our own manifests tell people.
_TOLD = ("seconds", "peak_dbfs", "rms_dbfs", "teacher_hears")

_log = logging.getLogger(__name__)


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """A labelled recording.

    `path` is relative to the data's root, `origin` the data set's name, `group` the recording that
    it was cut from.
    """

    path: str
    label: str
    origin: str
    group: str
    fold: int | None = None


class Skip(msgspec.Struct, frozen=True, kw_only=True):
    """A clip that is not used, and why."""

    path: str
    reason: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a CSV lists: clips that can be used, and those that cannot."""

    name: str
    sha256: str
    clips: tuple[Clip, ...]
    skipped: tuple[Skip, ...]


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Clips to learn from and clips to judge by."""

    name: str
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]


def read_manifest(path: Path, root: Path) -> Manifest:
    """Read a manifest; clips that are missing under `root` are skipped with the reason.

    Args:
        path: The CSV.
        root: The folder that the column `path` is relative to.

    Raises:
        BuildError: The file cannot be read, a column is missing, or no clip is left.
    """
    data, rows = read_rows(path)
    clips: list[Clip] = []
    skipped: list[Skip] = []
    for number, row in enumerate(rows, start=2):
        found = clip_of(path, number, row, root)
        if isinstance(found, Clip):
            clips.append(found)
        else:
            skipped.append(found)
    if not clips:
        raise BuildError(
            f"{path}: none of its {len(rows)} clips can be used ({skipped[0].reason})",
            hint=f"The column `path` must be relative to {root}.",
        )
    digest = hashlib.sha256(data).hexdigest()
    return Manifest(name=path.stem, sha256=digest, clips=tuple(clips), skipped=tuple(skipped))


def read_rows(path: Path) -> tuple[bytes, list[dict[str, str]]]:
    """A manifest's bytes and its rows by column; a field that a short row lacks is None.

    Raises:
        BuildError: The file cannot be read, a column is missing, or there is no row.
    """
    try:
        data = path.read_bytes()
        rows = _rows(path, data.decode("utf-8-sig"))
    except OSError as error:
        raise BuildError(
            f"{path}: cannot be read ({error.strerror})", hint="Give the manifest's CSV file."
        ) from error
    except UnicodeDecodeError as error:
        raise BuildError(
            f"{path}: byte {error.start} is not UTF-8", hint="Save the manifest as UTF-8."
        ) from error
    _check_columns(path, rows)
    return data, rows


def _rows(path: Path, text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(text.splitlines())
    try:
        return list(reader)
    except csv.Error as error:
        raise BuildError(
            f"{path}:{reader.reader.line_num}: is not CSV: {error}",
            hint="Check quotes and commas there.",
        ) from error


def _check_columns(path: Path, rows: Sequence[dict[str, str]]) -> None:
    if not rows:
        raise BuildError(f"{path}: has no rows", hint="Each row names a clip: path,label[,fold].")
    missing = [name for name in ("path", "label") if name not in rows[0]]
    if missing:
        raise BuildError(
            f"{path}: no column `{missing[0]}`, only {', '.join(rows[0])}",
            hint="The first line must name the columns `path` and `label`; `fold` is optional.",
        )
    unread = [str(name) for name in rows[0] if name not in (*_READ, *_TOLD)]
    if unread:
        _log.warning(
            "%s: not read: column %s; known are %s", path, ", ".join(unread), ", ".join(_READ)
        )


def clip_of(path: Path, number: int, row: dict[str, str], root: Path) -> Clip | Skip:
    """A row's clip, or why it is none.

    Args:
        path: Of the manifest.
        number: Of its line, for the reason.
        row: By column.
        root: The folder that the clip's path is relative to.

    Raises:
        BuildError: The fold is not a number.
    """
    name, label = row["path"] or "", row["label"] or ""
    if not name or not label:
        return Skip(path=name, reason=f"line {number} of {path.name} has no path or no label")
    if not (root / name).is_file():
        return Skip(path=name, reason="no such file")
    group = row.get("freesound_id") or row.get("group") or name
    fold = row.get("fold") or ""
    if fold and not fold.isdecimal():
        raise BuildError(
            f"{path}:{number}: fold `{fold}` is not a number",
            hint="Folds are whole numbers; leave the field empty for a clip without one.",
        )
    return Clip(
        path=name,
        label=label,
        origin=path.stem,
        group=group,
        fold=int(fold) if fold else None,
    )


def groups(clips: Iterable[Clip]) -> frozenset[str]:
    """The recordings that the clips were cut from."""
    return frozenset(clip.group for clip in clips)


def without_groups(clips: Iterable[Clip], taken: frozenset[str]) -> tuple[Clip, ...]:
    """The clips whose recording is not among those taken."""
    return tuple(clip for clip in clips if clip.group not in taken)


def in_one_fold(clips: Sequence[Clip]) -> tuple[tuple[Clip, ...], tuple[Skip, ...]]:
    """The clips without those of a recording that lies in two folds, and these with the reason."""
    folds: dict[str, set[int]] = defaultdict(set)
    for clip in clips:
        if clip.fold is not None:
            folds[clip.group].add(clip.fold)
    torn = {group: found for group, found in folds.items() if len(found) > 1}
    skipped = tuple(
        Skip(
            path=clip.path,
            reason=f"recording {clip.group} lies in folds "
            + " and ".join(map(str, sorted(torn[clip.group]))),
        )
        for clip in clips
        if clip.group in torn
    )
    return without_groups(clips, frozenset(torn)), skipped


def by_fold(clips: Sequence[Clip]) -> tuple[Split, ...]:
    """One split per fold: it is the test, the others the training.

    Raises:
        BuildError: There are fewer than two folds, a recording lies in two of them, or a class is
            missing from a training side.
    """
    folds = sorted({clip.fold for clip in clips if clip.fold is not None})
    if len(folds) < 2:
        raise BuildError(
            f"{len(folds)} fold(s) in {len(clips)} clips: two or more are needed",
            hint="Fill the manifest's column `fold` with the data set's official folds.",
        )
    return tuple(_fold_against_rest(clips, fold) for fold in folds)


def _fold_against_rest(clips: Sequence[Clip], fold: int) -> Split:
    name = f"fold {fold}"
    with_fold = [clip for clip in clips if clip.fold is not None]
    train = tuple(clip for clip in with_fold if clip.fold != fold)
    test = tuple(clip for clip in with_fold if clip.fold == fold)
    shared = groups(train) & groups(test)
    if shared:
        raise BuildError(
            f"{name}: recording {min(shared)} is in another fold, too",
            hint="Keep all clips of a recording in one fold.",
        )
    unlearnt = {clip.label for clip in test} - {clip.label for clip in train}
    if unlearnt:
        raise BuildError(
            f"{name}: class {min(unlearnt)} has no clip outside this fold",
            hint="Leave the class out, or give it clips in two folds.",
        )
    return Split(name=name, train=train, test=test)


def random_clips(clips: Sequence[Clip], share: float, rng: np.random.Generator) -> Split:
    """A split that ignores recordings: how flattering it is, is all that it is good for.

    Args:
        clips: What to split.
        share: Of the clips, for the test, 0 to 1.
        rng: Who draws.
    """
    order = rng.permutation(len(clips))
    n_test = round(share * len(clips))
    test = [clips[index] for index in sorted(order[:n_test])]
    train = [clips[index] for index in sorted(order[n_test:])]
    return Split(name="random clips", train=tuple(train), test=tuple(test))


def held_out_group(group: str, one_in: int) -> bool:
    """Whether a recording without a fold belongs to the test: a fixed draw by its name."""
    digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest[:4], "big") % one_in == 0


def drawn_groups(clips: Iterable[Clip], one_in: int) -> frozenset[str]:
    """One recording in so many, two at least, never all: a fixed draw by their names.

    A recording that holds more than a quarter of the clips is never drawn, as too little would be
    left to learn from.
    """
    sizes = Counter(clip.group for clip in clips)
    small = [group for group, size in sizes.items() if 4 * size <= sizes.total()]
    small.sort(key=lambda group: hashlib.sha256(group.encode()).digest())
    wanted = max(2, -(-len(sizes) // one_in))
    return frozenset(small[: min(wanted, len(sizes) - 1)])


def list_sha256(clips: Iterable[Clip]) -> str:
    """SHA-256 of the paths in their order: names caches, and says what a model learnt from."""
    return hashlib.sha256("\n".join(clip.path for clip in clips).encode()).hexdigest()
