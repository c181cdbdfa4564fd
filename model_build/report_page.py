"""Results of the laboratory as one page that needs no network.

Every question (a task, an uneven task of two classes, a published system) is a section of its own,
for figures of two questions are not to be compared.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from edge_agent.errors import AudioError
from edge_agent.records import Samples
from model_build.operating import Operating
from model_build.pages import (
    folded,
    good,
    heading,
    note,
    page,
    picture,
    shortened,
    table,
    warning,
)
from model_build.plots import exploration as example_plots
from model_build.plots import report as plots
from model_build.plots.confusion import confusion
from model_build.plots.sheet import svg
from model_build.results import Mistake, Result, Side
from model_build.spectrogram import ABOUT, STEP_S, Spectrograms

_EXAMPLES = 3
_MOST_LABELS = 12
"""Of which errors are drawn; those with the most errors come first."""

Key: TypeAlias = tuple[str, str, str, int, bool]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Results whose figures may stand beside each other, the best first."""

    title: str
    results: tuple[Result, ...]

    @property
    def names(self) -> list[str]:
        """Of its models; with the seed where there are several."""
        several = len({one.seed for one in self.results}) > 1
        return [f"{one.model}, seed {one.seed}" if several else one.model for one in self.results]


def sections(found: Sequence[Result]) -> list[Section]:
    """Results by question: the tasks as they are first, then uneven ones and published systems."""
    by_key: dict[Key, list[Result]] = {}
    for one in found:
        key = (
            one.preset or "",
            one.task,
            one.against_rest or "",
            one.per_class or 0,
            one.quick,
        )
        by_key.setdefault(key, []).append(one)
    return [
        Section(
            title=_title(by_key[key][0]),
            results=tuple(sorted(by_key[key], key=lambda one: -one.sides[0].together.macro_f1)),
        )
        for key in sorted(by_key)
    ]


def write(
    found: Sequence[Result], street: Sequence[Operating], data: Path | None, path: Path
) -> None:
    """Write the page; recordings that were taken for something else are read again from `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made(found, street, data), encoding="utf-8")


def made(found: Sequence[Result], street: Sequence[Operating], data: Path | None) -> str:
    """The page.

    Args:
        found: At least one result or curve.
        street: Curves of street models.
        data: The folder of recordings; None draws no errors.
    """
    title = "What the laboratory's models reach"
    shown = Spectrograms()
    parts = [
        f"<h1>{title}</h1>",
        note(
            "Leak-free: no recording is both learnt and asked. Beside it stands a split that "
            "ignores recordings, as many published figures do: it shows by how much such figures "
            "flatter, and nothing else."
        ),
    ]
    for section in sections(found):
        parts += _section(section, data, shown)
    if street:
        parts += _street(street)
    return page(title, parts)


def _title(one: Result) -> str:
    parts = [one.task_title]
    if one.against_rest is not None:
        parts.append(f"{one.against_rest} against the rest")
    if one.preset is not None:
        parts.insert(0, f"Published system {one.preset}")
    if one.per_class is not None:
        parts.append(f"{one.per_class} clips of each class and fold")
    return ": ".join(parts[:2]) + "".join(f", {part}" for part in parts[2:])


def _section(section: Section, data: Path | None, shown: Spectrograms) -> Iterator[str]:
    results, names = section.results, section.names
    first = results[0]
    yield heading(section.title)
    if first.quick:
        yield warning("Networks learnt for a moment only: no figure means anything.")
    for text in dict.fromkeys(text for one in results for text in one.missing):
        yield warning(f"Not the whole set: {text}")
    for one, name in zip(results, names, strict=True):
        if one.published is not None and one.published.note:
            yield note(f"{name}: {one.published.note}.")
    yield _table(section)
    yield note(
        f"Percent, {first.sides[0].protocol}, {first.sides[0].together.clips} "
        f"{first.sides[0].unit}s; ± is the spread over the folds. Minority and majority: recall of "
        "the smallest and the largest class, none where all have as many. Size: of the int8 "
        "network on the device, else of float weights (4 bytes each) or of the model as it is "
        "kept. Operations: multiply-adds for a second of sound, or for a clip; trees compare and "
        "multiply nothing. Latency: one row on the machine that made it, one thread; a network's "
        "is that of int8 as the device runs it, a classical model's is Python's. A dash: not "
        "known, or of several models."
    )
    yield picture(svg(plots.sides(results, names)), "accuracy, leak-free and at random")
    yield folded("figures of the other split", _other(section))
    learnt = [
        (one, name)
        for one, name in zip(results, names, strict=True)
        if any(trial.losses for trial in one.sides[0].trials)
    ]
    if learnt:
        yield heading("Training curves", 3)
        for at in range(0, len(learnt), plots.SIDE_BY_SIDE):
            line = learnt[at : at + plots.SIDE_BY_SIDE]
            of_line = [name for _, name in line]
            drawn = plots.losses([one for one, _ in line], of_line)
            yield picture(svg(drawn), f"training losses of {', '.join(of_line)}")
    yield heading("What was taken for what", 3)
    yield from _confusions(section)
    yield heading("Errors", 3)
    yield from _errors(first, names[0], data, shown)
    yield from _on_the_device(section)
    skipped = {skip.path: skip.reason for one in results for skip in one.skipped}
    if skipped:
        rows = list(skipped.items())
        yield folded(f"{len(rows)} clips were skipped", table(("clip", "why"), rows))
    commands = dict.fromkeys(one.command for one in results if one.command)
    yield note(f"Made by: {'; '.join(commands)}")


_PUBLISHED = "published, its own split"
_HEAD = (
    "model",
    "accuracy",
    "macro F1",
    "weighted F1",
    "minority",
    "majority",
    _PUBLISHED,
    "size",
    "operations",
    "latency, µs",
    "what it is",
)


def _table(section: Section) -> str:
    """Of all models; what nobody published takes no room."""
    rows = [_row(one, name) for one, name in zip(section.results, section.names, strict=True)]
    at = _HEAD.index(_PUBLISHED)
    if all(one.published is None for one in section.results):
        return table((*_HEAD[:at], *_HEAD[at + 1 :]), [(*row[:at], *row[at + 1 :]) for row in rows])
    return table(_HEAD, rows)


def _row(one: Result, name: str) -> tuple[str, ...]:
    side = one.sides[0]
    figures = side.together
    return (
        name,
        _kept(f"{_percent(figures.accuracy)} ± {_percent(side.spread)}"),
        _percent(figures.macro_f1),
        _percent(figures.weighted_f1),
        _percent(figures.minority_recall),
        _percent(figures.majority_recall),
        _percent(one.published.accuracy if one.published else None),
        _size(one),
        _operations(one),
        _latency(one),
        one.model_title,
    )


def _size(one: Result) -> str:
    if one.device.model_bytes is not None:
        return _kept(f"{one.device.model_bytes / 1e3:.0f} kB int8")
    if one.cost is not None:
        return _kept(f"{one.cost.size_bytes / 1e3:.0f} kB")
    return "-"


def _operations(one: Result) -> str:
    if one.cost is None or one.cost.multiply_adds is None:
        return "-"
    if one.cost.rows_per_s is None:
        return _kept(f"{_short(one.cost.multiply_adds)} a clip")
    return _kept(f"{_short(one.cost.multiply_adds * one.cost.rows_per_s)}/s")


def _latency(one: Result) -> str:
    if one.device.latency_ms is not None:
        return f"{1e3 * one.device.latency_ms:.0f}"
    if one.cost is None or one.cost.latency_ms is None:
        return "-"
    return f"{1e3 * one.cost.latency_ms:.0f}"


def _kept(text: str) -> str:
    """On one line."""
    return text.replace(" ", "\u00a0")


def _short(count: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {letter}"
    return f"{count:.0f}"


def _other(section: Section) -> str:
    rows = []
    for one, name in zip(section.results, section.names, strict=True):
        for side in one.sides:
            figures = side.together
            rows.append(
                (
                    name,
                    side.protocol,
                    f"{figures.clips} {side.unit}s",
                    "yes" if side.leak_free else "no",
                    _percent(figures.accuracy),
                    _percent(figures.macro_f1),
                    _percent(figures.weighted_f1),
                    _percent(figures.minority_recall),
                    *_published(one, side),
                )
            )
    head = ("model", "split", "judged", "leak-free", "accuracy", "macro F1", "weighted F1")
    return table((*head, "minority", "published accuracy", "macro F1", "minority"), rows)


def _published(one: Result, side: Side) -> tuple[str, str, str]:
    """Beside the figures of the split that it was reached with."""
    said = one.published
    if said is None or side.leak_free:
        return ("", "", "")
    return (_percent(said.accuracy), _percent(said.macro_f1), _percent(said.minority_recall))


def _confusions(section: Section) -> Iterator[str]:
    """The best model's at once, the others' behind a click."""
    for at, (one, name) in enumerate(zip(section.results, section.names, strict=True)):
        figures = one.sides[0].together
        title = f"{name}: {figures.clips} clips, accuracy {_percent(figures.accuracy)} %"
        drawn = confusion(np.array(figures.confusion), one.labels, title)
        image = picture(svg(drawn), f"confusion of {name}")
        yield folded(name, image) if at else image


def _errors(one: Result, name: str, data: Path | None, shown: Spectrograms) -> Iterator[str]:
    mistakes = one.sides[0].mistakes
    if not mistakes:
        yield good(f"{name} made none.")
        return
    pairs = Counter((mistake.wanted, mistake.told) for mistake in mistakes)
    rows = [(wanted, told, str(count)) for (wanted, told), count in pairs.most_common()]
    yield note(f"Of {name}, the best here: {len(mistakes)} clips.")
    yield shortened(("true label", "taken for", "clips"), rows, "kinds of error")
    if data is None:
        yield note("Their spectrograms are drawn where the recordings are: --data.")
        return
    yield note(
        f"The errors that it was surest of, of three recordings of each label. {ABOUT} Above each: "
        "what it was taken for, and the score of that."
    )
    unread: list[str] = []
    for label, of_label in _surest(mistakes):
        examples: list[tuple[str, Samples]] = []
        for mistake in _varied(of_label):
            try:
                levels = shown.levels(data / mistake.path)
            except AudioError as error:
                unread.append(error.message)
                continue
            told = f"{mistake.told} {mistake.score:.2f}: {Path(mistake.path).name}"
            examples.append((told, levels))
            if len(examples) == _EXAMPLES:
                break
        if examples:
            drawn = example_plots.spectrograms(label, examples, STEP_S)
            yield picture(svg(drawn), f"errors of {label}")
    if unread:
        yield warning(f"Recordings that cannot be read: {len(unread)}, like {unread[0]}")


def _varied(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The first of each recording, then the others: slices of one say the same thrice.

    Both official sets name slice or take in the last two parts of a file's name.
    """
    seen: set[str] = set()
    first: list[Mistake] = []
    others: list[Mistake] = []
    for one in mistakes:
        recording = one.path.rsplit("-", 2)[0]
        (others if recording in seen else first).append(one)
        seen.add(recording)
    return [*first, *others]


def _surest(mistakes: Sequence[Mistake]) -> list[tuple[str, list[Mistake]]]:
    """Of the labels with the most errors, theirs by falling score."""
    labels = [label for label, _ in Counter(one.wanted for one in mistakes).most_common()]
    return [
        (
            label,
            sorted((one for one in mistakes if one.wanted == label), key=lambda one: -one.score),
        )
        for label in labels[:_MOST_LABELS]
    ]


def _on_the_device(section: Section) -> Iterator[str]:
    rows = []
    for one, name in zip(section.results, section.names, strict=True):
        device = one.device
        told = "; ".join(device.why_not) if device.why_not else "runs in the agent"
        agrees = _percent(device.agreement)
        loss = "-" if device.accuracy_loss is None else f"{100 * device.accuracy_loss:+.1f}"
        rows.append((name, told, agrees, loss))
    head = ("model", "on the device", "int8 agrees, %", "accuracy lost, points")
    yield folded("what runs on the device, and why not", table(head, rows))


def _street(street: Sequence[Operating]) -> Iterator[str]:
    yield heading("Street models: recall against false alarms")
    yield note(
        "Through the agent's own pipeline. Lines are of validation streams, from which the "
        "thresholds were chosen; the orange dots are the test's streams at these thresholds, the "
        "only figures that chose nothing. Far to the right a low threshold makes one long event of "
        "everything, whose onset is right nowhere, so recall falls again. Of an hour or two of "
        "sound without events, few alarms prove little: docs/certify.md has the bounds."
    )
    yield picture(svg(plots.total(street)), "mean recall against false alarms")
    for one in street:
        yield heading(f"{one.model}, label by label", 3)
        yield note(
            f"Star: chosen; dot: test. {one.validation_hours:.2f} h without events on validation, "
            f"{one.test_hours:.2f} h on test. Made by: {one.command}"
        )
        for at in range(0, len(one.labels), plots.SIDE_BY_SIDE):
            line = one.labels[at : at + plots.SIDE_BY_SIDE]
            names = ", ".join(curve.title for curve in line)
            yield picture(svg(plots.operating(line)), f"recall against false alarms of {names}")
        rows = [
            (
                curve.title,
                f"{curve.chosen.on:.3f}",
                _percent(curve.chosen.recall),
                f"{curve.chosen.alarms_per_hour:.2f}",
                _percent(curve.test.recall),
                f"{curve.test.alarms_per_hour:.2f}",
            )
            for curve in one.labels
        ]
        head = ("label", "threshold", "recall, %", "alarms an hour", "test recall, %")
        yield folded("thresholds", table((*head, "test alarms an hour"), rows))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
