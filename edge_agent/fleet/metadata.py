"""The signed lists of a repository as files: each version under a name of its own.

What comes from the disk is verified before anything of it is signed again.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge_agent.errors import UpdateError

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)

_TIMESTAMP: Final = "timestamp"
_DAMAGED: Final = "Put a copy of the repository back that was published."


class _Signed(msgspec.Struct, frozen=True):
    expires: datetime


class _File(msgspec.Struct, frozen=True):
    signed: _Signed


class Store:
    """The folder of lists; those that are written are found again by their newest version.

    Args:
        path: Of the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: dict[str, int] | None = None

    def exists(self) -> bool:
        """Whether a repository was finished here."""
        return (self._path / f"{_TIMESTAMP}.json").exists()

    def make(self) -> None:
        """The folder.

        Raises:
            OSError: It cannot be made.
        """
        self._path.mkdir(parents=True, exist_ok=True)

    def version(self, name: str) -> int:
        """The newest of a list.

        Raises:
            UpdateError: There is none.
        """
        if self._newest is None:
            self._newest = {}
            for file in self._path.glob("*.*.json"):
                number, _, rest = file.name.partition(".")
                if number.isdecimal():
                    of = rest.removesuffix(".json")
                    self._newest[of] = max(int(number), self._newest.get(of, 0))
        if name not in self._newest:
            raise UpdateError(
                f"{self._path.parent}: holds no repository",
                hint="Begin one: edge-agent fleet keys init --keys DIR --repo DIR.",
            )
        return self._newest[name]

    def write(self, name: str, metadata: Metadata[T]) -> bytes:
        """A new version, or the timestamp in place of the one before it.

        Returns:
            Its bytes.

        Raises:
            OSError: It cannot be written.
        """
        data = metadata.to_bytes()
        if name == _TIMESTAMP:
            beside = self._path / f".{name}.json.new"
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path / f"{name}.json")
        else:
            (self._path / f"{metadata.signed.version}.{name}.json").write_bytes(data)
            if self._newest is not None:
                self._newest[name] = metadata.signed.version
        return data

    def read(self, name: str, kind: type[T]) -> Metadata[T]:
        """The newest version of a list.

        Raises:
            UpdateError: It cannot be read, or is something else.
        """
        place = self._place(name)
        try:
            found: Metadata[T] = Metadata[T].from_bytes(self._bytes(place))
        except DeserializationError as error:
            raise UpdateError(f"{place}: is damaged", hint=_DAMAGED) from error
        if not isinstance(found.signed, kind):
            raise UpdateError(f"{place}: is no {name}", hint=_DAMAGED)
        return found

    def expires(self, name: str) -> datetime:
        """When the newest version of a list does.

        Raises:
            UpdateError: It cannot be read.
        """
        place = self._place(name)
        try:
            return msgspec.json.decode(self._bytes(place), type=_File).signed.expires
        except msgspec.MsgspecError as error:
            raise UpdateError(f"{place}: is damaged", hint=_DAMAGED) from error

    def verify(self, found: Metadata[T], name: str, by: Root | Targets) -> None:
        """Nothing that was changed on this disk is signed again.

        Raises:
            UpdateError: It is not signed by the key that speaks for it.
        """
        try:
            by.verify_delegate(name, found.signed_bytes, found.signatures)
        except (RepositoryError, ValueError) as error:
            raise UpdateError(
                f"{self._path}: {name} is not signed by its key: {error}", hint=_DAMAGED
            ) from error

    def _place(self, name: str) -> Path:
        if name == _TIMESTAMP:
            return self._path / f"{name}.json"
        return self._path / f"{self.version(name)}.{name}.json"

    def _bytes(self, place: Path) -> bytes:
        try:
            return place.read_bytes()
        except OSError as error:
            raise UpdateError(
                f"{place}: cannot be read: {error.strerror}", hint=_DAMAGED
            ) from error
