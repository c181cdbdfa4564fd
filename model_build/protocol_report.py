"""What models reached under the protocol, as a table."""

from collections.abc import Sequence

from model_build.datasets import Skip
from model_build.protocol import Figures, Outcome


def as_text(outcomes: Sequence[Outcome], skipped: Sequence[Skip]) -> str:
    """For people: a row for each model, the flattering figures beside the honest ones."""
    width = max(len(one.model) for one in outcomes)
    first = outcomes[0]
    folds, clips, random = len(first.folds), first.leak_free.clips, first.random.clips
    honest_side = f"leak-free: {folds} official folds, {clips} clips"
    columns = "accuracy (folds)  macro F1  weighted  minority  majority"
    lines = [
        f"{'':{width}}  {honest_side:{len(columns)}}  random: {random} clips, flatters",
        f"{'model':{width}}  {columns}  accuracy  macro F1",
    ]
    for one in outcomes:
        honest, random_one = one.leak_free, one.random
        lines.append(
            f"{one.model:{width}}  {_percent(honest.accuracy)} +- {100 * one.spread:4.1f}    "
            f"{_rest(honest)}  {_percent(random_one.accuracy):>8}  "
            f"{_percent(random_one.macro_f1):>8}"
        )
    lines += ["", "percent; minority, majority: recall of the smallest and the largest class"]
    lines += [f"skipped {skip.path}: {skip.reason}" for skip in skipped]
    return "\n".join(lines)


def _rest(found: Figures) -> str:
    values = (found.macro_f1, found.weighted_f1, found.minority_recall, found.majority_recall)
    return "  ".join(f"{_percent(value):>8}" for value in values)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
