"""The folder of a device's releases: what is in force, what can be returned to.

    releases/0/config.json      the seed, kept for good
    releases/41/config.json     and release.json, and models/... where the release brings one
    current -> releases/41      what the service reads
    state.json  update.lock  state.lock
    tuf/                        what the update client has verified so far

The folder is root's. The agent reads in it and writes nowhere near it: its calibration and what it
measured lie in its own state folder.
"""

import fcntl
import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.errors import UpdateError
from edge_agent.release import Parcel, Release
from edge_agent.updating import durable, state
from edge_agent.updating.state import State

SEED: Final = 0
CONFIG: Final = "config.json"
RELEASE: Final = "release.json"
CURRENT: Final = "current"
_STAGING: Final = ".staging"


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """As much of a configuration's `mqtt` as a sentence needs."""

    host: str = "localhost"
    port: int = 1883


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    mqtt: Broker = Broker()


class _Connection(msgspec.Struct, frozen=True, kw_only=True):
    mqtt: object = None
    site: object = None


class Releases:
    """A folder of releases.

    Args:
        path: Made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tuf = path / "tuf"
        self._state = path / state.FILE

    def folder(self, number: int) -> Path:
        """Of a release."""
        return self.path / "releases" / str(number)

    def config(self, number: int) -> Path:
        """The configuration of a release."""
        return self.folder(number) / CONFIG

    def read_state(self) -> State | None:
        """How far an update is; None: nobody knows."""
        return state.read(self._state)

    def write_state(self, entered: State) -> State:
        """Put it on the disk before what it says is done.

        Raises:
            UpdateError: The disk refuses.
        """
        state.write(self._state, entered)
        return entered

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """For a read and a write of the state that belong together: nobody else does so now."""
        with self._locked("state.lock", fcntl.LOCK_EX):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a whole update.

        Raises:
            UpdateError: Another one is at work.
        """
        try:
            with self._locked("update.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield
        except BlockingIOError as error:
            raise UpdateError(
                f"{self.path}: another update is at work",
                hint="Wait for it: `systemctl status earshot-update` shows how far it is.",
            ) from error

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise durable.refused(self.path / name, error) from error
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def in_force(self) -> int | None:
        """The release that the service reads at its next start."""
        try:
            name = (self.path / CURRENT).readlink().name
        except OSError:
            return None
        return int(name) if name.isdecimal() else None

    def put_in_force(self, number: int) -> None:
        """Let the service read a release from its next start on.

        Raises:
            UpdateError: The disk refuses.
        """
        durable.link(self.path / CURRENT, f"releases/{number}")

    def release(self, number: int) -> Release | None:
        """What the office said of a release; None: nothing, or it cannot be read."""
        try:
            return msgspec.json.decode((self.folder(number) / RELEASE).read_bytes(), type=Release)
        except (OSError, msgspec.MsgspecError):
            return None

    def config_sha256(self, number: int) -> str | None:
        """Of a release's configuration as it lies there."""
        try:
            return hashlib.sha256(self.config(number).read_bytes()).hexdigest()
        except OSError:
            return None

    def whole(self, number: int) -> bool:
        """Whether a release is there as it was delivered."""
        release = self.release(number)
        return release is not None and self.config_sha256(number) == release.config_sha256

    def usable(self, number: int) -> bool:
        """Whether a release can be read: somebody may have edited it, which is no damage."""
        try:
            msgspec.json.decode(self.config(number).read_bytes(), type=dict[str, object])
        except (OSError, msgspec.MsgspecError):
            return False
        return True

    def broker(self, number: int) -> Broker:
        """Whom a release's agent talks to."""
        try:
            return msgspec.json.decode(self.config(number).read_bytes(), type=_Settings).mqtt
        except (OSError, msgspec.MsgspecError):
            return Broker()

    def same_connection(self, one: int, other: int) -> bool:
        """Whether two releases reach the broker by the same settings."""
        try:
            found = [
                msgspec.json.decode(self.config(number).read_bytes(), type=_Connection)
                for number in (one, other)
            ]
        except (OSError, msgspec.MsgspecError):
            return False
        return found[0] == found[1]

    def stage(self, release: Release, parcel: Parcel, model: tuple[Path, bytes] | None) -> None:
        """Lay a release down, whole and on the disk, without putting it in force.

        Args:
            release: What the parcel says of itself.
            parcel: Verified.
            model: Where in the release it belongs, and the packed folder.

        Raises:
            UpdateError: The disk refuses, or the model cannot be unpacked; nothing is left of it.
        """
        staging, place = self.path / _STAGING, self.folder(release.release)
        durable.clear(staging)
        try:
            staging.mkdir()
            durable.place(staging / CONFIG, parcel.config.encode())
            durable.place(staging / RELEASE, parcel.release.encode())
            if model is not None:
                _unpack(model[1], staging / model[0])
            durable.sync_tree(staging)
            place.parent.mkdir(exist_ok=True)
            durable.clear(place)
            staging.rename(place)
            durable.sync_folder(place.parent)
            durable.sync_folder(self.path)
        except OSError as error:
            durable.clear(staging)
            raise durable.refused(place, error) from error
        except tarfile.TarError as error:
            durable.clear(staging)
            raise UpdateError(
                f"the model of release {release.release} cannot be unpacked: {error}",
                hint="Publish the release again under a higher number.",
            ) from error

    def prune(self, keep: Collection[int]) -> None:
        """Take away all releases but these and the seed, and what an interrupted step left."""
        durable.clear(self.path / _STAGING)
        kept = {str(number) for number in (*keep, SEED)}
        for place in sorted((self.path / "releases").glob("*")):
            if place.name not in kept:
                durable.clear(place)


def _unpack(packed: bytes, place: Path) -> None:
    place.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as files:
        files.extractall(place, filter="data")
