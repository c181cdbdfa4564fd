"""A rollout as it stands: `rollouts/0042.json`, a file that is always whole.

It is written before each step that it names, so that whoever goes on after a cut does that step
again, which changes nothing where it was done already.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from edge_agent.errors import ConfigError
from edge_agent.fleet.rolloutplan import FILE, FOLDER, Plan
from edge_agent.fleet.secrets import put

Outcome: TypeAlias = Literal[
    "untouched", "waiting", "kept", "rolled back", "refused", "undecided", "drift", "superseded",
    "silent", "late", "returned",
]  # fmt: skip
FAILED: Final[frozenset[Outcome]] = frozenset(
    {"rolled back", "refused", "undecided", "drift", "superseded"}
)
MISSED: Final[frozenset[Outcome]] = frozenset({"silent", "late"})
"""No answer; what became of the release there, nobody knows."""


class Before(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was published for a device, and can be again."""

    release: int
    sha256: str
    """Of the file in the repository."""
    config_sha256: str


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device that the release is for."""

    ring: int
    site: str
    content: str
    """Of what it is given; a folder that was changed meanwhile would make another."""
    config_sha256: str
    before: Before | None
    """None: this is its first release."""
    published_ns: int | None = None
    """UTC."""
    outcome: Outcome = "untouched"
    why: str = ""
    back: bool = False
    """It runs what it ran before."""


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it."""

    v: Literal[1] = 1
    release: int
    began: str
    """RFC 3339, UTC."""
    who: str
    state: Literal["running", "stopped", "aborted", "done"] = "running"
    reason: str = ""
    plan: Plan
    ring: int = 0
    """The one in progress."""
    soak_since_ns: int | None = None
    """UTC; None: it is not complete yet."""
    forgiven: tuple[str, ...] = ()
    """Devices whose failure a person has seen, and went on."""
    abort_release: int | None = None
    """The number under which what was before was given again."""
    sites: dict[str, int]
    """How many devices each has, those included that the release is not for."""
    members: dict[str, Member]

    def given(self) -> dict[str, Member]:
        """Those that the release was published for."""
        return {name: one for name, one in self.members.items() if one.published_ns is not None}

    def under_way(self) -> dict[str, Member]:
        """Those of them that have not answered yet."""
        return {name: one for name, one in self.given().items() if one.outcome == "waiting"}


def file(fleet: Path, release: int) -> Path:
    """Where a rollout is kept."""
    return fleet / FOLDER / f"{release:04}.json"


def keep(fleet: Path, rollout: Rollout) -> None:
    """Put it on the disk, whole.

    Raises:
        ConfigError: The disk refuses; what was there stays.
    """
    data = msgspec.json.format(msgspec.json.encode(rollout), indent=1) + b"\n"
    put(file(fleet, rollout.release), data)


def load(fleet: Path, release: int) -> Rollout | None:
    """A release's rollout; None: it was never begun.

    Raises:
        ConfigError: It cannot be read.
    """
    place = file(fleet, release)
    try:
        return msgspec.json.decode(place.read_bytes(), type=Rollout)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"{place}: cannot be read: {error}", hint="Bring it back from git, or from a copy."
        ) from error


def all_of(fleet: Path) -> Iterator[Rollout]:
    """All rollouts, the latest first.

    Raises:
        ConfigError: One cannot be read.
    """
    names = [one.stem for one in (fleet / FOLDER).glob("[0-9]*.json") if one.stem.isdecimal()]
    for release in sorted(map(int, names), reverse=True):
        found = load(fleet, release)
        if found is not None:
            yield found


@contextmanager
def alone(fleet: Path) -> Iterator[None]:
    """Nobody else leads a rollout of this folder for as long as the context lasts.

    Raises:
        ConfigError: Somebody does.
    """
    place = fleet / FOLDER / FILE
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"{place}: cannot be read: {error.strerror}",
            hint="Copy it from the sample that `edge-agent fleet init` makes.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{place.parent}: another rollout command is at work there",
                hint="Wait for it, or end it: a rollout goes on where it was.",
            ) from error
        yield
    finally:
        os.close(descriptor)
