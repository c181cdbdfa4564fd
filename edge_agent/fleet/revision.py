"""What git knows of a fleet's folder: its commit, and how it stood at another one."""

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import EarshotError
from edge_agent.release import Source


def source(folder: Path, out: Path | None = None) -> Source | None:
    """The commit of a folder; None where no version control knows it.

    Args:
        folder: The fleet's.
        out: What was rendered does not count as a change.
    """
    found = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if found is None:
        return None
    asked = ["status", "--porcelain", "--", "."]
    if out is not None and out.resolve().is_relative_to(folder.resolve()):
        asked.append(f":(exclude){out.resolve().relative_to(folder.resolve()).as_posix()}")
    changed = _git(folder, *asked)
    return Source(commit=found.decode().strip(), clean=changed is not None and not changed.strip())


@contextmanager
def at(folder: Path, revision: str) -> Iterator[Path]:
    """The folder as it stood at a revision, for as long as the context lasts.

    Raises:
        EarshotError: There is no git, no such revision, or no such folder in it.
    """
    prefix = _git(folder, "rev-parse", "--show-prefix")
    if prefix is None:
        raise EarshotError(
            f"{folder}: is in no git repository with a commit",
            hint="Commit the folder once; `fleet diff` compares it with a revision.",
        )
    if revision.startswith("-"):
        raise _unknown(revision)
    commit = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit is None:
        raise _unknown(revision)
    tree = f"{commit.decode().strip()}:{prefix.decode().strip()}"
    archive = _git(folder, "-C", _top(folder), "archive", "--format=tar", tree)
    if archive is None:
        raise EarshotError(
            f"{revision}: had no {prefix.decode().strip() or 'such folder'}",
            hint="Name a later revision.",
        )
    with tempfile.TemporaryDirectory(prefix="earshot-fleet-") as place:
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(place, filter="data")
        yield Path(place)


def _unknown(revision: str) -> EarshotError:
    return EarshotError(
        f"{revision}: git knows no such revision", hint="`git log` and `git tag` name them."
    )


def _top(folder: Path) -> str:
    found = _git(folder, "rev-parse", "--show-toplevel")
    return str(folder) if found is None else found.decode().rstrip("\n")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says; None where it knows no such thing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            env=None,
        )
    except FileNotFoundError:
        return None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip()
    if "dubious ownership" in said:
        raise EarshotError(
            f"{folder}: git does not trust its owner",
            hint=f"git config --global --add safe.directory {folder.resolve()}",
        )
    return None
