"""Robustness as curves, a picture a condition."""

from pathlib import Path

from model_build.plots.sheet import Sheet, save, sheet
from model_build.robustness import Curve, Robustness


def draw(found: Robustness, folder: Path) -> list[Path]:
    """Write `robustness-<condition>.svg` for each condition, and give the files."""
    return [
        save(_picture(found, curve), folder, f"robustness-{curve.condition}")
        for curve in found.curves
    ]


def _picture(found: Robustness, curve: Curve) -> Sheet:
    figure, axes = sheet(5.5, 3.5)
    for name, title in (("psds", "PSDS"), ("recall", "recall"), ("macro_f1", "macro F1")):
        values = [getattr(point, name) for point in curve.points]
        (line,) = axes.plot(curve.values, values, marker="o", label=title)
        as_made = getattr(found.as_made, name)
        axes.axhline(as_made, color=line.get_color(), linewidth=0.8, linestyle=":")
    if curve.values[0] > curve.values[-1]:
        axes.invert_xaxis()
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"{curve.title} (worse to the right)")
    axes.set_title(f"{curve.condition}: {found.events} test events (dotted: as made)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    return figure
