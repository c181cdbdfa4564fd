"""The street task: fourteen labels, any number at once, on mixtures over real background."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import from_levels
from edge_agent.records import Samples
from model_build import datasets, features
from model_build.augment import Bench, Drawer, Power, Recipe, to_levels
from model_build.datasets import Clip, Manifest, Skip
from model_build.features import Indices
from model_build.taxonomy import STREET, meaning

SETS = ("urbansound8k", "esc50", "esc50_clean", "ambient", "speech")
LABELS = tuple(sound.id for sound in STREET)
TEST_FOLDS = {"urbansound8k": 3, "esc50": 5, "esc50_clean": 5}
# Recordings without a fold: one in so many is the test's.
_HELD_OUT_ONE_IN = 4
# Of the recordings that are not the test's, thresholds are chosen on one event in so many. Of what
# is no event on more: a rate of false alarms needs hours.
_VALIDATION_ONE_IN = 8
_EVENT_FREE_ONE_IN = 4
PATCHES_PER_EPOCH = 10_000
TEST_SNRS_DB = (0.0, 6.0, 12.0, 20.0)

# How many events, other single sounds and how often no bed at all a training patch holds.
_EVENTS = (0.15, 0.6, 0.25)
_DISTRACTOR = 0.2
_NO_BED = 0.3
# What a label weighs beside the teacher's opinion, and the least event over bed at which a mixture
# still sounds like the event alone.
_LABEL = 0.5
_ALONE_DB = 15.0


class Sounds(msgspec.Struct, frozen=True, kw_only=True):
    """Clips of one side of the split, by what they are to the street."""

    events: tuple[tuple[Clip, ...], ...]
    """By label, in the order of `LABELS`."""
    beds: tuple[Clip, ...]
    distractors: tuple[Clip, ...]

    def clips(self) -> tuple[Clip, ...]:
        """All of them."""
        return (*(clip for of in self.events for clip in of), *self.beds, *self.distractors)


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """What the data folder gives to this task."""

    manifests: tuple[Manifest, ...]
    train: Sounds
    validation: Sounds
    """Nothing is learnt from it: thresholds are chosen on it."""
    test: Sounds
    skipped: tuple[Skip, ...]


def corpus(data: Path) -> Corpus:
    """Read the sets and split them three ways: no recording is on two sides, across sets, too.

    Raises:
        BuildError: A set is missing, or a label has no clip on one side.
    """
    manifests = tuple(datasets.read_manifest(data / f"{name}.csv", data) for name in SETS)
    clips = _without_copies([clip for manifest in manifests for clip in manifest.clips])
    train, validation, test = split(clips)
    return Corpus(
        manifests=manifests,
        train=_sounds(train, "training"),
        validation=_sounds(validation, "validation"),
        test=_sounds(test, "test"),
        skipped=tuple(skip for manifest in manifests for skip in manifest.skipped),
    )


def split(clips: Sequence[Clip]) -> tuple[tuple[Clip, ...], tuple[Clip, ...], tuple[Clip, ...]]:
    """Clips to learn from, to choose thresholds by, and to judge by; no two share a recording."""
    test = tuple(clip for clip in clips if _is_test(clip))
    rest = datasets.without_groups(
        (clip for clip in clips if not _is_test(clip)), datasets.groups(test)
    )
    held_out = _of_validation(rest)
    validation = tuple(clip for clip in rest if clip.group in held_out)
    return datasets.without_groups(rest, held_out), validation, test


def _without_copies(clips: Sequence[Clip]) -> list[Clip]:
    """The clips without the 8-bit copies of those whose original is there.

    Copies that lost their name are told by class and fold: the originals of a class are complete.
    """
    clean = [clip for clip in clips if clip.origin == "esc50_clean"]
    names = {Path(clip.path).name for clip in clean}
    whole = {(clip.label, clip.fold) for clip in clean}

    def is_copy(clip: Clip) -> bool:
        nameless = clip.group == clip.path and (clip.label, clip.fold) in whole
        return clip.origin == "esc50" and (Path(clip.path).name in names or nameless)

    return [clip for clip in clips if not is_copy(clip)]


def _is_test(clip: Clip) -> bool:
    fold = TEST_FOLDS.get(clip.origin)
    if fold is not None:
        return clip.fold == fold
    return datasets.held_out_group(clip.group, _HELD_OUT_ONE_IN)


def _of_validation(clips: Sequence[Clip]) -> frozenset[str]:
    """Recordings for validation: by label, or by set where a clip is no event.

    A clip that lost its recording's id may share it with another: such clips are only learnt from.
    """
    alike: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        what, label = meaning(clip.origin, clip.label)
        if clip.group != clip.path:
            alike[label or f"{what} {clip.origin}"].append(clip)
    drawn = (
        datasets.drawn_groups(of, _VALIDATION_ONE_IN if name in LABELS else _EVENT_FREE_ONE_IN)
        for name, of in alike.items()
    )
    return frozenset().union(*drawn)


def _sounds(clips: tuple[Clip, ...], side: str) -> Sounds:
    events: dict[str, list[Clip]] = {label: [] for label in LABELS}
    beds, distractors = [], []
    for clip in clips:
        what, label = meaning(clip.origin, clip.label)
        if what == "event" and label is not None:
            events[label].append(clip)
        elif what == "bed":
            beds.append(clip)
        elif what == "distractor":
            distractors.append(clip)
    for label, found in events.items():
        if not found:
            raise BuildError(
                f"the {side} side of the split has no clip of {label}",
                hint="Add recordings of it; `taxonomy.py` says from which set they are taken.",
            )
    return Sounds(
        events=tuple(tuple(found) for found in events.values()),
        beds=tuple(beds),
        distractors=tuple(distractors),
    )


def with_more(sounds: Sounds, clips: Sequence[Clip]) -> Sounds:
    """The sounds, and the events among clips of sets that are no part of the corpus."""
    more: dict[str, list[Clip]] = {label: [] for label in LABELS}
    for clip in clips:
        what, label = meaning(clip.origin, clip.label)
        if clip.origin not in SETS and what == "event" and label is not None:
            more[label].append(clip)
    both = zip(sounds.events, more.values(), strict=True)
    return msgspec.structs.replace(sounds, events=tuple((*of, *new) for of, new in both))


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a teacher says of the clips of a `Mixer`, patch by patch, in the order of its clips."""

    scores: Samples
    """(rows, labels)."""
    values: Samples
    """(rows, values), of the embedding."""
    starts: Indices
    """Those of clip i are `[starts[i]:starts[i + 1]]`."""
    settings: FrontendSettings

    def row(self, clip: int, frame: int) -> int:
        """The patch of a clip that lies nearest to the one that begins at `frame`."""
        first, last = self.starts[clip : clip + 2]
        # Frames begin in the silence before the clip (`features.frames`), patches behind it.
        behind = frame - self.settings.n_fft / self.settings.hop
        return int(np.clip(first + round(behind / self.settings.patch_hop), first, last - 1))


class _Part(msgspec.Struct, frozen=True):
    power: Power
    clip: int
    frame: int


class Mixer:
    """Draws mixtures of one side of the split.

    Args:
        sounds: The side.
        data: The folder of recordings.
        settings: The front end; its constants are not used here.
        cache: For the frames of the clips.
        recipe: How far patches are bent.
    """

    def __init__(
        self,
        sounds: Sounds,
        data: Path,
        settings: FrontendSettings,
        cache: Path,
        recipe: Recipe | None = None,
    ) -> None:
        recipe = recipe or Recipe()
        levels = msgspec.structs.replace(settings, kind="logmel")
        frames = features.frames(sounds.clips(), data, levels, cache)
        self.skipped = frames.skipped
        self.clips = frames.clips
        self._recipe = recipe
        self._floor = settings.floor_value
        self._drawer = Drawer(frames, settings)
        self._bench = Bench(features.white_noise(levels), recipe)
        audible = frames.rms_dbfs >= features.SILENT_DBFS
        self._events = [_where(audible, frames.chosen(of)) for of in sounds.events]
        self._beds = frames.chosen(sounds.beds)
        self._distractors = _where(audible, frames.chosen(sounds.distractors))
        self._shape = (settings.patch, settings.n_mels)

    def training(
        self,
        rng: np.random.Generator,
        settings: FrontendSettings,
        count: int = PATCHES_PER_EPOCH,
        told: Told | None = None,
    ) -> tuple[Samples, Samples]:
        """Mixtures to learn from: features (count, *shape), targets (count, labels).

        With a teacher, targets are what it says of the events mixed with their labels, and behind
        the labels stand the values of its embedding, or NaN where a mixture is another sound than
        the one that it heard.
        """
        levels = np.empty((count, *self._shape), np.float32)
        targets = np.zeros((count, len(LABELS)), np.float32)
        values = [] if told is None else [np.full((count, told.values.shape[1]), np.nan)]
        for row in range(count):
            chosen = rng.choice(len(LABELS), size=rng.choice(3, p=_EVENTS), replace=False)
            snrs_db = [float(rng.uniform(*self._recipe.snr)) for _ in chosen]
            bed_is_there = rng.random() >= _NO_BED
            distractor = rng.random() < _DISTRACTOR
            parts = self._parts(chosen, rng)
            targets[row] = _target(chosen, parts, told)
            alone = (
                len(parts) == 1 and not distractor and (not bed_is_there or snrs_db[0] >= _ALONE_DB)
            )
            if told is not None and alone:
                values[0][row] = told.values[told.row(parts[0].clip, parts[0].frame)]
            power = self._mixture(parts, snrs_db, rng, bed=bed_is_there, distractor=distractor)
            power = self._bench.bent(power, rng)
            power = self._bench.heard(power, float(rng.uniform(*self._recipe.level)), rng)
            levels[row] = self._bench.masked(to_levels(power, self._floor), rng)
        return from_levels(levels, settings), np.hstack([targets, *values]).astype(np.float32)

    def judging(
        self, per_label: int, seed: int, settings: FrontendSettings
    ) -> tuple[Samples, Samples]:
        """Mixtures to judge by: so many per label and SNR, and as many without any event.

        Every label has the same prevalence, since average precision depends on it.
        """
        rng = np.random.default_rng([seed, 2**30])
        plan = [
            (label, snr_db)
            for label in (*range(len(LABELS)), None)
            for snr_db in TEST_SNRS_DB
            for _ in range(per_label)
        ]
        levels = np.empty((len(plan), *self._shape), np.float32)
        targets = np.zeros((len(plan), len(LABELS)), np.float32)
        for row, (label, snr_db) in enumerate(plan):
            chosen = np.array([] if label is None else [label], dtype=np.int64)
            targets[row, chosen] = 1
            power = self._mixture(
                self._parts(chosen, rng),
                [snr_db] * len(chosen),
                rng,
                bed=True,
                distractor=label is None,
            )
            power = self._bench.heard(power, -25.0, rng)
            levels[row] = to_levels(power, self._floor)
        return from_levels(levels, settings), targets

    def _parts(self, labels: Indices, rng: np.random.Generator) -> list[_Part]:
        """A loud patch of an event of each label."""
        found = []
        for label in labels:
            clip = int(rng.choice(self._events[label]))
            power, frame = self._drawer.patch(clip, rng)
            found.append(_Part(power, clip, frame))
        return found

    def _mixture(
        self,
        parts: list[_Part],
        snrs_db: list[float],
        rng: np.random.Generator,
        *,
        bed: bool,
        distractor: bool,
    ) -> Power:
        over = [part.power for part in parts]
        under = np.zeros(self._shape, np.float32)
        if bed:
            under, _ = self._drawer.patch(int(rng.choice(self._beds)), rng)
        if distractor:
            power, _ = self._drawer.patch(int(rng.choice(self._distractors)), rng)
            over.append(power)
            snrs_db = [*snrs_db, float(rng.uniform(*self._recipe.snr))]
        return self._bench.mixed(over, snrs_db, under)


def _where(audible: npt.NDArray[np.bool_], clips: Indices) -> Indices:
    return clips[audible[clips]]


def _target(labels: Indices, parts: list[_Part], told: Told | None) -> Samples:
    """(labels,): which are there, or how sure label and teacher are together."""
    sure = np.zeros(len(LABELS), np.float32)
    for label, part in zip(labels, parts, strict=True):
        own = np.zeros(len(LABELS), np.float32)
        own[label] = 1
        if told is not None:
            said = told.scores[told.row(part.clip, part.frame)]
            own = _LABEL * own + (1 - _LABEL) * said
        sure = np.maximum(sure, own)
    return sure
