"""What was taken for what."""

from collections.abc import Sequence

import numpy as np

from model_build.metrics import Counts
from model_build.plots.sheet import Sheet, sheet

_MANY = 20
"""Labels; counts in more cells than these squared cannot be read."""


def confusion(counts: Counts, labels: Sequence[str], title: str) -> Sheet:
    """A confusion matrix, each row by the share of its clips.

    Args:
        counts: (labels, labels), a row for each true label.
        labels: In their order.
        title: Above it.
    """
    clips = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    many = len(labels) > _MANY
    size = 2.5 + (0.22 if many else 0.5) * len(labels)
    figure, axes = sheet(size + 1, size)
    image = axes.imshow(counts / clips, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true label's clips")
    ticks = range(len(labels))
    small = 7 if many else None
    axes.set_xticks(ticks, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=small)
    axes.set_yticks(ticks, labels, fontsize=small)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true label")
    axes.set_title(title)
    for (row, column), count in np.ndenumerate(counts):
        if count and not many:
            dark = count / clips[row, 0] > 0.5
            color = "white" if dark else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    return figure
