"""What devices are offered by the repository, or were once: the files behind the signed list."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edge_agent.config import MqttConfig
from edge_agent.errors import UpdateError
from edge_agent.fleet.repository import Repository
from edge_agent.fleet.targets import Listed
from edge_agent.release import Parcel


def offered(held: Repository, devices: Iterable[str]) -> dict[str, Listed]:
    """What is offered to devices, by their names; those that are offered nothing are left out.

    Raises:
        UpdateError: The repository cannot be read, or somebody changed it.
    """
    found = held.listed(path(device) for device in devices)
    return {name.removeprefix("devices/").removesuffix(".json"): one for name, one in found.items()}


class _Settings(msgspec.Struct, frozen=True):
    mqtt: MqttConfig = MqttConfig()


def broker_of(found: Parcel) -> MqttConfig:
    """Where a device with this parcel talks."""
    return msgspec.json.decode(found.config, type=_Settings).mqtt


def path(device: str) -> str:
    """What a device's file is called in the signed list."""
    return f"devices/{device}.json"


def parcel(repo: Path, device: str, sha256: str) -> Parcel:
    """A file that a device is offered, or was once.

    Args:
        repo: The repository's folder.
        device: Whose.
        sha256: As the signed list had it.

    Raises:
        UpdateError: It is not there, or somebody changed it.
    """
    place = repo / "targets" / "devices" / f"{sha256}.{device}.json"
    try:
        data = place.read_bytes()
    except OSError as error:
        raise UpdateError(
            f"{place}: cannot be read: {error.strerror}",
            hint="Bring the repository back from a copy.",
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UpdateError(
            f"{place}: was changed since it was published",
            hint="Bring the repository back from a copy.",
        )
    return msgspec.json.decode(data, type=Parcel)
