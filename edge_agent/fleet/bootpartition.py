"""The boot partition of a card or of an image: which system it belongs to, and what is written.

Each system takes its first settings in another way, and silently ignores the others', so the
partition is looked at before anything is written to it.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from edge_agent import seedfiles
from edge_agent.errors import ConfigError
from edge_agent.fleet import tools
from edge_agent.fleet.seed import SYSTEMS, System

_WANTED: Final = (
    "Write a card with Raspberry Pi OS of November 2025 (Trixie) or later, or with Ubuntu Server "
    "for Raspberry Pi, and without any customisation."
)
_WHOLE: Final = (
    "An image of a whole card with room in its boot partition is wanted, unpacked: "
    "unxz --keep FILE.img.xz"
)
_PINNED: Final = re.compile(r"(^|\s)ds=nocloud(-net)?;(\S*;)?(i|instance-id)=")


class Partition(Protocol):
    """Where a seed goes."""

    def names(self) -> set[str]:
        """What lies in its root."""
        ...

    def read(self, name: str) -> bytes:
        """A file of its root."""
        ...

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files into its root, in this order, through to the disk."""
        ...


class Mounted:
    """A partition that is mounted, or a folder that stands for one.

    Args:
        path: Where.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        """What lies there."""
        try:
            return {entry.name for entry in self._path.iterdir()}
        except OSError as error:
            raise _trouble(self._path, error) from error

    def read(self, name: str) -> bytes:
        """A file."""
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise _trouble(self._path / name, error) from error

    def write(self, files: Mapping[str, bytes]) -> None:
        """Over what is there: an earlier seed leaves nothing behind."""
        for name, content in files.items():
            try:
                seedfiles.overwrite(self._path / name, content)
            except OSError as error:
                raise _trouble(self._path / name, error) from error
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _Partition(msgspec.Struct, frozen=True):
    """As sfdisk tells it."""

    start: int
    """In sectors."""


class _Table(msgspec.Struct, frozen=True):
    """As sfdisk tells it."""

    partitions: tuple[_Partition, ...] = ()
    sectorsize: int = 512


class _Told(msgspec.Struct, frozen=True):
    """As sfdisk tells it."""

    partitiontable: _Table


class Image:
    """The first partition of an image file, by sfdisk and mtools, which need no root for it.

    Args:
        path: Of the file.
        shown: What messages call it.

    Raises:
        ConfigError: It is no image of a card.
    """

    def __init__(self, path: Path, shown: Path) -> None:
        self._path = path
        self._shown = shown
        told = tools.run(
            ["sfdisk", "--json", str(path.resolve())],
            doing=f"{shown}: its partitions",
            hint=_WHOLE,
        )
        table = msgspec.json.decode(told, type=_Told).partitiontable
        if not table.partitions:
            raise ConfigError(f"{shown}: has no partition", hint=_WHOLE)
        self._offset = table.partitions[0].start * table.sectorsize

    def names(self) -> set[str]:
        """What lies there."""
        listed = self._mtools("mdir", "-b", "-a", "::").decode(errors="replace")
        return {line.removeprefix("::/").rstrip("/") for line in listed.splitlines() if line}

    def read(self, name: str) -> bytes:
        """A file."""
        return self._mtools("mcopy", "-n", f"::{name}", "-")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Over what is there."""
        for name, content in files.items():
            self._mtools("mcopy", "-o", "-", f"::{name}", given=content)
            # mcopy ends with 0 on a full disk, too (4.0.32), and leaves what fitted.
            if self.read(name) != content:
                raise ConfigError(
                    f"{self._shown}: {name} was not written whole to its first partition",
                    hint=_WHOLE,
                )
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _mtools(self, name: str, *arguments: str, given: bytes = b"") -> bytes:
        with tempfile.TemporaryDirectory(prefix="earshot-mtools-") as folder:
            # A link, as mtools has its own mind about some characters of a path.
            drive = Path(folder) / "drive"
            drive.symlink_to(self._path.resolve())
            return tools.run(
                [name, "-i", f"{drive}@@{self._offset}", *arguments],
                doing=f"{self._shown}: its first partition",
                given=given,
                environment={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "LC_ALL": "C.UTF-8",
                    "MTOOLSRC": os.devnull,
                },
                hint=_WHOLE,
            )


def recognised(partition: Partition, shown: Path, wanted: System | None) -> System:
    """Which system a boot partition belongs to.

    Args:
        partition: Its files.
        shown: What messages call it.
        wanted: What it should be; None: any that takes a seed.

    Raises:
        ConfigError: It takes no seed, is another than wanted, or was customised by somebody else.
    """
    names = partition.names()
    system = _system(partition, names, shown)
    if wanted not in (None, system):
        raise ConfigError(
            f"{shown}: is of {SYSTEMS[system]}, not of {SYSTEMS[wanted]}",
            hint="Leave out --system, or take the other card.",
        )
    if "firstrun.sh" in names:
        raise ConfigError(
            f"{shown}: was customised with a firstrun.sh, which this system never runs",
            hint="Raspberry Pi Imager 1.x does that. " + _WANTED,
        )
    for name in sorted(names & {"cmdline.txt"}):
        if _PINNED.search(partition.read(name).decode(errors="replace")):
            raise ConfigError(
                f"{shown}: {name} names an instance of cloud-init, which outdoes a seed's own",
                hint="Raspberry Pi Imager 2.x does that when it customises. Take `ds=nocloud;i=…` "
                "out of that line, or write the card again without customisation.",
            )
    return system


def _system(partition: Partition, names: set[str], shown: Path) -> System:
    if "config.txt" not in names:
        raise ConfigError(
            f"{shown}: is no boot partition of a Raspberry Pi: it has no config.txt", hint=_WANTED
        )
    if "rpi-preseed.toml" in names:
        raise ConfigError(
            f"{shown}: takes its settings from rpi-preseed.toml, and no seed of cloud-init",
            hint=_WANTED,
        )
    seeded = {seedfiles.USER_DATA, seedfiles.META_DATA} <= names
    # pi-gen signs each of its images there.
    raspberry = "issue.txt" in names and b"Raspberry Pi" in partition.read("issue.txt")
    if raspberry and seeded:
        return "raspios"
    if raspberry:
        raise ConfigError(
            f"{shown}: is of a Raspberry Pi OS without cloud-init (Bookworm, or the first Trixie): "
            "it would ignore a seed",
            hint=_WANTED,
        )
    # The kernel under its Debian name, since 24.10 in a folder for each of two states.
    if seeded and names & {"vmlinuz", "current"}:
        return "ubuntu"
    raise ConfigError(
        f"{shown}: is a boot partition, but neither of Raspberry Pi OS nor of Ubuntu with "
        "cloud-init",
        hint=_WANTED,
    )


def _trouble(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: {error.strerror}", hint="Mount the card's boot partition, and name that folder."
    )
