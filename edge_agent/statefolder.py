"""The folder of the agent's state: made, and kept from a second agent."""

import errno
import fcntl
import os
from pathlib import Path

from edge_agent.errors import StoreError

_LOCK = "lock"
_PROBE = "probe"


def lock_folder(folder: Path) -> int | None:
    """The descriptor that keeps the folder ours; the kernel lets go of it when the process dies."""
    try:
        # Open for reading alone: one for writing would keep the disk from being made read-only.
        lock = os.open(folder / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        # Where this cannot be made, nothing can: `writable` tells it.
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StoreError(
            f"{folder}: is in use by another agent",
            hint="Stop that one first, or give this one a `state_dir` of its own.",
        ) from error
    except OSError:
        # Some network file systems have no locks: two agents there are not told apart.
        os.close(lock)
        return None
    return lock


def make_folder(folder: Path) -> None:
    """Make it if it is not there.

    Raises:
        StoreError: The configuration names one that cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EIO):
            # The disk's trouble, and not the configuration's: the agent goes on from memory.
            return
        raise StoreError(
            f"{folder}: {error.strerror}",
            hint="Make the folder for the agent, or set `state_dir` to one that it may write.",
        ) from error


def takes_files(folder: Path) -> bool:
    """Whether a file can be made in it: asked first, as opening a database costs a check of it."""
    probe = folder / _PROBE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True
