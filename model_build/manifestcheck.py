"""What is wrong with the rows of manifests, all of it, where `datasets` would stop or skip."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_agent.errors import BuildError
from model_build.datasets import Clip, Skip, clip_of, read_rows


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of a manifest leave a column empty."""

    manifest: str
    column: str
    rows: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The clips of manifests, and everything that is wrong with their rows."""

    rows: int
    clips: tuple[Clip, ...]
    """Each file once."""
    missing: tuple[Missing, ...]
    problems: tuple[Skip, ...]


def check(manifests: Sequence[Path], root: Path) -> Checked:
    """Read manifests row by row; what cannot be used is told and left out.

    A fold that is no number is told, too, but its clip stays.

    Args:
        manifests: CSV files.
        root: The folder that their paths are relative to.

    Raises:
        BuildError: A file cannot be read, lacks a column, or no clip of any can be used.
    """
    clips: dict[str, Clip] = {}
    missing: list[Missing] = []
    problems: list[Skip] = []
    total = 0
    for path in manifests:
        rows = read_rows(path)[1]
        total += len(rows)
        empty = Counter(
            column for row in rows for column, value in row.items() if column and not value
        )
        missing += [
            Missing(manifest=path.name, column=column, rows=empty[column])
            for column in rows[0]
            if empty[column]
        ]
        for number, row in enumerate(rows, start=2):
            found = _clip(path, number, row, root, problems)
            if found is not None:
                _take(found, f"line {number} of {path.name}", clips, problems)
    if not clips:
        first = problems[0].reason if problems else "no rows"
        raise BuildError(
            f"none of {total} rows can be used ({first})",
            hint=f"The column `path` must be relative to {root}.",
        )
    return Checked(
        rows=total, clips=tuple(clips.values()), missing=tuple(missing), problems=tuple(problems)
    )


def _clip(
    path: Path, number: int, row: dict[str, str], root: Path, problems: list[Skip]
) -> Clip | None:
    try:
        found = clip_of(path, number, row, root)
    except BuildError as error:
        problems.append(Skip(path=row["path"], reason=error.message))
        found = clip_of(path, number, {**row, "fold": ""}, root)
    if isinstance(found, Skip):
        problems.append(found)
        return None
    return found


def _take(found: Clip, where: str, clips: dict[str, Clip], problems: list[Skip]) -> None:
    before = clips.setdefault(found.path, found)
    if before is not found:
        reason = f"{where} lists it again"
        if before.label != found.label:
            reason += f", as {found.label} instead of {before.label}"
        problems.append(Skip(path=found.path, reason=reason))
