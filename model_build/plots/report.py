"""Results of the laboratory as pictures: honest beside flattering, losses, recall by alarms."""

from collections.abc import Sequence

import numpy as np

from model_build.operating import LabelCurve, Operating
from model_build.plots.sheet import Axes, Sheet, sheet, sheet_of
from model_build.results import Result

_WIDTH_IN = 10.0
_HONEST, _FLATTERS, _PUBLISHED = "#1f77b4", "#d39e00", "black"
SIDE_BY_SIDE = 4
_BESIDE = 0.19


def sides(found: Sequence[Result], names: Sequence[str]) -> Sheet:
    """Accuracy of both ways to divide, with the spread over folds; a diamond was published.

    Args:
        found: Of one question, the best first.
        names: Of each.
    """
    figure, axes = sheet(_WIDTH_IN, 1.4 + 0.42 * len(found))
    places = np.arange(len(found))[::-1]
    for shift, at, color, label in (
        (_BESIDE, 0, _HONEST, "leak-free (whisker: spread of the folds)"),
        (-_BESIDE, 1, _FLATTERS, "with recordings on both sides"),
    ):
        of_side = [one.sides[at] if len(one.sides) > at else None for one in found]
        bars = axes.barh(
            places + shift,
            [100 * side.together.accuracy if side else 0.0 for side in of_side],
            height=0.36,
            color=color,
            label=label,
            xerr=[100 * side.spread if side else 0.0 for side in of_side],
            error_kw={"linewidth": 1},
        )
        axes.bar_label(bars, fmt="{:.0f}", fontsize=8, label_type="center", color="white")
    published = [
        (place - _BESIDE, 100 * one.published.accuracy)
        for place, one in zip(places, found, strict=True)
        if one.published is not None and one.published.accuracy is not None
    ]
    if published:
        axes.plot(
            [value for _, value in published],
            [place for place, _ in published],
            marker="D",
            linestyle="none",
            color=_PUBLISHED,
            label="published",
        )
    axes.set_yticks(places, names)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, %")
    axes.grid(visible=True, axis="x", alpha=0.3)
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    return figure


def losses(found: Sequence[Result], names: Sequence[str]) -> Sheet:
    """Mean training loss by epoch, a line for each leak-free trial; `SIDE_BY_SIDE` at most."""
    figure, several = sheet_of(_WIDTH_IN, 2.5, SIDE_BY_SIDE, share_x=False, share_y=False)
    for axes, one, name in zip(several, found, names, strict=False):
        for trial in one.sides[0].trials:
            axes.plot(range(1, len(trial.losses) + 1), trial.losses, linewidth=1, label=trial.name)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.locator_params(axis="x", integer=True, nbins=5)
        axes.tick_params(labelsize=7)
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        if len(one.sides[0].trials) <= SIDE_BY_SIDE:
            axes.legend(fontsize=7)
    _blank(several[len(found) :])
    several[0].set_ylabel("training loss", fontsize=8)
    return figure


def operating(curves: Sequence[LabelCurve]) -> Sheet:
    """Recall against false alarms of some labels, `SIDE_BY_SIDE` at most."""
    figure, several = sheet_of(_WIDTH_IN, 2.6, SIDE_BY_SIDE, share_x=False, share_y=False)
    for axes, curve in zip(several, curves, strict=False):
        axes.plot(
            [point.alarms_per_hour for point in curve.points],
            [point.recall for point in curve.points],
            marker=".",
            linewidth=1,
            color=_HONEST,
        )
        for point, marker, color in (
            (curve.chosen, "*", "black"),
            (curve.test, "o", _FLATTERS),
        ):
            axes.plot(point.alarms_per_hour, point.recall, marker=marker, markersize=9, color=color)
        axes.set_title(curve.title, fontsize=9)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.1)
        axes.set_ylim(-0.03, 1.03)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("false alarms an hour", fontsize=8)
        axes.grid(visible=True, alpha=0.3)
    _blank(several[len(curves) :])
    several[0].set_ylabel("recall", fontsize=8)
    return figure


def total(found: Sequence[Operating]) -> Sheet:
    """Mean recall against the alarms of all labels together, a line for each bundle.

    All labels stand at the same step of the grid, which nobody would choose; so a point of the
    thresholds that were chosen lies above its line.
    """
    figure, axes = sheet(_WIDTH_IN, 3.6)
    for one in found:
        steps = list(zip(*(curve.points for curve in one.labels), strict=True))
        (line,) = axes.plot(
            [sum(point.alarms_per_hour for point in step) for step in steps],
            [float(np.mean([point.recall for point in step])) for step in steps],
            marker=".",
            linewidth=1,
            label=f"{one.model}: one threshold for all labels, validation",
        )
        for marker, points, what in (
            ("*", [curve.chosen for curve in one.labels], "thresholds as chosen, validation"),
            ("o", [curve.test for curve in one.labels], "the same, test"),
        ):
            axes.plot(
                sum(point.alarms_per_hour for point in points),
                float(np.mean([point.recall for point in points])),
                marker=marker,
                markersize=11,
                linestyle="none",
                color=line.get_color(),
                markeredgecolor="black",
                label=f"{one.model}: {what}",
            )
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=-0.1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false alarms an hour, all labels together (linear to 1, then logarithmic)")
    axes.set_ylabel("mean recall")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _blank(several: Sequence[Axes]) -> None:
    """Places that a short line leaves empty."""
    for axes in several:
        axes.set_axis_off()
