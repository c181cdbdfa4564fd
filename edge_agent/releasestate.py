"""Which release this device is on, as its updater left it in `state.json`; only read here."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from edge_agent.records import ReleaseState

_LINK: Final = "current"
"""Updates put the release in force behind this link; without it nobody manages this device."""
_STATE: Final = "state.json"
_SEED: Final = 0


class _State(msgspec.Struct, frozen=True):
    """As much of the file as `info` tells."""

    state: Literal["current", "staged", "refused", "trial", "reverting", "rolled_back", "undecided"]
    number: int
    good: int
    since: str
    previous: int | None = None
    reason: str = ""


class _Release(msgspec.Struct, frozen=True):
    """As much of `release.json`."""

    release: int = 0


def read(config: Path) -> ReleaseState | None:
    """Where the device stands.

    Args:
        config: The file that the agent was started with.

    Returns:
        None where the device takes no updates, or what they left cannot be read.
    """
    if config.parent.name != _LINK:
        return None
    folder = config.parent.parent
    try:
        found = msgspec.json.decode((folder / _STATE).read_bytes(), type=_State)
    except (OSError, msgspec.MsgspecError):
        return None
    return ReleaseState(
        number=_number(folder, found.number),
        state=found.state,
        reason=found.reason,
        in_force=_number(folder, found.number if found.state == "trial" else found.good),
        previous=None if found.previous is None else _number(folder, found.previous),
        since=found.since,
    )


def _number(folder: Path, number: int) -> int:
    """As the office counts: what the device was set up with was a release there."""
    if number != _SEED:
        return number
    try:
        data = (folder / "releases" / str(_SEED) / "release.json").read_bytes()
        return msgspec.json.decode(data, type=_Release).release
    except (OSError, msgspec.MsgspecError):
        return number
