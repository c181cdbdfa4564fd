"""The calibrations of a device: `calibration.json` in the state folder, by microphone.

It is state and not configuration: it was measured on that microphone on that day. `calibrate`
writes it, the agent reads it when it starts. Reading is strict, and writing leaves the old file or
the new one, whole.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edge_agent.config import MicrophoneConfig
from edge_agent.errors import StoreError
from edge_agent.records import Calibration

FILE = "calibration.json"
_DAMAGED = "Remove it and calibrate again, or put a copy back."

Decibel: TypeAlias = Annotated[float, Meta(ge=-300, le=300)]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The calibration of one microphone, with what it was made by."""

    offset_db: Decibel
    """dB SPL of a full-scale sine."""
    date: str
    """UTC, YYYY-MM-DD."""
    source: Literal["calibrator", "laboratory", "datasheet"]
    device: str
    """The sound card's name as configured; `file` or `stdin` for a microphone of that kind."""
    channel: Annotated[int, Meta(ge=1)]
    rate: Annotated[int, Meta(ge=1)]
    """Hz, as the device was opened."""
    level_db: Decibel | None = None
    """Of the calibrator."""
    frequency_hz: Annotated[float, Meta(gt=0)] | None = None
    """Of the calibrator."""
    drift_db: float | None = None
    """From the calibration before it."""
    operator: str | None = None
    note: str | None = None
    agent: str
    """Version of the software."""

    def __post_init__(self) -> None:
        """Refuse a date that no calendar has."""
        if date.fromisoformat(self.date).isoformat() != self.date:
            raise ValueError(f"the date {self.date} is not written YYYY-MM-DD")

    def fits(self, settings: MicrophoneConfig) -> bool:
        """Whether it was made with the device and channel that the microphone is now."""
        return (self.device, self.channel) == (device_of(settings), settings.channel)

    def in_short(self) -> Calibration:
        """What readings carry of it."""
        return Calibration(offset_db=self.offset_db, date=self.date, source=self.source)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    v: Literal[1] = 1
    microphones: dict[str, Entry]


def device_of(settings: MicrophoneConfig) -> str:
    """What a calibration says it was made with."""
    return settings.device if settings.kind == "device" else settings.kind


def read(folder: Path) -> dict[str, Entry]:
    """The calibrations by microphone; none where there is no file.

    Raises:
        StoreError: The file is damaged, or cannot be read.
    """
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).microphones
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read: {error.strerror}", hint="Let the agent's account read it."
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: is damaged: {error}", hint=_DAMAGED) from error


def in_force(
    entries: Mapping[str, Entry], microphones: Mapping[str, MicrophoneConfig]
) -> tuple[dict[str, Calibration], tuple[str, ...]]:
    """The calibrations that hold now, by microphone, and the microphones whose do not fit them."""
    known = {name: entries[name] for name in microphones if name in entries}
    fitting = {name: entry for name, entry in known.items() if entry.fits(microphones[name])}
    unfit = tuple(name for name in known if name not in fitting)
    return {name: entry.in_short() for name, entry in fitting.items()}, unfit


def put(folder: Path, microphone: str, entry: Entry) -> Path:
    """Write one microphone's calibration beside those of others, who may do the same just now.

    Returns:
        Where it is.

    Raises:
        StoreError: The file is damaged, or the disk refuses; the file before it stays.
    """
    with _locked(folder):
        return write(folder, {**read(folder), microphone: entry})


def write(folder: Path, entries: Mapping[str, Entry]) -> Path:
    """Put the file in place of the one before it; after a cut of power there is one of the two.

    Returns:
        Where it is.

    Raises:
        StoreError: The disk refuses; the file before it stays.
    """
    path = folder / FILE
    text = msgspec.json.format(msgspec.json.encode(_File(microphones=dict(entries))), indent=2)
    new = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        _write_through(new, text + b"\n")
        new.replace(path)
        _sync_folder(folder)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: cannot be written: {error.strerror}",
            hint="Do it with sudo, or as the agent's account; look at the disk.",
        ) from error
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder itself: the file is replaced, and the agent's own lock is another file."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # `write` tells why, with what to do.
        yield
        return
    try:
        # Some network file systems have no locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        if os.geteuid() == 0:
            # Root writes into the service's folder as a rule, and the service's it shall be.
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
