"""What the office's commands begin with: the folder, without errors, and a device's settings."""

from pathlib import Path

import msgspec

from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.fleet import differing, folder
from edge_agent.fleet.checking import check, first_error
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.inventory import Device
from edge_agent.settings import near


def where(path: Path | None) -> Path:
    """The fleet's folder: the one that is named, or the nearest upwards."""
    if path is None:
        return folder.find(Path())
    if not (path / folder.FLEET_FILE).is_file():
        raise ConfigError(
            f"{path}: holds no {folder.FLEET_FILE}",
            hint="Name the fleet's folder, or make one: edge-agent fleet init DIR.",
        )
    return path


def fleet_of(path: Path | None) -> Fleet:
    """The fleet in a folder."""
    return Fleet(folder.read(where(path)))


def refuse_errors(fleet: Fleet) -> None:
    """Go on only with a folder that `fleet check` passes."""
    report = check(fleet)
    differing.refuse_errors(first_error(report), str(fleet.folder.path), report.errors)


def config_of(fleet: Fleet, device: Device) -> Config:
    """A device's settings, of a fleet without errors."""
    return msgspec.convert(fleet.values(device)[0], Config)


def device_named(fleet: Fleet, name: str) -> Device:
    """The device of this name, a retired one too.

    Raises:
        ConfigError: There is none.
    """
    names = [device.name for device in fleet.folder.inventory.devices]
    for device in fleet.folder.inventory.devices:
        if device.name == name:
            return device
    likely = near(name, names)
    raise ConfigError(
        f"{name}: no such device in {fleet.folder.path / 'fleet.csv'}",
        hint=f"Did you mean {likely[0]}?" if likely else "`edge-agent fleet list` shows them all.",
    )
