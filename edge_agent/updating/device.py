"""What a device knows of its updates: `updates.json`, which no release changes."""

import hashlib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from edge_agent.errors import UpdateError

SETTINGS: Final = Path("/etc/earshot/updates.json")
_SEEDS: Final = ("agent.json", "agent.yaml")
_DEVICE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$(?!\n)"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`updates.json`."""

    repository: Annotated[str, Meta(min_length=1)]
    """https://..., or the path of a folder."""
    device: Annotated[str, Meta(pattern=_DEVICE)]
    root: Annotated[str, Meta(min_length=1)] = "updates-root.json"
    """The root metadata that is trusted; a relative path begins beside this file."""
    state_dir: Annotated[str, Meta(min_length=1)] = "/var/lib/earshot-config"
    runtime_dir: Annotated[str, Meta(min_length=1)] = "/run/earshot"
    """Where the agent leaves its heartbeat."""


def load(path: Path) -> Settings:
    """Read `updates.json`.

    Raises:
        UpdateError: It is not there, or something in it is not allowed.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise UpdateError(
            f"{path}: cannot be read: {error.strerror}",
            hint="docs/updates.md says what belongs there.",
        ) from error
    except msgspec.MsgspecError as error:
        raise UpdateError(
            f"{path}: {error}", hint="docs/updates.md says what it may say."
        ) from error


def root(path: Path, settings: Settings) -> bytes:
    """The root metadata that the device was given.

    Raises:
        UpdateError: It is not there.
    """
    place = path.parent / settings.root
    try:
        return place.read_bytes()
    except OSError as error:
        raise UpdateError(
            f"{place}: cannot be read: {error.strerror}",
            hint="Copy metadata/1.root.json of the repository there.",
        ) from error


def seeds(path: Path) -> tuple[Path, ...]:
    """Where the configuration may stand that a device was set up with."""
    return tuple(path.parent / name for name in _SEEDS)


def delay_s(settings: Settings, release: int, window_s: int) -> float:
    """This device's place in the window: by a hash, so that a fleet spreads evenly."""
    digest = hashlib.sha256(f"{settings.device}:{release}".encode()).digest()
    return window_s * int.from_bytes(digest[:8], "big") / 2**64
