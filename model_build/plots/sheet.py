"""A sheet to draw on; the only door to matplotlib."""

import io
import logging
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["Axes", "Sheet", "save", "sheet", "sheet_of", "svg"]

Sheet: TypeAlias = Figure

_log = logging.getLogger(__name__)


def sheet(width_in: float, height_in: float) -> tuple[Sheet, Axes]:
    """An empty figure with one pair of axes."""
    figure = Sheet(figsize=(width_in, height_in), layout="constrained")
    axes: Axes = figure.subplots()
    return figure, axes


def sheet_of(
    width_in: float, height_in: float, columns: int, *, share_x: bool = True, share_y: bool = True
) -> tuple[Sheet, list[Axes]]:
    """An empty figure with pairs of axes side by side, which share their scales or some of them."""
    figure = Sheet(figsize=(width_in, height_in), layout="constrained")
    grid = figure.subplots(1, columns, squeeze=False, sharex=share_x, sharey=share_y)
    return figure, list(grid[0])


def svg(figure: Sheet) -> bytes:
    """The drawing as SVG, the same bytes for the same drawing."""
    _settle()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def save(figure: Sheet, folder: Path, name: str) -> Path:
    """Write `<name>.svg`, the same bytes for the same drawing.

    Args:
        figure: What was drawn.
        folder: Made if it is not there.
        name: Of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    path.write_bytes(svg(figure))
    _log.info("%s", path)
    return path


def _settle() -> None:
    # Ids in an SVG come from a random salt unless it is given, and its date from the clock.
    mpl.rcParams["svg.hashsalt"] = "earshot"
