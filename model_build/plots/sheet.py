"""A sheet to draw on; the only door to matplotlib."""

import logging
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Sheet: TypeAlias = Figure

_log = logging.getLogger(__name__)


def sheet(width_in: float, height_in: float) -> tuple[Sheet, Axes]:
    """An empty figure with one pair of axes."""
    figure = Sheet(figsize=(width_in, height_in), layout="constrained")
    axes: Axes = figure.subplots()
    return figure, axes


def save(figure: Sheet, folder: Path, name: str) -> Path:
    """Write `<name>.svg`, the same bytes for the same drawing.

    Args:
        figure: What was drawn.
        folder: Made if it is not there.
        name: Of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Ids in an SVG come from a random salt unless it is given, and its date from the clock.
    mpl.rcParams["svg.hashsalt"] = "earshot"
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    _log.info("%s", path)
    return path
