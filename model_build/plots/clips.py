"""What `evaluate` found as pictures: what was taken for what, and how far scores can be trusted."""

from pathlib import Path

import numpy as np

from model_build.evaluate import Evaluation
from model_build.plots.confusion import confusion
from model_build.plots.sheet import Sheet, save, sheet


def draw(found: Evaluation, folder: Path) -> list[Path]:
    """Write `confusion.svg` and `reliability.svg`, and give the files."""
    return [
        save(_confusion(found), folder, "confusion"),
        save(_reliability(found), folder, "reliability"),
    ]


def _confusion(found: Evaluation) -> Sheet:
    title = f"{found.n_clips} clips, accuracy {100 * found.accuracy:.1f} %"
    return confusion(np.array(found.confusion), found.labels, title)


def _reliability(found: Evaluation) -> Sheet:
    bins = found.reliability
    scores, shares = [one.score for one in bins], [one.share for one in bins]
    figure, axes = sheet(5.5, 5)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="as sure as right")
    axes.plot(scores, shares, marker="o", label="measured")
    for one in bins:
        axes.annotate(
            str(one.n), (one.score, one.share), (4, -12), textcoords="offset points", fontsize=7
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("mean score of a label over a clip")
    axes.set_ylabel("share of these clips that had the label")
    axes.set_title(f"expected calibration error {100 * found.calibration_error:.1f} points")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left")
    return figure
