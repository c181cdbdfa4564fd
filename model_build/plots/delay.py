"""Delay against false alarms on validation streams, a picture a label."""

from collections.abc import Sequence
from pathlib import Path

from model_build.plots.sheet import Sheet, save, sheet
from model_build.thresholds import COUNTING, STEPS, Listener, Trial

_OFF_SHARE = 0.7
_GRID = range(STEPS // 16, STEPS, STEPS // 16)


def draw(listeners: Sequence[Listener], chosen: Sequence[Trial], folder: Path) -> list[Path]:
    """Write `delay-<label>.svg` for each label, and give the files.

    Validation streams alone are drawn: whoever picks a point from a picture has chosen by it.

    Args:
        listeners: The labels.
        chosen: What was chosen for each.
        folder: Made if it is not there.
    """
    return [
        save(_picture(listener, trial), folder, f"delay-{listener.label.id}")
        for listener, trial in zip(listeners, chosen, strict=True)
    ]


def _picture(listener: Listener, chosen: Trial) -> Sheet:
    figure, axes = sheet(7, 4.5)
    for n, m in COUNTING[listener.label.impulsive]:
        trials = [listener.tried(on, _OFF_SHARE, n, m) for on in _GRID]
        told = [trial for trial in trials if trial.delay_p50_s is not None]
        per_hour = [trial.alarms / listener.hours for trial in told]
        delays_s = [trial.delay_p50_s or 0.0 for trial in told]
        (line,) = axes.plot(per_hour, delays_s, linewidth=1, label=f"{n} of {m}")
        # A short delay of few events is no merit: the dot grows with the share that was told.
        sizes = [80 * trial.told_in_event / trial.counts.true for trial in told]
        axes.scatter(per_hour, delays_s, sizes, color=line.get_color())
    if chosen.delay_p50_s is not None:
        axes.plot(
            chosen.alarms / listener.hours,
            chosen.delay_p50_s,
            marker="*",
            markersize=14,
            color="black",
            linestyle="none",
            label=f"chosen: {chosen.n} of {chosen.m}, on {chosen.on:.2f}",
        )
    axes.set_title(f"{listener.label.title}: validation, {listener.hours:.2f} h without events")
    axes.set_xlabel("false alarms an hour (linear to 1, then logarithmic)")
    axes.set_ylabel("median delay from onset to telling, s\n(dots: share of events told)")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    return figure
