"""What a device receives: `config.json` and `release.json`, the same bytes from the same folder.

Canonical JSON: keys sorted, two spaces of indent, UTF-8, shortest numbers that read back, LF. No
times, no host names, no order of a disk. `provenance.json` beside them stays in the office.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edge_agent import __version__
from edge_agent.errors import ConfigError
from edge_agent.fleet import models, sbom
from edge_agent.fleet.composing import Fleet, Values
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.models import Model
from edge_agent.fleet.provenance import places
from edge_agent.release import SCHEMA, Laboratory, Release, Source

_FILES: Final = ("config.json", "release.json", "provenance.json")
_MARK: Final = ".earshot-render"
"""Stands in a folder that `render` made, so that it never clears another."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A device's files."""

    device: Device
    config: bytes
    release: bytes
    provenance: bytes


class Renderer:
    """Renders the devices of a fleet that was checked.

    Args:
        fleet: Without errors.
        source: Of its folder.
    """

    def __init__(self, fleet: Fleet, source: Source | None) -> None:
        self._fleet = fleet
        self._source = source
        bill = fleet.folder.settings.sbom
        self._sbom = None if bill is None else sbom.sha256(fleet.folder.path / bill)
        self._models: dict[str, Model] = {}
        self._places: dict[int, dict[str, str]] = {}

    def render(self, device: Device) -> Rendered:
        """A device's files.

        Raises:
            EarshotError: Its model is not there.
        """
        config, release = self.release(device)
        return Rendered(
            device=device,
            config=config,
            release=canonical(release),
            provenance=canonical(self._provenance(device)),
        )

    def release(self, device: Device) -> tuple[bytes, Release]:
        """A device's configuration as it is delivered, and what is said of it.

        Raises:
            EarshotError: Its model is not there.
        """
        values, _ = self._fleet.values(device)
        config = canonical(values)
        model = self.model(values)
        return config, Release(
            device=device.name,
            release=self._fleet.folder.settings.release,
            config_sha256=hashlib.sha256(config).hexdigest(),
            model=model.name,
            model_sha256=model.sha256,
            schema=SCHEMA,
            agent=__version__,
            source=self._source,
            calibration=_laboratory(device),
            sbom_sha256=self._sbom,
        )

    def model(self, values: Values) -> Model:
        """The model of a device's settings."""
        group = values.get("model")
        path = str(group["path"]) if isinstance(group, dict) else ""
        if path not in self._models:
            self._models[path] = models.load(path, self._fleet.folder.path)
        return self._models[path]

    def _provenance(self, device: Device) -> dict[str, str]:
        """Each value's place; of a combination's devices only the row's own differ."""
        combination = self._fleet.combination(device)
        shared = self._places.get(id(combination))
        if shared is None:
            shared = self._places[id(combination)] = dict(places(combination.root))
        own = dict(shared)
        for keys, place in self._fleet.own_places(device):
            for depth in range(1, len(keys)):
                # A group that was null has become one of settings.
                own.pop(".".join(keys[:depth]), None)
            own[".".join(keys)] = str(place)
        return own


def canonical(value: object) -> bytes:
    """The one way to write a value."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def write(rendered: Iterable[Rendered], out: Path, *, whole: bool) -> Iterator[Device]:
    """Put the files of each device into a folder of its own; yields what was written.

    Args:
        rendered: The devices' files.
        out: Made if it is not there; one that `render` did not make is refused.
        whole: These are all devices: what is there of others is taken away.

    Raises:
        ConfigError: The folder cannot be used.
    """
    _take(out)
    there = set(os.listdir(out))  # noqa: PTH208 # names are all that is asked
    written: set[str] = set()
    for one in rendered:
        folder = f"{out}/{one.device.name}"
        try:
            replace = one.device.name in there
            if not replace:
                os.mkdir(folder)  # noqa: PTH102 # ten thousand paths cost a second
            for name, content in zip(
                _FILES, (one.config, one.release, one.provenance), strict=True
            ):
                _put(f"{folder}/{name}", content, replace=replace)
        except OSError as error:
            raise _unwritable(folder, error) from error
        written.add(one.device.name)
        yield one.device
    if whole:
        _clear(out, written)


def _put(path: str, content: bytes, *, replace: bool) -> None:
    """A file with this content; one that has it already is left alone.

    One with another is taken away first: ext4 writes a file through to the disk when it is cut to
    nothing and written anew, which costs a millisecond for each of thirty thousand.
    """
    if replace:
        with suppress(FileNotFoundError):
            with open(path, "rb") as file:  # noqa: PTH123 # see `write`
                if file.read() == content:
                    return
            os.unlink(path)  # noqa: PTH108 # see `write`
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _take(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        mark = out / _MARK
        if not mark.exists():
            if any(out.iterdir()):
                raise ConfigError(
                    f"{out}: holds other things than rendered devices",
                    hint="Name an empty folder, or one that `fleet render` made.",
                )
            mark.write_bytes(b"")
    except OSError as error:
        raise _unwritable(out, error) from error


def _clear(out: Path, written: set[str]) -> None:
    """Only our own files go: whoever put others there keeps them."""
    with os.scandir(out) as entries:
        gone = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    for folder in gone:
        if folder.name in written:
            continue
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _unwritable(path: Path | str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be written: {error.strerror}", hint="Name another folder with --out."
    )


def _laboratory(device: Device) -> Laboratory | None:
    if device.lab_offset_db is None or device.lab_date is None:
        return None
    return Laboratory(offset_db=device.lab_offset_db, date=device.lab_date)
