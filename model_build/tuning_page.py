"""What `tune` found, as a page and as text."""

from collections.abc import Sequence
from pathlib import Path

from model_build.pages import folded, good, note, page, picture, table, warning
from model_build.plots import tuning as plots
from model_build.plots.sheet import svg
from model_build.study import Tried
from model_build.tuned import Tuning

_FEW = 50
"""With 40 whole trials a setting that does nothing got a share of 0.23, with 100 one of 0.003."""
_SIDE_BY_SIDE = 4


def write(found: Tuning, path: Path) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made(found), encoding="utf-8")


def made(found: Tuning) -> str:
    """The page."""
    title = f"Settings of {found.model}: {_task(found)}"
    sections = [
        f"<h1>{title}</h1>",
        note(
            f"{found.model_title}, on {found.rows}. {_counted(found)} "
            f"Each was judged by macro F1 over {found.inner} folds by recording, of all clips but "
            f"those of {found.held_out}."
        ),
        _verdict(found),
        table(
            ("", "inner folds, macro F1", f"{found.held_out}, macro F1", "accuracy"), _rows(found)
        ),
        note(
            f"{found.held_out} chose nothing and was asked once; it is one fold, so its figures "
            "are rough."
        ),
        "<h2>Trials</h2>",
        picture(svg(plots.history(found)), "score of each trial"),
        "<h2>Which settings matter</h2>",
        *_importance(found),
        *(
            picture(svg(plots.settings(found, names)), f"scores by {', '.join(names)}")
            for names in _in_lines(list(found.space))
        ),
        folded(f"all {len(found.tried)} trials", _trials(found)),
        note(f"Made by: {found.command}"),
    ]
    return page(title, sections)


def as_text(found: Tuning) -> str:
    """For people: what was chosen, and what it gives."""
    lines = [
        f"{_task(found)}, {found.model}: {_counted(found)}",
        f"{'':16}  inner folds  {found.held_out}",
    ]
    lines += [f"{row[0]:16}  {row[1]:>11}  {row[2]:>{len(found.held_out)}}" for row in _rows(found)]
    lines += ["macro F1, percent; settings were chosen on the inner folds", _said(found.best)]
    if found.importance:
        lines.append(
            "what matters: "
            + ", ".join(f"{name} {share:.2f}" for name, share in found.importance.items())
        )
    return "\n".join(lines)


def _task(found: Tuning) -> str:
    against = "" if found.against_rest is None else f", {found.against_rest} against the rest"
    return found.task_title + against


def _counted(found: Tuning) -> str:
    given_up = sum(tried.score is None for tried in found.tried)
    return (
        f"{len(found.tried)} settings tried ({found.how}), {given_up} of them given up before "
        "their last fold."
    )


def _verdict(found: Tuning) -> str:
    if not found.best.settings:
        return warning("Nothing that was tried is better than the model's own settings.")
    gained = 100 * ((found.best.score or 0) - (found.own.score or 0))
    held_out = 100 * (found.best_held_out.macro_f1 - found.own_held_out.macro_f1)
    text = (
        f"{_said(found.best)}: {gained:+.1f} points on the inner folds, which chose it, and "
        f"{held_out:+.1f} on {found.held_out}, which did not."
    )
    return good(text) if held_out > 0 else warning(text)


def _said(tried: Tried) -> str:
    if not tried.settings:
        return "best: its own settings"
    return "best: " + ", ".join(f"{key} {_value(value)}" for key, value in tried.settings.items())


def _columns(found: Tuning) -> tuple[str, ...]:
    return (
        "percent",
        "inner folds, macro F1",
        f"{found.held_out}, macro F1",
        f"{found.held_out}, accuracy",
    )


def _rows(found: Tuning) -> list[tuple[str, ...]]:
    return [
        (name, _percent(tried.score), _percent(judged.macro_f1), _percent(judged.accuracy))
        for name, tried, judged in (
            ("its own settings", found.own, found.own_held_out),
            ("the best tried", found.best, found.best_held_out),
        )
    ]


def _importance(found: Tuning) -> list[str]:
    whole = sum(tried.score is not None for tried in found.tried)
    if not found.importance:
        return [note("Too few trials came to their end to say so, or all are equally good.")]
    parts = [picture(svg(plots.importance(found)), "share of each setting")]
    if whole < _FEW:
        parts.append(warning(f"Of {whole} whole trials only: take the shares as a hint."))
    return parts


def _trials(found: Tuning) -> str:
    names = list(found.space)
    ordered = sorted(
        enumerate(found.tried, start=1),
        key=lambda pair: (pair[1].score is None, -(pair[1].score or 0.0)),
    )
    rows = [
        (
            str(number),
            "given up" if tried.score is None else _percent(tried.score),
            *(_value(tried.settings[name]) for name in names),
        )
        for number, tried in ordered
    ]
    return table(("trial", "macro F1, %", *names), rows)


def _in_lines(names: Sequence[str]) -> list[list[str]]:
    return [list(names[at : at + _SIDE_BY_SIDE]) for at in range(0, len(names), _SIDE_BY_SIDE)]


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
