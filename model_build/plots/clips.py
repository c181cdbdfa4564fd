"""What `evaluate` found as pictures: what was taken for what, and how far scores can be trusted."""

from pathlib import Path

import numpy as np

from model_build.evaluate import Evaluation
from model_build.plots.sheet import Sheet, save, sheet


def draw(found: Evaluation, folder: Path) -> list[Path]:
    """Write `confusion.svg` and `reliability.svg`, and give the files."""
    return [
        save(_confusion(found), folder, "confusion"),
        save(_reliability(found), folder, "reliability"),
    ]


def _confusion(found: Evaluation) -> Sheet:
    counts = np.array(found.confusion)
    clips = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.5 * len(found.labels)
    figure, axes = sheet(size + 1, size)
    image = axes.imshow(counts / clips, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true label's clips")
    ticks = range(len(found.labels))
    axes.set_xticks(ticks, found.labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, found.labels)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true label")
    axes.set_title(f"{found.n_clips} clips, accuracy {100 * found.accuracy:.1f} %")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = count / clips[row, 0] > 0.5
            color = "white" if dark else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    return figure


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
