"""Files that are there whole or not at all, also after a cut of power.

Content is synced before its name appears, and the folder after that: what a later step relies on
has reached the disk before that step begins.
"""

import os
import shutil
from pathlib import Path

from edge_agent.errors import UpdateError


def write(path: Path, data: bytes) -> None:
    """Put a file in place of the one before it.

    Raises:
        UpdateError: The disk refuses; the file before it stays.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        place(beside, data)
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise refused(path, error) from error


def place(path: Path, data: bytes) -> None:
    """Write a file through to the disk; its name is not yet sure to be there.

    Raises:
        OSError: The disk refuses.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def link(path: Path, target: str) -> None:
    """Let a symbolic link point elsewhere, in one step.

    Raises:
        UpdateError: The disk refuses; the link stays.
    """
    if path.is_symlink() and str(path.readlink()) == target:
        return
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise refused(path, error) from error


def sync_tree(folder: Path) -> None:
    """Bring a folder with all that is in it to the disk.

    Raises:
        OSError: The disk refuses.
    """
    for where, _, files in os.walk(folder):
        for name in files:
            if os.path.islink(f"{where}/{name}"):  # noqa: PTH114 # os.walk gives names
                continue
            descriptor = os.open(f"{where}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(where))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Take a folder away; what a cut leaves of it is taken away the next time."""
    shutil.rmtree(folder, ignore_errors=True)


def refused(path: Path, error: OSError) -> UpdateError:
    """What the disk said, in words."""
    return UpdateError(
        f"{path}: cannot be written: {error.strerror or error}; nothing was changed",
        hint="Make room on the disk, or let root write there; the next update tries again.",
    )
