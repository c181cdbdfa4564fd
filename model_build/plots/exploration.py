"""What `explore` found as pictures: classes, lengths, levels, correlation, spectrograms."""

from collections.abc import Sequence

import numpy as np

from edge_agent.records import Samples
from model_build.exploration import Exploration
from model_build.features import SILENT_DBFS
from model_build.plots.sheet import Sheet, sheet, sheet_of

_WIDTH_IN = 10.0
_LINE_IN = 0.2
_SILENT = -120.0
_COLUMNS = 3
"""Spectrograms side by side, at least, so that one alone is no wider than others."""
_RANGE_DB = 60.0
_MOST_NAMED = 40
"""Columns; more names than these cannot be read, so groups of columns are named."""


def classes(found: Exploration) -> Sheet:
    """Clips of each class, the largest on top."""
    ordered = found.classes[::-1]
    figure, axes = sheet(_WIDTH_IN, 1.0 + _LINE_IN * len(ordered))
    bars = axes.barh([one.label for one in ordered], [one.clips for one in ordered])
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.set_xlabel("clips")
    axes.margins(y=0.01)
    axes.grid(visible=True, axis="x", alpha=0.3)
    return figure


def durations(found: Exploration) -> Sheet:
    """Lengths of each class: the box holds half of the clips, the line all but outliers."""
    by_label: dict[str, list[float]] = {}
    for one in found.clips:
        by_label.setdefault(one.clip.label, []).append(one.seconds)
    labels = sorted(by_label, reverse=True)
    figure, axes = sheet(_WIDTH_IN, 1.0 + _LINE_IN * len(labels))
    axes.boxplot(
        [by_label[label] for label in labels],
        orientation="horizontal",
        tick_labels=labels,
        flierprops={"markersize": 2},
    )
    seconds = [one.seconds for one in found.clips]
    if max(seconds) > 20 * max(min(seconds), 1e-3):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds")
    axes.grid(visible=True, axis="x", alpha=0.3)
    return figure


def levels(found: Exploration) -> Sheet:
    """How loud clips are; what lies left of the dashed line is nearly silent."""
    figure, axes = sheet(_WIDTH_IN, 3.0)
    rms = [max(one.rms_dbfs, _SILENT) for one in found.clips]
    axes.hist(rms, bins=np.arange(_SILENT, 3, 2.0).tolist())
    axes.axvline(SILENT_DBFS, color="black", linestyle="--", linewidth=1)
    axes.set_xlabel(f"RMS, dBFS (silence at {_SILENT:.0f})")
    axes.set_ylabel("clips")
    axes.grid(visible=True, alpha=0.3)
    return figure


def correlation(found: Exploration) -> Sheet:
    """Features against each other; a column that never changes is left white."""
    values = np.array(found.correlation, dtype=np.float64)
    size = min(_WIDTH_IN, 3.0 + 0.18 * len(values))
    figure, axes = sheet(size + 1.0, size)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    figure.colorbar(image, label="Spearman's rank correlation", shrink=0.7)
    places, names = _named(found.columns)
    axes.set_xticks(places, names, rotation=90, fontsize=7)
    axes.set_yticks(places, names, fontsize=7)
    return figure


def spectrograms(label: str, examples: Sequence[tuple[str, Samples]], step_s: float) -> Sheet:
    """Some clips of a class side by side, each 60 dB down from its loudest.

    Args:
        label: The class.
        examples: Name and log-mel levels, (frames, bands) in dB, of each.
        step_s: From frame to frame.
    """
    figure, several = sheet_of(_WIDTH_IN, 1.8, max(_COLUMNS, len(examples)))
    for axes in several[len(examples) :]:
        axes.set_axis_off()
    for axes, (name, shown) in zip(several, examples, strict=False):
        loudest = float(shown.max(initial=-_RANGE_DB))
        axes.imshow(
            shown.T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=loudest - _RANGE_DB,
            vmax=loudest,
            extent=(0.0, step_s * len(shown), 0.0, float(shown.shape[1])),
        )
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=7)
    # Each picture would cut the scale that all share to its own length.
    several[0].set_xlim(0.0, step_s * max(len(shown) for _, shown in examples))
    several[0].set_ylabel(f"{label}\nmel band", fontsize=8)
    return figure


def _named(columns: Sequence[str]) -> tuple[list[float], list[str]]:
    """Where names stand, and which: of each column, or of each group of numbered ones."""
    if len(columns) <= _MOST_NAMED:
        return [float(place) for place in range(len(columns))], list(columns)
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(columns):
        parts = [part for part in name.split("_") if not part.isdecimal()]
        stem = "chroma" if parts[0] == "chroma" else "_".join(parts)
        groups.setdefault(stem, []).append(place)
    return [float(np.mean(places)) for places in groups.values()], list(groups)
