"""What a card's device is given so that it can tell the office's releases from anybody else's."""

import msgspec

from edge_agent.errors import ConfigError
from edge_agent.fleet.folder import FLEET_FILE, Folder

_EXTRA = "ota"


class _Signed(msgspec.Struct, kw_only=True, tag_field="_type", tag="root"):
    """TUF 1.0, 4.3: as far as it tells root metadata from other files."""

    version: int


class _Root(msgspec.Struct, kw_only=True):
    signed: _Signed


def root(folder: Folder) -> bytes:
    """The root metadata for `updates-root.json`; empty where the fleet takes no updates.

    Raises:
        ConfigError: It is not there, is something else, or the agent that a card installs has
            nothing to verify releases with.
    """
    updates = folder.settings.updates
    if updates is None:
        return b""
    agent = folder.settings.flash.agent
    if agent is not None and _EXTRA not in agent:
        raise ConfigError(
            f"{FLEET_FILE}: flash.agent: {agent} cannot verify updates",
            hint=f'Name the extra: agent: "earshot[{_EXTRA}]"; or leave `updates` out.',
        )
    place = folder.path / updates.root
    hint = "Copy metadata/1.root.json there, which `fleet keys init` left in the repository."
    try:
        data = place.read_bytes()
        msgspec.json.decode(data, type=_Root)
    except OSError as error:
        raise ConfigError(
            f"{FLEET_FILE}: updates.root: {place}: {error.strerror}", hint=hint
        ) from error
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"{FLEET_FILE}: updates.root: {place} is no root metadata: {error}", hint=hint
        ) from error
    return data
