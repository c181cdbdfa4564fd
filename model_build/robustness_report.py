"""What `robustness` found, for programs and for people."""

import msgspec

from model_build.robustness import Curve, Point, Robustness


def as_json(found: Robustness) -> str:
    """One object on one line."""
    return msgspec.json.encode(found).decode()


def as_text(found: Robustness) -> str:
    """A table for each condition."""
    lines = [
        f"model    {found.model}, sha256 {found.model_sha256}",
        f"scenes   {found.events} events of test recordings, seed {found.seed}",
        f"streams  sha256 {found.streams_sha256}",
        f"{'':16}  macro F1  recall  PSDS",
        _row("as made", found.as_made),
    ]
    for curve in found.curves:
        lines += ["", f"{curve.condition}: {curve.title}", *_rows(curve)]
    skips = [f"skipped {skip.path}: {skip.reason}" for skip in found.skipped]
    return "\n".join([*lines, "", *skips]).rstrip()


def _rows(curve: Curve) -> list[str]:
    pairs = zip(curve.values, curve.points, strict=True)
    return [_row(f"{value:g}", point) for value, point in pairs]


def _row(name: str, point: Point) -> str:
    return (
        f"{name:>16}  {100 * point.macro_f1:6.1f} %  {100 * point.recall:4.1f} %  {point.psds:.3f}"
    )
