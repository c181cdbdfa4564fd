"""Official sets of recordings, from their makers' archive to a manifest that every command reads.

Nothing is put in its place before it is whole: the archive is verified, clips are unpacked into a
folder of another name, and the manifest, by which the other commands find a set, comes last.
"""

import csv
import errno
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from edge_agent.clock import Clock
from edge_agent.errors import BuildError
from model_build import download
from model_build.datasets import read_rows
from model_build.download import Told
from model_build.officialsets import OfficialSet

_ARCHIVES = ".downloads"

_log = logging.getLogger(__name__)


def fetch(
    name: str,
    official: OfficialSet,
    data: Path,
    *,
    source: str | None,
    keep: bool,
    told: Callable[[str], Told],
    clock: Clock,
) -> Path:
    """Have a set in a folder of recordings; gives its manifest.

    Args:
        name: Of the set, its folder and its manifest.
        official: What it is.
        data: The folder of recordings.
        source: A URL or a file instead of its makers' address.
        keep: Leave the archive where it was downloaded.
        told: From what is done to who is told how far it is.
        clock: Lets time pass between two tries.

    Raises:
        BuildError: Another copy is there, or the archive cannot be had, is another one than
            expected, or does not fit on the disk.
    """
    manifest = data / f"{name}.csv"
    if _is_there(manifest, official, data / name):
        _log.info("%s is there already", manifest)
        return manifest
    _log.info("%s: %s", official.title, official.licence)
    _log.info("Cite: %s.", official.cite)
    archive, ours = _archive(official, data, source, told, clock)
    folder = data / f".{name}.unpacking"
    # Of a run that was stopped.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        rows = _unpacked(archive, official, folder, told("unpacking"))
        written = folder / "manifest.csv"
        _write(written, name, official, rows)
        written.replace(data / f".{name}.csv")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if error.errno != errno.ENOSPC:
            raise
        raise BuildError(
            f"{data}: the disk is full, {official.title} cannot be unpacked; the archive is kept",
            hint="Make room, then run the command again.",
        ) from error
    except BuildError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    folder.replace(data / name)
    (data / f".{name}.csv").replace(manifest)
    if ours and not keep:
        archive.unlink()
    return manifest


def _is_there(manifest: Path, official: OfficialSet, folder: Path) -> bool:
    """Whether nothing is left to do.

    Raises:
        BuildError: Another copy is in the way.
    """
    hint = f"Move it away, or name another folder for {official.title} by --data."
    if manifest.exists():
        _, rows = read_rows(manifest)
        if len(rows) != official.clips:
            raise BuildError(
                f"{manifest}: lists {len(rows)} clips, {official.title} has {official.clips}: "
                "another copy is here",
                hint=hint,
            )
        gone = [row["path"] for row in rows if not (manifest.parent / row["path"]).is_file()]
        if gone:
            raise BuildError(
                f"{manifest}: {len(gone)} of its clips are missing, like {gone[0]}", hint=hint
            )
        return True
    if folder.exists():
        raise BuildError(f"{folder}: is there, without a manifest {manifest.name}", hint=hint)
    return False


def _archive(
    official: OfficialSet,
    data: Path,
    source: str | None,
    told: Callable[[str], Told],
    clock: Clock,
) -> tuple[Path, bool]:
    """The verified archive, and whether it was downloaded here."""
    source = source or official.url
    if source.startswith(("http://", "https://")):
        path = data / _ARCHIVES / official.archive
        _log.info("downloading %s", source)
        download.fetch(source, path, official.md5, told("downloading"), clock)
        return path, True
    path = Path(source)
    if not path.is_file():
        raise BuildError(
            f"{source}: no such file, and no http:// or https:// address",
            hint=f"Give {official.archive} as its makers publish it ({official.url}), by file or "
            "address.",
        )
    if not download.is_right(path, official.md5):
        raise BuildError(
            f"{path}: is another file than expected (MD5 is not {official.md5})",
            hint=f"Fetch it again: {official.url}.",
        )
    return path, False


def _unpacked(
    archive: Path, official: OfficialSet, folder: Path, told: Told
) -> list[dict[str, str]]:
    """Unpack clips and papers; gives the rows of the set's own list, all of whose clips came."""
    listed: list[dict[str, str]] = []
    came: set[str] = set()
    for name, content in _members(archive):
        if name == official.metadata:
            listed = list(csv.DictReader(content.read().decode("utf-8-sig").splitlines()))
            continue
        place = _place(name, official)
        if place is None:
            continue
        if name not in official.kept:
            came.add(place)
            told(len(came), official.clips)
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
    gone = [path for row in listed if (path := official.path.format(**row)) not in came]
    if not listed or gone:
        first = official.metadata if not listed else gone[0]
        raise BuildError(
            f"{archive}: {first} is not in it",
            hint=f"Give {official.archive} as its makers publish it.",
        )
    return listed


def _place(name: str, official: OfficialSet) -> str | None:
    """Where a clip or a paper goes in the set's folder; None for what is neither."""
    path = PurePosixPath(name)
    if name in official.kept:
        return path.name
    # What macOS puts beside each file begins with a dot.
    if path.suffix != ".wav" or path.name.startswith(".") or ".." in path.parts:
        return None
    if not path.is_relative_to(official.audio):
        return None
    return str(path.relative_to(official.audio))


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Plain files of an archive in its order, each readable until the next is asked for."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield entry.filename, content
        return
    # As a stream: to jump in gzip is to begin anew.
    with tarfile.open(archive, "r|*") as packed_stream:
        for member in packed_stream:
            if member.isfile() and (reader := packed_stream.extractfile(member)) is not None:
                yield member.name, reader


def _write(path: Path, name: str, official: OfficialSet, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("path", "label", "fold", "freesound_id"))
        for row in rows:
            out.writerow(
                (
                    f"{name}/{official.path.format(**row)}",
                    row[official.label],
                    row[official.fold],
                    row[official.recording],
                )
            )
