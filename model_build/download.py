"""A large file by HTTP: it goes on where it was cut off, and is right or not there at all.

pooch places and verifies the file; what it lacks, to go on with a part that came before, is added
here. The only door to pooch and requests.
"""

import errno
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import pooch
import requests

from edge_agent.clock import Clock
from edge_agent.errors import BuildError

Told: TypeAlias = Callable[[int, int | None], None]
"""Bytes that are there, and of the whole file where the server says so."""

_TRIES = 5
"""Without a single byte more; a connection that brings something begins to count anew."""
_WAIT_S = 2.0
_CONNECT_S, _SILENT_S = 10.0, 60.0
_CHUNK = 1 << 16
"""What a connection loses at most when it is cut."""
_BUSY = (429, 500, 502, 503, 504)

_log = logging.getLogger(__name__)


def fetch(url: str, path: Path, md5: str, told: Told, clock: Clock) -> None:
    """Have a file at `path`; one that is right already is left alone.

    A part of it is kept beside it, with the suffix `.partial`, until the next call.

    Args:
        url: Of http or https.
        path: Where the file shall lie; its folder is made.
        md5: Of the whole file, hexadecimal.
        told: Called as bytes come.
        clock: Lets time pass between two tries.

    Raises:
        BuildError: The server cannot be reached or refuses, the connection is cut off too often,
            the disk is full, or the file is not the one that was meant.
    """
    # It says on stderr what we tell ourselves, and prints a hash that nobody asked for.
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = _Resuming(path.with_name(f"{path.name}.partial"), told, clock)
    try:
        pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, downloader=downloader)
    except ValueError as error:
        if not downloader.whole:
            raise
        raise BuildError(
            f"{url}: what came is another file than expected (MD5 is not {md5}); it was removed",
            hint="Try again; if it stays so, the file there was changed or damaged: take another "
            "source by --from.",
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise downloader.full(downloader.kept()) from error


def is_right(path: Path, md5: str) -> bool:
    """Whether a file has this MD5."""
    return bool(pooch.file_hash(str(path), alg="md5") == md5)


class _Resuming:
    """Downloads for pooch, into a file that outlives it.

    Args:
        partial: Of what came so far.
        told: Called as bytes come.
        clock: Lets time pass between two tries.
    """

    def __init__(self, partial: Path, told: Told, clock: Clock) -> None:
        self.whole = False
        self._partial = partial
        self._told = told
        self._clock = clock

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Have the whole file at `output_file`."""
        failed = 0
        while not self.whole:
            before = self._size()
            try:
                self._more(url)
                self.whole = True
            except requests.RequestException as error:
                failed = 1 if self._size() > before else failed + 1
                if failed == _TRIES or not _may_pass(error):
                    raise self._given_up(url, error) from error
                wait_s = _WAIT_S * failed
                what = f"cut off at {_size(self._size())}" if self._size() else _reason(error)
                _log.info("%s: %s, trying again in %.0f s", urlsplit(url).netloc, what, wait_s)
                self._clock.wait(wait_s)
        self._partial.replace(output_file)

    def _more(self, url: str) -> None:
        """One connection; returns once the file is whole."""
        have = self._size()
        # Bytes of a compressed answer could not be counted.
        asked = {"Accept-Encoding": "identity"}
        if have:
            asked["Range"] = f"bytes={have}-"
        with requests.get(
            url, headers=asked, stream=True, timeout=(_CONNECT_S, _SILENT_S)
        ) as answer:
            range_told = answer.headers.get("Content-Range", "")
            if answer.status_code == 416 and range_told == f"bytes */{have}":
                return
            if answer.status_code == 416:
                # Longer than the file there: not a part of it.
                self._partial.unlink()
                raise requests.ConnectionError("what was kept is not a part of the file")
            answer.raise_for_status()
            goes_on = range_told.startswith(f"bytes {have}-")
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with self._partial.open("ab" if goes_on else "wb") as file:
                if total is not None:
                    self._require_space(total - have)
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    self._told(have, total)

    def _require_space(self, wanted: int) -> None:
        free = shutil.disk_usage(self._partial.parent).free
        if free < wanted:
            raise self.full(f"{_size(wanted)} more are needed and {_size(free)} are free")

    def full(self, what: str) -> BuildError:
        """Of the disk; `what` says how far it came."""
        return BuildError(
            f"{self._partial.parent}: the disk is full: {what}",
            hint="Make room, or name another disk's folder by --data; then run the command again.",
        )

    def _given_up(self, url: str, error: requests.RequestException) -> BuildError:
        have = self._size()
        kept = f"; {self.kept()}, the same command goes on from there" if have else ""
        if error.response is not None:
            what = f"{url}: refused with {error.response.status_code} {error.response.reason}"
        elif have:
            what = f"{url}: the connection breaks off again and again"
        else:
            what = f"{urlsplit(url).netloc} cannot be reached ({_reason(error)})"
        return BuildError(
            what + kept,
            hint=f"Check the network; or get {url} by other means, a browser or another machine, "
            "and give that file, or a mirror's address, by --from.",
        )

    def kept(self) -> str:
        """What is there of the file, in words."""
        return f"{_size(self._size())} came and is kept"

    def _size(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0


def _may_pass(error: requests.RequestException) -> bool:
    """Whether it is worth another try."""
    if error.response is not None:
        return error.response.status_code in _BUSY
    return not isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)


def _reason(error: BaseException) -> str:
    """The innermost cause, which is what the system said."""
    cause: BaseException | None = error
    told = type(error).__name__
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            told = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return told


def _size(count: int) -> str:
    """For people: 10^9 or 10^6 bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
