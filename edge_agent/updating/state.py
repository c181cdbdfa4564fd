"""How far an update is: `state.json`, written and synced before each step that it names."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from edge_agent.clock import Clock
from edge_agent.updating import durable

FILE: Final = "state.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Name: TypeAlias = Literal[
    "current", "staged", "refused", "trial", "reverting", "rolled_back", "undecided"
]
Criterion: TypeAlias = Literal["ready", "heartbeat", "block", "inference", "ack", "faults"]


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An instant that no step of the wall clock moves."""

    boot: str
    monotonic_ns: int


class Before(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the agent was under the release before."""

    unmet: tuple[Criterion, ...] = ()
    """What failed already, and so cannot condemn the next release."""
    faults: tuple[str, ...] = ()


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in force, and what is being done about a newer release."""

    v: Literal[1] = 1
    state: Name
    number: int
    """The release that the state is about."""
    good: int
    """The one that worked last; what is returned to."""
    previous: int | None = None
    """The one that worked before that."""
    highest: int = 0
    """No release up to this one is taken up (again)."""
    reason: str = ""
    since: str
    """RFC 3339, UTC, by the device's clock."""
    starts: int = 0
    """Of the service since this state was entered."""
    started: Moment | None = None
    """The first of them."""
    before: Before = Before()
    unmet: tuple[Criterion, ...] = ()
    """What condemned the release."""
    new_faults: tuple[str, ...] = ()
    tries: int = 0
    """How often it ended undecided."""
    not_before_ns: int = 0
    """UTC: when a staged or undecided release gets its turn."""
    agent: str = ""
    """The agent that refused it."""

    def entering(self, state: Name, clock: Clock, **changes: object) -> "State":
        """The same with another state, which begins now."""
        fresh = {"state": state, "since": rfc3339(clock.utc_ns()), "starts": 0, "started": None}
        return msgspec.structs.replace(self, **{**fresh, **changes})


def read(path: Path) -> State | None:
    """The state in a file; None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: Path, state: State) -> None:
    """Put it on the disk before what it says is done.

    Raises:
        UpdateError: The disk refuses.
    """
    durable.write(path, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")


def boot_id() -> str:
    """What the time since the last boot is called.

    systemd's word comes first (`%b` in the units): in a container, a sandboxed unit may see another
    one in /proc than one that is not.
    """
    told = os.environ.get("EARSHOT_BOOT")
    if told:
        return told.replace("-", "")
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")
    except OSError:
        return "unknown"


def moment(clock: Clock, boot: Callable[[], str] = boot_id) -> Moment:
    """Now."""
    return Moment(boot=boot(), monotonic_ns=clock.monotonic_ns())


def rfc3339(utc_ns: int) -> str:
    """UTC to the second."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return (start + timedelta(seconds=utc_ns // 1_000_000_000)).strftime("%Y-%m-%dT%H:%M:%SZ")
