"""What `evaluate` found, for programs and for people."""

from statistics import pstdev

import msgspec

from model_build.datasets import Skip
from model_build.evaluate import Evaluation


def as_json(found: Evaluation) -> str:
    """One object on one line."""
    return msgspec.json.encode(found).decode()


def as_text(found: Evaluation) -> str:
    """For people: figures, a table of labels, the confusion matrix, and what was skipped."""
    width = max(len(name) for name in found.labels)
    lines = [
        f"model      {found.model_sha256}",
        f"clips      {found.n_clips} used, {len(found.skipped)} skipped",
        f"accuracy   {100 * found.accuracy:.1f} %",
        *_folds_as_text(found.folds),
        f"F1         {100 * found.macro_f1:.1f} % macro, {100 * found.weighted_f1:.1f} % weighted",
        f"ECE        {100 * found.calibration_error:.1f} points",
        "",
        f"{'label':{width}}  clips  precision  recall     F1     AP",
    ]
    for name, row in found.per_class.items():
        shown = (row.precision, row.recall, row.f1, row.average_precision)
        cells = [" -" if value is None else f"{100 * value:.1f}" for value in shown]
        lines.append(
            f"{name:{width}}  {row.n:5}  {cells[0]:>9}  {cells[1]:>6}  {cells[2]:>5}  {cells[3]:>5}"
        )
    digits = max(len(str(count)) for row in found.confusion for count in row)
    lines += ["", "confusion, a row for each true label, columns in the same order"]
    for name, counts in zip(found.labels, found.confusion, strict=True):
        lines.append(f"{name:{width}}  {' '.join(f'{count:{digits}}' for count in counts)}")
    lines += ["", *_skips_as_text(found.skipped)]
    return "\n".join(lines).rstrip()


def _folds_as_text(folds: dict[str, float]) -> list[str]:
    if len(folds) < 2:
        return []
    each = ", ".join(f"{fold}: {100 * value:.1f}" for fold, value in folds.items())
    return [f"by fold    {each} %, spread {100 * pstdev(folds.values()):.1f}"]


def _skips_as_text(skipped: tuple[Skip, ...]) -> list[str]:
    return [f"skipped {skip.path}: {skip.reason}" for skip in skipped]
