"""The laboratory's tasks: clips with one label and a fold each, and what lacks of the whole set.

Beside the official sets there is one built from labels at hand: is it music, speech or noise? Its
sources have no folds, so each recording is dealt into one of three.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from model_build import datasets, tasks
from model_build.datasets import Clip, Skip
from model_build.tasks import ESC50, URBANSOUND8K

_FOLDS = 3


class LabTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task by its name."""

    title: str
    folds: str
    """What its folds are, in words."""
    clips: int | None = None
    """In the whole set; None: there is no whole."""
    official_folds: int = 0
    note: str = ""
    """What else differs here from the set as it was published."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A task as far as it is here."""

    clips: tuple[Clip, ...]
    skipped: tuple[Skip, ...]
    missing: tuple[str, ...]
    """In sentences."""


THREE_WAY = "music_speech_noise"

TASKS = {
    URBANSOUND8K.id: LabTask(
        title="UrbanSound8K, ten classes",
        folds="official folds",
        clips=8732,
        official_folds=10,
    ),
    ESC50.id: LabTask(
        title="ESC-50, fifty classes",
        folds="official folds",
        clips=2000,
        official_folds=5,
    ),
    THREE_WAY: LabTask(
        title="music, speech or noise, from labels at hand",
        folds="folds by recording",
    ),
}

# Which labels of which set are what. Of `ambient`, places where people talk are left out; of
# ESC-50 the clean copies alone are taken, as 8 bits would give the noise away.
_SOURCES: dict[str, dict[str, str]] = {
    "music": {"music": "music"},
    "speech": {"speech": "speech"},
    "urbansound8k": {
        "street_music": "music",
        "air_conditioner": "noise",
        "drilling": "noise",
        "engine_idling": "noise",
        "jackhammer": "noise",
    },
    "esc50_clean": dict.fromkeys(
        ("rain", "sea_waves", "crackling_fire", "thunderstorm", "helicopter", "chainsaw"), "noise"
    ),
}


def read(name: str, data: Path) -> Given:
    """A task's clips; those of a recording that lies in two folds are skipped.

    Args:
        name: A key of `TASKS`.
        data: The folder of recordings.

    Raises:
        BuildError: A manifest is missing or cannot be read.
    """
    if name == THREE_WAY:
        return _three_way(data)
    manifest = tasks.read(tasks.TASKS[name], data)
    return Given(
        clips=manifest.clips,
        skipped=manifest.skipped,
        missing=tuple(_missing(TASKS[name], manifest.clips, len(manifest.skipped))),
    )


def _missing(task: LabTask, clips: Sequence[Clip], skipped: int) -> Iterable[str]:
    listed = len(clips) + skipped
    if task.clips is not None and listed < task.clips:
        folds = {clip.fold for clip in clips if clip.fold is not None}
        yield (
            f"{listed} of {task.clips} clips are here, in {len(folds)} of "
            f"{task.official_folds} folds."
        )


def _three_way(data: Path) -> Given:
    clips: list[Clip] = []
    skipped: list[Skip] = []
    for name, meaning in _SOURCES.items():
        manifest = datasets.read_manifest(data / f"{name}.csv", data)
        skipped += manifest.skipped
        clips += [
            msgspec.structs.replace(clip, label=meaning[clip.label])
            for clip in manifest.clips
            if clip.label in meaning
        ]
    return Given(clips=dealt(clips, _FOLDS), skipped=tuple(skipped), missing=())


def dealt(clips: Sequence[Clip], folds: int) -> tuple[Clip, ...]:
    """The clips with a fold for each: recordings whole, each class spread as evenly as they allow.

    Large recordings are dealt first, each into the fold that has the fewest clips of its class;
    equals go by a hash of their name.
    """
    members: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        members[clip.group].append(clip)
    order = sorted(
        members,
        key=lambda group: (-len(members[group]), hashlib.sha256(group.encode()).digest()),
    )
    filled: Counter[tuple[str, int]] = Counter()
    chosen: dict[str, int] = {}
    for group in order:
        label = Counter(clip.label for clip in members[group]).most_common(1)[0][0]
        fold = min(range(1, folds + 1), key=lambda fold: (filled[label, fold], fold))
        filled[label, fold] += len(members[group])
        chosen[group] = fold
    return tuple(msgspec.structs.replace(clip, fold=chosen[clip.group]) for clip in clips)
