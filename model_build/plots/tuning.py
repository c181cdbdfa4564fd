"""What `tune` tried as pictures: score by trial, share of each setting, score by setting."""

from model_build.plots.sheet import Axes, Sheet, sheet, sheet_of
from model_build.spaces import Axis
from model_build.study import Tried
from model_build.tuned import Tuning

_OWN, _GIVEN_UP = "#d39e00", "#999999"
_WIDTH_IN = 10.0


def history(found: Tuning) -> Sheet:
    """Scores in the order of trials; a cross was given up."""
    figure, axes = sheet(_WIDTH_IN, 3.2)
    best = 0.0
    steps = []
    for tried in found.tried:
        best = max(best, tried.score or 0.0)
        steps.append(best)
    numbers = range(1, len(found.tried) + 1)
    _points(axes, list(numbers), found.tried)
    axes.step(list(numbers), steps, where="post", linewidth=1, label="best so far")
    axes.axhline(found.own.score or 0.0, color=_OWN, linestyle="--", label="its own settings")
    axes.set_xlabel("trial")
    axes.set_ylabel("macro F1, inner folds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    return figure


def importance(found: Tuning) -> Sheet:
    """Share of each setting in the variance of the scores, the largest on top."""
    ordered = sorted(found.importance.items(), key=lambda pair: pair[1])
    figure, axes = sheet(_WIDTH_IN, 1.2 + 0.3 * len(ordered))
    bars = axes.barh([name for name, _ in ordered], [share for _, share in ordered])
    axes.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=8)
    axes.set_xlabel("share of the variance of scores (fANOVA)")
    axes.set_xlim(0, 1)
    axes.grid(visible=True, axis="x", alpha=0.3)
    return figure


def settings(found: Tuning, names: list[str]) -> Sheet:
    """Scores by the value of each of some settings, side by side."""
    figure, several = sheet_of(_WIDTH_IN, 2.6, len(names), share_x=False)
    for axes, name in zip(several, names, strict=True):
        axis = found.space[name]
        _points(axes, [_at(tried, name, axis) for tried in found.tried], found.tried)
        axes.set_xlabel(name)
        if axis.choices is not None:
            axes.set_xticks(range(len(axis.choices)), [str(one) for one in axis.choices])
        elif axis.log:
            axes.set_xscale("log")
        axes.grid(visible=True, alpha=0.3)
    several[0].set_ylabel("macro F1, inner folds")
    return figure


def _at(tried: Tried, name: str, axis: Axis) -> float:
    value = tried.settings[name]
    if axis.choices is not None:
        return float(axis.choices.index(value))
    return float(value)


def _points(axes: Axes, places: list[int] | list[float], tried: tuple[Tried, ...]) -> None:
    whole = [(x, one.score) for x, one in zip(places, tried, strict=True) if one.score is not None]
    given_up = [
        (x, one.parts[-1]) for x, one in zip(places, tried, strict=True) if one.score is None
    ]
    axes.scatter([x for x, _ in whole], [y for _, y in whole], 14)
    if given_up:
        axes.scatter(
            [x for x, _ in given_up],
            [y for _, y in given_up],
            14,
            color=_GIVEN_UP,
            marker="x",
            label="given up",
        )
