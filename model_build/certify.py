"""Thresholds chosen on validation streams, judged once on test streams, written into the bundle.

Everything goes through the agent's own pipeline with the int8 classifier. Validation and test share
no recording, and the test's streams are not made before every threshold is settled.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from edge_agent.bundle import Bundle, load
from edge_agent.classifier import Classifier
from edge_agent.errors import BuildError
from edge_agent.labels import Label
from edge_agent.modelfile import Thresholds
from model_build import bundlefiles, certify_metrics, site, streams, street
from model_build.datasets import Clip, Skip
from model_build.detection import Heard, listen
from model_build.judgement import Apart, Judgement, judge
from model_build.scenes import Plan, Streets
from model_build.streams import Stream
from model_build.taxonomy import LIKE_AN_EVENT, STREET
from model_build.thresholds import Listener, Trial, allotted

BUDGET_PER_DAY = 10.0
# 32 events a label and side, eight at each SNR: a step of recall is three points.
PLAN = Plan(scenes=16)

_log = logging.getLogger(__name__)


class Certification(msgspec.Struct, frozen=True, kw_only=True):
    """What `certify` found."""

    model: str
    model_sha256: str
    """Of the network, which stays as it was."""
    seed: int
    budget_per_day: float
    """For all labels together."""
    thresholds: Thresholds
    chosen: dict[str, Trial]
    """By label, as found on validation."""
    validation_hours: float
    """Of event-free sound."""
    allowed: int
    """Alarms that the budget allows in them, all labels together."""
    test: Judgement
    apart: tuple[Apart, ...]
    skipped: tuple[Skip, ...]
    """Recordings that could not be used."""
    excluded: tuple[Skip, ...]
    """Recordings that were left out of the counting, by rule."""


class _Side:
    """What was heard of one side, and what could not be."""

    def __init__(self, bundle: Bundle, classifier: Classifier) -> None:
        self._bundle = bundle
        self._classifier = classifier
        self.skipped: list[Skip] = []
        self.digests: list[str] = []

    def heard(self, made: Iterable[Stream]) -> tuple[Heard, ...]:
        return tuple(self._listened(made))

    def _listened(self, made: Iterable[Stream]) -> Iterator[Heard]:
        for stream in made:
            self.digests.append(stream.sha256)
            heard = listen(stream, self._bundle, self._classifier)
            _log.info("%s: %.0f s, %d events told", stream.name, heard.seconds, len(heard.spans))
            yield heard


def certify(
    model: Path,
    data: Path,
    *,
    budget_per_day: float = BUDGET_PER_DAY,
    seed: int = 0,
    plan: Plan | None = None,
    ambient: Path | None = None,
    command: str = "model-build certify",
    write: bool = True,
) -> tuple[Certification, tuple[Listener, ...]]:
    """Choose a bundle's thresholds, judge them, and write them into its folder.

    Args:
        model: The bundle's folder.
        data: The folder of recordings.
        budget_per_day: False alarms that are allowed, all labels together.
        seed: Of all draws.
        plan: Of the street scenes; by default `PLAN`.
        ambient: A folder of the user's own recordings in which no listed sound is heard.
        command: What the user typed, for the card.
        write: False leaves the bundle as it is.

    Returns:
        What was found, and the labels on their validation streams.

    Raises:
        BundleError: The bundle cannot be used.
        BuildError: There are no recordings, or a label has too few on one side.
    """
    plan = plan or PLAN
    bundle = load(model)
    require_street(bundle)
    require_recordings(data)
    corpus = street.corpus(data)
    place = site.recordings(ambient) if ambient else site.Site()
    classifier = Classifier(bundle)
    validation = _Side(bundle, classifier)
    scenes, free = _played(
        validation, "validation", corpus.validation, data, seed, plan, (), place.validation
    )
    listeners = tuple(Listener(label, at, scenes, free) for at, label in enumerate(bundle.labels))
    hours = sum(stream.seconds for stream in free) / 3600
    allowed = int(budget_per_day / 24 * hours)
    trials = allotted(listeners, allowed, [sound.id for sound in STREET if sound.urgent])
    chosen = {label.id: trial for label, trial in zip(bundle.labels, trials, strict=True)}
    for name, trial in chosen.items():
        _log.info(
            "%s: on %.3f, off %.3f, %d of %d, %d alarms on validation",
            *(name, trial.on, trial.off, trial.n, trial.m, trial.alarms),
        )
    labels = tuple(_with(label, chosen[label.id]) for label in bundle.labels)
    test = _Side(msgspec.structs.replace(bundle, labels=labels), classifier)
    extra, excluded = streams.evaluation_background(data)
    test_scenes, test_free = _played(test, "test", corpus.test, data, seed, plan, extra, place.test)
    judged = judge(labels, test_scenes, test_free, budget_per_day)
    apart = tuple(_apart(test, corpus.test.distractors, data, seed))
    digests = "\n".join([*validation.digests, *test.digests])
    thresholds = Thresholds(
        budget_per_day=budget_per_day,
        streams_sha256=hashlib.sha256(digests.encode()).hexdigest(),
        hours=round(judged.alarms.hours, 4),
        bound_per_day=round(judged.alarms.bound_per_day, 2),
        proven=judged.alarms.proven,
    )
    if write:
        metrics = certify_metrics.renewed(bundle.record.metrics, judged, apart, seed, command)
        bundlefiles.with_thresholds(bundle, labels, thresholds, metrics)
    found = Certification(
        model=bundle.name,
        model_sha256=bundle.model_sha256,
        seed=seed,
        budget_per_day=budget_per_day,
        thresholds=thresholds,
        chosen=chosen,
        validation_hours=hours,
        allowed=allowed,
        test=judged,
        apart=apart,
        skipped=_once([*corpus.skipped, *place.skipped, *validation.skipped, *test.skipped]),
        excluded=excluded,
    )
    return found, listeners


def _played(
    side: _Side,
    name: str,
    sounds: street.Sounds,
    data: Path,
    seed: int,
    plan: Plan,
    extra: Sequence[Clip],
    own: Sequence[Path],
) -> tuple[tuple[Heard, ...], tuple[Heard, ...]]:
    streets = Streets(name, sounds, data, seed, plan)
    scenes = side.heard(streets.scenes())
    known = (*sounds.beds, *sounds.distractors, *extra)
    background = [clip for clip in known if clip.label not in LIKE_AN_EVENT]
    made = streams.event_free(name, background, data, seed, side.skipped)
    free = side.heard(chain(made, site.streams(own, side.skipped)))
    side.skipped += streets.skipped
    if not free:
        raise BuildError(
            f"the {name} side has no event-free sound: no false alarm can be counted",
            hint="Add background; `BEDS` in taxonomy.py says which labels are background.",
        )
    return scenes, free


def _apart(side: _Side, sounds: Sequence[Clip], data: Path, seed: int) -> Iterator[Apart]:
    for sound in LIKE_AN_EVENT:
        clips = [clip for clip in sounds if clip.label == sound]
        heard = side.heard(streams.event_free(sound, clips, data, seed, side.skipped))
        told = Counter(span.label for stream in heard for span in stream.spans)
        if clips:
            yield Apart(sound=sound, recordings=len(clips), told=dict(told.most_common()))


def _with(label: Label, trial: Trial) -> Label:
    return msgspec.structs.replace(label, on=trial.on, off=trial.off, n=trial.n, m=trial.m)


def _once(skipped: Iterable[Skip]) -> tuple[Skip, ...]:
    return tuple({skip.path: skip for skip in skipped}.values())


def require_street(bundle: Bundle) -> None:
    """Raise BuildError for a model of other labels."""
    found = tuple(label.id for label in bundle.labels)
    if found != street.LABELS:
        raise BuildError(
            f"{bundle.folder}: is no street model, its labels are {', '.join(found)}",
            hint=f"Streams are made for {', '.join(street.LABELS)}, in this order.",
        )


def require_recordings(data: Path) -> None:
    """Raise BuildError for a folder without any of the street's sets."""
    if not any((data / f"{name}.csv").is_file() for name in street.SETS):
        raise BuildError(
            f"{data}: holds no recordings (no {street.SETS[0]}.csv or other manifest)",
            hint="Give the folder with the manifests by --data or EARSHOT_DATA.",
        )
