"""What a check of `doctor` found, and for whom the checks look."""

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from edge_agent.errors import EarshotError

Status: TypeAlias = Literal["ok", "warning", "fault"]
_READ, _WRITE_ENTER, _ENTER = 4, 3, 1


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor's report."""

    check: str
    status: Status
    found: str
    todo: str | None = None
    """What to do; None where all is well."""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, status="ok", found=found)


def warning(check: str, found: str, todo: str) -> Finding:
    """It works, or may work; somebody should look."""
    return Finding(check=check, status="warning", found=found, todo=todo)


def fault(check: str, found: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(check=check, status="fault", found=found, todo=todo)


def refused(check: str, error: EarshotError) -> Finding:
    """What the agent itself would refuse, in its own words."""
    return fault(check, error.message, error.hint)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The user that the agent runs as."""

    name: str
    uid: int
    groups: frozenset[int]

    @property
    def is_me(self) -> bool:
        """Whether what I may is what the agent may."""
        return self.uid == os.geteuid()

    def may_read(self, path: Path) -> bool | None:
        """Whether the account may read a file; None: I may not look."""
        return self._may(path, _READ)

    def may_fill(self, folder: Path) -> bool | None:
        """Whether the account may make files in a folder; None: I may not look."""
        return self._may(folder, _WRITE_ENTER)

    def _may(self, path: Path, asked: int) -> bool | None:
        try:
            places = [*((parent, _ENTER) for parent in path.resolve().parents), (path, asked)]
            return all(self._has(place.stat(), bits) for place, bits in places)
        except PermissionError:
            return None

    def _has(self, found: os.stat_result, asked: int) -> bool:
        if self.uid == 0:
            return True
        if found.st_uid == self.uid:
            shift = 6
        elif found.st_gid in self.groups:
            shift = 3
        else:
            shift = 0
        return found.st_mode >> shift & asked == asked


def myself() -> Account:
    """Who runs this."""
    uid = os.geteuid()
    return Account(name=user_name(uid), uid=uid, groups=frozenset([*os.getgroups(), os.getegid()]))


def named(name: str) -> Account | None:
    """An account of this system."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = frozenset(os.getgrouplist(name, entry.pw_gid))
    return Account(name=name, uid=entry.pw_uid, groups=groups)


def user_name(uid: int) -> str:
    """As people know it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_id(name: str) -> int | None:
    """A group of this system."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def there(path: Path) -> bool | None:
    """Whether there is something of this name, be it a link to nothing; None: I may not look."""
    try:
        path.lstat()
    except PermissionError:
        return None
    except OSError:
        return False
    return True


def upwards(path: Path) -> Iterator[Path]:
    """A path and the folders that hold it."""
    yield path
    yield from path.parents
