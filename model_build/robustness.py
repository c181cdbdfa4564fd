"""How recognition fades as sound gets worse: the test's street scenes under each condition.

The scenes, the pipeline and the bundle's own thresholds are those of `certify`; only what lies
between loudspeaker and classifier differs.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np

from edge_agent.bundle import Bundle, load
from edge_agent.classifier import Classifier
from model_build import street
from model_build.certify import require_recordings, require_street
from model_build.conditions import CONDITIONS, Condition, converted
from model_build.datasets import Skip
from model_build.detection import listen
from model_build.event_metrics import summed
from model_build.judgement import compared
from model_build.psds import psds
from model_build.scenes import Plan, Streets
from model_build.streams import Stream

# 16 events a label, four at each SNR.
PLAN = Plan(scenes=8)

_log = logging.getLogger(__name__)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the scenes in one condition, 0 to 1."""

    macro_f1: float
    """Event-based, with the bundle's thresholds."""
    recall: float
    """Of all events."""
    psds: float
    """Of the scores alone."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One condition, from mild to severe."""

    condition: str
    title: str
    values: tuple[float, ...]
    points: tuple[Point, ...]


class Robustness(msgspec.Struct, frozen=True, kw_only=True):
    """What `robustness` found."""

    model: str
    model_sha256: str
    seed: int
    streams_sha256: str
    events: int
    as_made: Point
    """The scenes without any condition."""
    curves: tuple[Curve, ...]
    skipped: tuple[Skip, ...]


def robustness(
    model: Path,
    data: Path,
    *,
    seed: int = 0,
    plan: Plan | None = None,
    conditions: Sequence[Condition] = CONDITIONS,
) -> Robustness:
    """Play the test's scenes to a bundle in every condition.

    Args:
        model: The bundle's folder.
        data: The folder of recordings.
        seed: Of all draws.
        plan: Of the street scenes; by default `PLAN`.
        conditions: Which.

    Raises:
        BundleError: The bundle cannot be used.
        BuildError: There are no recordings, or a label has too few of them.
    """
    bundle = load(model)
    require_street(bundle)
    require_recordings(data)
    corpus = street.corpus(data)
    streets = Streets("test", corpus.test, data, seed, plan or PLAN)
    scenes = tuple(streets.scenes())
    ears = _Ears(bundle, seed)
    return Robustness(
        model=bundle.name,
        model_sha256=bundle.model_sha256,
        seed=seed,
        streams_sha256=hashlib.sha256("\n".join(s.sha256 for s in scenes).encode()).hexdigest(),
        events=sum(len(scene.events) for scene in scenes),
        as_made=ears.point(scenes),
        curves=tuple(ears.curve(scenes, condition) for condition in conditions),
        skipped=(*corpus.skipped, *streets.skipped),
    )


class _Ears:
    def __init__(self, bundle: Bundle, seed: int) -> None:
        self._bundle = bundle
        self._classifier = Classifier(bundle)
        self._seed = seed

    def curve(self, scenes: Sequence[Stream], condition: Condition) -> Curve:
        points = []
        for value in condition.values:
            # The same noise and the same room for every value, or their draw would show.
            rng = np.random.default_rng([self._seed, 3])
            worse = [
                msgspec.structs.replace(
                    scene, samples=converted(condition.apply(scene.samples, value, rng))
                )
                for scene in scenes
            ]
            points.append(self.point(worse))
            _log.info("%s %g: macro F1 %.3f", condition.id, value, points[-1].macro_f1)
        return Curve(
            condition=condition.id,
            title=condition.title,
            values=condition.values,
            points=tuple(points),
        )

    def point(self, scenes: Sequence[Stream]) -> Point:
        heard = [listen(scene, self._bundle, self._classifier) for scene in scenes]
        counts = [compared(label, heard)[0] for label in self._bundle.labels]
        return Point(
            macro_f1=fmean(one.f1 for one in counts if one.f1 is not None),
            recall=summed(counts).recall or 0.0,
            psds=psds(heard, [label.id for label in self._bundle.labels])[0],
        )
