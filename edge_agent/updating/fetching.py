"""Where a repository's files come from: a web server, or a folder such as a stick's."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.errors import UpdateError

QUIET_S: Final = 30.0
"""A server that says nothing for so long is given up."""
FILE_S: Final = 300.0
"""No file takes longer: one that comes drop by drop would hold the device for days."""
_CHUNK: Final = 65536


class AbsentError(Exception):
    """The repository answers, and does not have the file.

    Args:
        name: Of the file.
        status: Of HTTP.
    """

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name}: HTTP {status}")
        self.status = status


class Origin(Protocol):
    """Gives a repository's files."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file, piece by piece; whoever reads stops where it is too long.

        Raises:
            AbsentError: It is not there.
            UpdateError: Nobody answers, or the answer breaks off.
        """
        ...


def origin(place: str, clock: Clock) -> Origin:
    """What an address or a folder's path stands for.

    Args:
        place: https://..., or a path.
        clock: Limits how long a file may take.

    Raises:
        UpdateError: It is neither.
    """
    if place.startswith(("http://", "https://")):
        return Web(place, clock)
    if "://" in place:
        raise UpdateError(
            f"{place}: is no address of a repository",
            hint="Write https://..., or the path of a folder.",
        )
    folder = Path(place)
    if not (folder / "metadata").is_dir():
        raise UpdateError(
            f"{folder}: holds no repository",
            hint="Name the folder in which `fleet publish` made metadata/ and targets/.",
        )
    return Folder(folder)


class Web:
    """A static web server.

    Args:
        address: Above metadata/ and targets/.
        clock: Its monotonic time limits a file.
        quiet_s: After how long without a byte it is given up.
        file_s: How long a file may take.
    """

    def __init__(
        self, address: str, clock: Clock, quiet_s: float = QUIET_S, file_s: float = FILE_S
    ) -> None:
        self._clock = clock
        self._address = address if address.endswith("/") else f"{address}/"
        self._quiet_s = quiet_s
        self._file_s = file_s

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file, piece by piece."""
        end_ns = self._clock.monotonic_ns() + round(self._file_s * 1e9)
        request = urllib.request.Request(  # noqa: S310 # http or https, see `origin`
            f"{self._address}{name}", headers={"User-Agent": f"earshot/{__version__}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._quiet_s) as answer:  # noqa: S310
                left = int(answer.headers.get("Content-Length") or -1)
                while piece := answer.read1(_CHUNK):
                    left -= len(piece)
                    yield piece
                    if self._clock.monotonic_ns() > end_ns:
                        raise UpdateError(
                            f"{self._address}: {name} was not whole after {self._file_s:.0f} s",
                            hint="The next update tries again; look at the line and the server.",
                        )
                if left > 0:
                    raise UpdateError(
                        f"{self._address}: {name} broke off, {left} bytes are missing",
                        hint="The next update tries again.",
                    )
        except urllib.error.HTTPError as error:
            error.close()
            raise AbsentError(name, error.code) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = getattr(error, "reason", error)
            raise UpdateError(
                f"{self._address}: cannot be fetched from: {cause or type(error).__name__}",
                hint="The device keeps what it has, and the next update tries again.",
            ) from error


class Folder:
    """A repository that was copied to a stick.

    Args:
        path: Of the folder that holds metadata/ and targets/.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file, piece by piece."""
        if ".." in PurePosixPath(name).parts:
            raise AbsentError(name, 404)
        try:
            with (self._path / name).open("rb") as file:
                while piece := file.read(_CHUNK):
                    yield piece
        except FileNotFoundError as error:
            raise AbsentError(name, 404) from error
        except OSError as error:
            raise UpdateError(
                f"{self._path / name}: cannot be read: {error.strerror}",
                hint="Copy the repository to the stick again.",
            ) from error
