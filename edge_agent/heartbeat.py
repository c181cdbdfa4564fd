"""The agent's heartbeat for whoever watches it on the device: a small file, every ten seconds.

It lies in the folder that systemd names (`RuntimeDirectory=`, in memory); without one there is no
heartbeat. Instants are monotonic: they compare with those of other processes of the same boot, and
no step of the wall clock moves them.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

FILE: Final = "heartbeat.json"
EVERY_NS: Final = 10_000_000_000


class Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the agent is; instants in monotonic nanoseconds, None for what did not happen yet."""

    v: Literal[1] = 1
    at_ns: int
    started_ns: int
    ready: bool
    """systemd was told, or would be."""
    block_ns: int | None
    """When sound last came in."""
    inference_ns: int | None
    """When a patch was last scored."""
    ack_ns: int | None
    """When the broker last took a row."""
    faults: tuple[str, ...]
    config_sha256: str


class Heartbeat:
    """Writes the file.

    Args:
        folder: Where; None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last: Beat | None = None

    def due(self, now_ns: int, faults: tuple[str, ...]) -> bool:
        """Whether it is time: every ten seconds, and when a fault comes or goes."""
        if self._folder is None:
            return False
        last = self._last
        return last is None or faults != last.faults or now_ns - last.at_ns >= EVERY_NS

    def write(self, beat: Beat) -> None:
        """Put the file in place of the one before it; where that fails, it is late and no more."""
        self._last = beat
        if self._folder is None:
            return
        place = self._folder / FILE
        beside = place.with_name(f".{FILE}")
        with suppress(OSError):
            descriptor = os.open(
                beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
            )
            try:
                os.fchmod(descriptor, 0o644)
                os.write(descriptor, msgspec.json.encode(beat))
            finally:
                os.close(descriptor)
            beside.replace(place)


def runtime_folder(environment: Mapping[str, str]) -> Path | None:
    """What systemd made for this service's start; None: it made nothing."""
    found = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(found) if found else None


def read(folder: Path) -> Beat | None:
    """The last heartbeat; None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Beat)
    except (OSError, msgspec.MsgspecError):
        return None
