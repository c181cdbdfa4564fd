"""What a repository offers this device: python-tuf verifies, this module asks and puts in words.

The door to tuf on the device. Each failure of the client is one sentence, and nothing that it
fetched is used.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import msgspec
from tuf.api.exceptions import BadVersionNumberError as OlderError
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge_agent.errors import UpdateError
from edge_agent.release import Offer, Parcel, Release
from edge_agent.updating import durable
from edge_agent.updating.fetching import AbsentError, Origin

MAX_PARCEL_BYTES: Final = 1_000_000
MAX_MODEL_BYTES: Final = 64_000_000
_AGAIN: Final = "Nothing was changed. Publish the repository again, and look who else writes to it."
_KEEPS: Final = "The device keeps what it has, and the next update tries again."


class _Fetcher(FetcherInterface):
    """Lets tuf read from an origin; its names are `earshot:` and the path."""

    PREFIX = "earshot:"

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._pieces(url.removeprefix(self.PREFIX))

    def _pieces(self, name: str) -> Iterator[bytes]:
        try:
            yield from self._origin.pieces(name)
        except AbsentError as error:
            raise DownloadHTTPError(str(error), error.status) from error


class Repository:
    """A device's view of a repository.

    Args:
        folder: Where the client keeps what it has verified; made where it is missing.
        root: The root metadata that this device was given.
        origin: Where the files come from.
    """

    def __init__(self, folder: Path, root: bytes, origin: Origin) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._updater = Updater(
                str(folder),
                f"{_Fetcher.PREFIX}metadata/",
                target_base_url=f"{_Fetcher.PREFIX}targets/",
                fetcher=_Fetcher(origin),
                config=UpdaterConfig(targets_max_length=2_000_000),
                bootstrap=root,
            )
        except OSError as error:
            raise durable.refused(folder, error) from error
        except RepositoryError as error:
            raise UpdateError(
                f"the device's own root metadata cannot be used: {error}",
                hint="Copy metadata/1.root.json of the repository there.",
            ) from error

    def offer(self, device: str) -> tuple[Offer, TargetFile] | None:
        """What is published for a device; None: nothing.

        Raises:
            UpdateError: The repository cannot be reached, or is not to be trusted.
        """
        try:
            self._updater.refresh()
            target = self._updater.get_targetinfo(f"devices/{device}.json")
            durable.sync_tree(self._folder)
        except (DownloadError, RepositoryError, OSError) as error:
            self._explain(error)
        if target is None:
            return None
        try:
            return msgspec.convert(target.custom, Offer), target
        except msgspec.ValidationError as error:
            raise UpdateError(
                f"devices/{device}.json: is not published as this agent knows it: {error}",
                hint="A newer office may have published it: update the agent.",
            ) from error

    def parcel(self, device: str, offer: Offer, target: TargetFile) -> tuple[Release, Parcel]:
        """Fetch a device's release.

        Raises:
            UpdateError: It differs from what was signed, or is of another device or release.
        """
        data = self._download(target, MAX_PARCEL_BYTES)
        try:
            parcel = msgspec.json.decode(data, type=Parcel)
            release = msgspec.json.decode(parcel.release, type=Release)
        except msgspec.MsgspecError as error:
            raise UpdateError(
                f"{target.path}: is not published as this agent knows it: {error}",
                hint="A newer office may have published it: update the agent.",
            ) from error
        if (release.device, release.release) != (device, offer.release):
            raise UpdateError(
                f"{target.path}: is release {release.release} of {release.device}, not "
                f"{offer.release} of {device}",
                hint=_AGAIN,
            )
        return release, parcel

    def model(self, release: Release) -> bytes:
        """Fetch the packed model of a release.

        Raises:
            UpdateError: It is not there, or differs from what was signed.
        """
        name = f"models/{release.model}-{release.model_sha256}.tar"
        try:
            target = self._updater.get_targetinfo(name)
        except (DownloadError, RepositoryError, OSError) as error:
            self._explain(error)
        if target is None:
            raise UpdateError(
                f"the repository has no {name}", hint="Publish the release again with its model."
            )
        return self._download(target, MAX_MODEL_BYTES)

    def _download(self, target: TargetFile, limit: int) -> bytes:
        if target.length > limit:
            raise UpdateError(
                f"{target.path}: is said to have {target.length} bytes, and {limit} are allowed",
                hint=_AGAIN,
            )
        place = self._folder / ".download"
        try:
            self._updater.download_target(target, str(place))
            return place.read_bytes()
        except (DownloadError, RepositoryError, OSError) as error:
            self._explain(error)
        finally:
            place.unlink(missing_ok=True)

    def _explain(self, error: Exception) -> NoReturn:
        match error:
            case DownloadHTTPError():
                message = f"the repository lacks a file: {error}"
                raise UpdateError(message, hint=_KEEPS) from error
            case DownloadLengthMismatchError():
                message = "the repository sent more than it may: the answer was cut off"
                raise UpdateError(message, hint=_AGAIN) from error
            case DownloadError():
                cause = error.__cause__
                if isinstance(cause, UpdateError):
                    raise cause
                raise UpdateError(f"the download failed: {error}", hint=_KEEPS) from error
            case ExpiredMetadataError():
                raise UpdateError(
                    f"metadata expired: {error}",
                    hint="Run `edge-agent fleet publish --refresh` in the office; or this device's "
                    "clock is wrong (`timedatectl`). It keeps what it has.",
                ) from error
            case OlderError():
                raise UpdateError(
                    f"the repository is older than what this device has seen: {error}", hint=_AGAIN
                ) from error
            case UnsignedMetadataError():
                raise UpdateError(
                    f"not signed by the keys that this device trusts: {error}", hint=_AGAIN
                ) from error
            case LengthOrHashMismatchError():
                raise UpdateError(
                    f"a file differs from what was signed: {error}", hint=_AGAIN
                ) from error
            case RepositoryError():
                raise UpdateError(f"the repository is damaged: {error}", hint=_AGAIN) from error
            case OSError():
                raise durable.refused(self._folder, error) from error
        raise error
