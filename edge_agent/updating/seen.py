"""What the last look at a repository found, so that one without news costs one small request.

The signed timestamp names everything else by hash. Where the server still gives the very bytes
that were verified the last time, and nothing of what was verified then has expired, the answer is
what it was: no signature has to be looked at, and the libraries for it need not be loaded.
"""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.updating import durable
from edge_agent.updating.fetching import AbsentError, Origin

FILE: Final = "seen.json"
_TIMESTAMP: Final = "timestamp.json"
_MAX_BYTES: Final = 16384


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last look."""

    root_sha256: str
    """Of the root metadata that the device was given."""
    timestamp_sha256: str
    expires: str
    """RFC 3339, UTC: when the first of what was verified expires."""
    device: str
    release: int | None
    """What was offered; None: nothing."""


class _Signed(msgspec.Struct, frozen=True):
    expires: str


class _Metadata(msgspec.Struct, frozen=True):
    signed: _Signed


def read(path: Path) -> Seen | None:
    """The last look; None where there was none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Seen)
    except (OSError, msgspec.MsgspecError):
        return None


def note(path: Path, verified: Path, root: bytes, device: str, release: int | None) -> None:
    """Keep what was found.

    Args:
        path: The file.
        verified: The client's folder of verified metadata.
        root: What the device was given.
        device: Whose offer it was.
        release: What was offered.

    Raises:
        UpdateError: The disk refuses.
    """
    found = Seen(
        root_sha256=hashlib.sha256(root).hexdigest(),
        timestamp_sha256=hashlib.sha256((verified / _TIMESTAMP).read_bytes()).hexdigest(),
        expires=min(
            msgspec.json.decode(file.read_bytes(), type=_Metadata).signed.expires
            for file in verified.glob("*.json")
        ),
        device=device,
        release=release,
    )
    if read(path) != found:
        durable.write(path, msgspec.json.encode(found))


def unchanged(seen: Seen, root: bytes, device: str, now: str, origin: Origin) -> bool:
    """Whether the repository is what it was at the last look.

    Args:
        seen: That look.
        root: What the device was given.
        device: Whose offer is asked for.
        now: RFC 3339, UTC.
        origin: Where the repository is.

    Raises:
        UpdateError: Nobody answers.
    """
    if (seen.root_sha256, seen.device) != (hashlib.sha256(root).hexdigest(), device):
        return False
    if now >= seen.expires:
        return False
    data = b""
    try:
        for piece in origin.pieces(f"metadata/{_TIMESTAMP}"):
            data += piece
            if len(data) > _MAX_BYTES:
                return False
    except AbsentError:
        return False
    return hashlib.sha256(data).hexdigest() == seen.timestamp_sha256
