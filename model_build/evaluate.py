"""How well a bundle names recordings, through the device's own front end and classifier.

A clip takes the street's way: to 48 kHz, to the model's rate, into patches, through the int8
network. Its scores are the mean over its patches; its label is the best of those that manifest and
model share. Neither TensorFlow nor librosa is needed, so a device can do this, too.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.bundle import Bundle, load
from edge_agent.classifier import Classifier
from edge_agent.errors import AudioError, BuildError
from edge_agent.frontend import Patches
from model_build import metrics
from model_build.datasets import Clip, Skip, read_manifest
from model_build.features import heard, looped


class LabelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How well one label is found; None where nothing can be said."""

    n: int
    """Clips of this label."""
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What `evaluate` found; `labels` orders the confusion matrix, truth in rows."""

    accuracy: float
    macro_f1: float
    weighted_f1: float
    """Each label with the weight of its clips."""
    folds: dict[str, float]
    """Accuracy on the clips of each fold; empty where the manifest has none."""
    calibration_error: float
    """Of all scores of the shared labels, each a yes or no; expected calibration error."""
    reliability: tuple[metrics.Bin, ...]
    per_class: dict[str, LabelFigures]
    confusion: list[list[int]]
    labels: tuple[str, ...]
    n_clips: int
    skipped: tuple[Skip, ...]
    model_sha256: str


def evaluate(
    model: Path,
    manifest: Path,
    root: Path,
    *,
    fold: int | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Evaluation:
    """Judge the bundle in `model` by the clips of a manifest.

    Args:
        model: The bundle's folder.
        manifest: CSV with `path`, `label` and, where there are folds, `fold`.
        root: The folder that `path` is relative to.
        fold: Only the clips of this fold.
        renamed: The manifest's labels to the model's, where they differ.

    Raises:
        BundleError: The bundle cannot be used.
        BuildError: The manifest cannot, it shares no label with the model, or no clip is left.
    """
    bundle = load(model)
    listed = read_manifest(manifest, root)
    clips = _renamed(manifest, bundle, listed.clips, renamed or {})
    shared = _shared(manifest, bundle, clips)
    wanted = [clip for clip in clips if fold is None or clip.fold == fold]
    _require_fold(manifest, fold, clips, wanted)
    used, scores, skipped = _score(bundle, wanted, root, shared)
    all_skipped = (*listed.skipped, *skipped)
    if not used:
        raise BuildError(
            f"{manifest}: none of its {len(wanted)} clips can be judged ({all_skipped[0].reason})",
            hint="Mend the first reason; --json lists them all when at least one clip is left.",
        )
    return _figures(shared, used, scores, all_skipped, bundle.model_sha256)


def parse_map(text: str) -> dict[str, str]:
    """`theirs=ours,...` as a mapping of labels.

    Raises:
        BuildError: A pair has another form, or a label is mapped twice.
    """
    pairs: dict[str, str] = {}
    for pair in text.split(","):
        theirs, equals, ours = (part.strip() for part in pair.partition("="))
        if not (theirs and equals and ours) or theirs in pairs:
            raise BuildError(
                f"--map: {pair.strip()!r} is not of the form theirs=ours, or stands there twice",
                hint="Write each of the manifest's labels once: --map dog=dog_bark,engine=traffic",
            )
        pairs[theirs] = ours
    return pairs


def _renamed(
    manifest: Path, bundle: Bundle, clips: tuple[Clip, ...], renamed: Mapping[str, str]
) -> list[Clip]:
    theirs, ours = {clip.label for clip in clips}, {label.id for label in bundle.labels}
    for label, target in renamed.items():
        if label not in theirs:
            raise BuildError(
                f"--map: {manifest} has no label {label!r}",
                hint=f"Its labels are {', '.join(sorted(theirs))}.",
            )
        if target not in ours:
            raise BuildError(
                f"--map: the model {bundle.name} has no label {target!r}",
                hint=f"Its labels are {', '.join(sorted(ours))}.",
            )
    return [
        msgspec.structs.replace(clip, label=renamed.get(clip.label, clip.label)) for clip in clips
    ]


def _shared(manifest: Path, bundle: Bundle, clips: list[Clip]) -> tuple[str, ...]:
    theirs = {clip.label for clip in clips}
    shared = tuple(label.id for label in bundle.labels if label.id in theirs)
    if not shared:
        raise BuildError(
            f"{manifest}: shares no label with the model {bundle.name}; it has "
            f"{', '.join(sorted(theirs))}",
            hint="Map them by --map theirs=ours to "
            f"{', '.join(label.id for label in bundle.labels)}.",
        )
    return shared


def _require_fold(manifest: Path, fold: int | None, clips: list[Clip], wanted: list[Clip]) -> None:
    if wanted:
        return
    folds = sorted({clip.fold for clip in clips if clip.fold is not None})
    raise BuildError(
        f"{manifest}: no clip of fold {fold}",
        hint=f"Its folds are {', '.join(map(str, folds))}."
        if folds
        else "It has no folds: leave --fold out, or add the column `fold`.",
    )


def _score(
    bundle: Bundle, clips: list[Clip], root: Path, shared: tuple[str, ...]
) -> tuple[list[Clip], npt.NDArray[np.float64], list[Skip]]:
    """The clips that were scored, their mean scores (n, shared) and what was skipped."""
    classifier = Classifier(bundle)
    patches = Patches(bundle.frontend)
    columns = [classifier.labels.index(label) for label in shared]
    used: list[Clip] = []
    scores: list[npt.NDArray[np.float64]] = []
    skipped: list[Skip] = []
    for clip in clips:
        if clip.label not in shared:
            reason = f"the model has no label {clip.label!r}"
            skipped.append(Skip(path=clip.path, reason=reason))
            continue
        try:
            sound = heard(root / clip.path, bundle.frontend.rate)
        except AudioError as error:
            skipped.append(Skip(path=clip.path, reason=error.message))
            continue
        features = patches.batch(looped(sound, patches.span))
        if not len(features):
            skipped.append(Skip(path=clip.path, reason="too short to hold a sample at that rate"))
            continue
        of_patches = np.stack([classifier.scores(patch) for patch in features])
        scores.append(of_patches.mean(axis=0, dtype=np.float64)[columns])
        used.append(clip)
    table = np.array(scores, np.float64).reshape(-1, len(shared))
    return used, table, skipped


def _figures(
    labels: tuple[str, ...],
    clips: list[Clip],
    scores: npt.NDArray[np.float64],
    skipped: tuple[Skip, ...],
    model_sha256: str,
) -> Evaluation:
    truth = np.array([labels.index(clip.label) for clip in clips], np.intp)
    guess = scores.argmax(axis=1)
    counts = metrics.confusion(truth, guess, len(labels))
    f1 = metrics.f1(counts)
    precision, recall = metrics.precision(counts), metrics.recall(counts)
    per_class = {
        label: LabelFigures(
            n=int(counts[i].sum()),
            precision=_known(precision[i]),
            recall=_known(recall[i]),
            f1=_known(f1[i]),
            average_precision=_known(metrics.average_precision(truth == i, scores[:, i])),
        )
        for i, label in enumerate(labels)
    }
    bins = metrics.reliability((truth[:, None] == np.arange(len(labels))).ravel(), scores.ravel())
    return Evaluation(
        accuracy=metrics.accuracy(counts),
        macro_f1=metrics.macro(f1),
        weighted_f1=metrics.weighted(f1, counts),
        folds=_by_fold(clips, truth == guess),
        calibration_error=metrics.calibration_error(bins),
        reliability=bins,
        per_class=per_class,
        confusion=counts.tolist(),
        labels=labels,
        n_clips=int(truth.size),
        skipped=skipped,
        model_sha256=model_sha256,
    )


def _by_fold(clips: list[Clip], right: metrics.Flags) -> dict[str, float]:
    found: dict[str, float] = {}
    for fold in sorted({clip.fold for clip in clips if clip.fold is not None}):
        found[str(fold)] = float(right[[clip.fold == fold for clip in clips]].mean())
    return found


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)
