"""What models reached under the protocol, as a table."""

from collections.abc import Iterable, Sequence

from model_build.results import Figures, Result, Side

_COLUMNS = ("accuracy", "macro F1", "weighted", "minority", "majority")


def as_text(results: Sequence[Result]) -> str:
    """For people: a row for each model, the flattering figures beside the honest ones.

    Args:
        results: Of one question, at least one.
    """
    width = max(len("model"), *(len(one.model) for one in results))
    honest, beside = results[0].sides
    published = any(one.published is not None for one in results)
    block = 10 * len(_COLUMNS) + 6
    heads = [
        f"{'':{width}}  {_head('leak-free', honest):{block}}  {_head('flatters', beside)}",
        f"{'model':{width}}  {_names(spread=True)}  {_names(spread=False)}",
    ]
    if published:
        heads[0] = f"{heads[0]:{width + 2 + block + 2 + 50}}  published"
        heads[1] += f"  {'accuracy':>8}  {'macro F1':>8}  {'minority':>8}"
    lines = [results[0].task_title + _against(results[0]), *heads]
    lines += [_row(one, width, published=published) for one in results]
    lines += [
        "",
        "percent; +- is the spread over the folds; minority, majority: recall of the smallest and",
        "the largest class",
    ]
    lines += [_recalls(one) for one in results if one.published and one.published.recall]
    lines += _told_once(f"missing: {text}" for one in results for text in one.missing)
    lines += _told_once(
        f"published figures: {one.published.note}"
        for one in results
        if one.published is not None and one.published.note
    )
    lines += [_device(one) for one in results]
    lines += _told_once(
        f"skipped {skip.path}: {skip.reason}" for one in results for skip in one.skipped
    )
    return "\n".join(line.rstrip() for line in lines)


def _head(name: str, side: Side) -> str:
    return f"{name}: {side.protocol}, {side.together.clips} {side.unit}s"


def _names(*, spread: bool) -> str:
    first = f"{'accuracy':>14}" if spread else f"{'accuracy':>8}"
    return "  ".join((first, *(f"{name:>8}" for name in _COLUMNS[1:])))


def _row(one: Result, width: int, *, published: bool) -> str:
    honest, beside = one.sides
    spread = f"{_percent(honest.together.accuracy)} +- {100 * honest.spread:4.1f}"
    cells = [f"{spread:>14}", *_cells(honest.together)[1:], *_cells(beside.together)]
    if published:
        said = one.published
        values = (said.accuracy, said.macro_f1, said.minority_recall) if said else (None,) * 3
        cells += [f"{_percent(value):>8}" for value in values]
    return f"{one.model:{width}}  {'  '.join(cells)}"


def _cells(found: Figures) -> list[str]:
    values = (
        found.accuracy,
        found.macro_f1,
        found.weighted_f1,
        found.minority_recall,
        found.majority_recall,
    )
    return [f"{_percent(value):>8}" for value in values]


def _recalls(one: Result) -> str:
    """Of the labels of which something was published."""
    assert one.published is not None, "asked of those alone"
    told = []
    for label, published in one.published.recall.items():
        at = one.labels.index(label)
        own = [_recall(side.together, at) for side in one.sides]
        told.append(
            f"recall of {label}: leak-free {_percent(own[0])}, flattering {_percent(own[1])}, "
            f"published {_percent(published)}"
        )
    return f"{one.model}: {'; '.join(told)}"


def _recall(found: Figures, label: int) -> float | None:
    row = found.confusion[label]
    return row[label] / sum(row) if sum(row) else None


def _device(one: Result) -> str:
    device = one.device
    if device.why_not:
        return f"{one.model}: not on the device: {'; '.join(device.why_not)}"
    agreement = "" if device.agreement is None else f", int8 agrees {_percent(device.agreement)}"
    return f"{one.model}: runs in the agent: {device.bundle}, {device.model_bytes} bytes{agreement}"


def _against(one: Result) -> str:
    against = "" if one.against_rest is None else f": {one.against_rest} against the rest"
    drawn = "" if one.per_class is None else f", {one.per_class} clips of each class and fold"
    return against + drawn + (", quick: no figure means anything" if one.quick else "")


def _told_once(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
