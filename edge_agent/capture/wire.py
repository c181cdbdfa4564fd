"""What travels on the pipe from the capture child: a fixed header, then 16-bit samples.

Both ends are this module, so that they cannot disagree; a version tells a child of another
release apart.
"""

import struct
from typing import NamedTuple

MAGIC = b"ESCP"
VERSION = 1
_HEADER = struct.Struct("<4sHHIIQQIIQ")
HEADER_BYTES = _HEADER.size
BYTES_PER_SAMPLE = 2
MOST_FRAMES = 1 << 20
MOST_CHANNELS = 32

# Exit codes of the child, above those that Python and the shell use.
EXIT_STOPPED = 3
EXIT_MISSING = 4
EXIT_BUSY = 5
EXIT_REFUSED = 6
EXIT_NO_PORTAUDIO = 7


class Header(NamedTuple):
    """What the child says about one block."""

    channels: int
    rate: int
    """Hz."""
    frames: int
    """Samples per channel behind the header."""
    seq: int
    """0 for the child's first block; counts blocks that were sent."""
    monotonic_ns: int
    """When the callback ran, by the machine's monotonic clock."""
    age_us: int
    """How old the first sample was then, by PortAudio's word."""
    overflows: int
    """Callbacks since the block before that reported an overrun."""
    dropped: int
    """Frames that the child's full queue lost just before this block."""

    @property
    def payload_bytes(self) -> int:
        """Bytes of samples behind the header."""
        return self.frames * self.channels * BYTES_PER_SAMPLE


def pack(header: Header) -> bytes:
    """The header as bytes."""
    channels, rate, frames, seq, monotonic_ns, age_us, overflows, dropped = header
    return _HEADER.pack(
        MAGIC, VERSION, channels, rate, frames, seq, monotonic_ns, age_us, overflows, dropped
    )


def unpack(data: bytes) -> Header:
    """The header in the first `HEADER_BYTES` of `data`.

    Raises:
        ValueError: Those bytes are no header, or one of another version.
    """
    magic, version, *fields = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ValueError(f"capture pipe: expected {MAGIC!r}, found {magic!r}")
    if version != VERSION:
        raise ValueError(f"capture pipe: expected version {VERSION}, found {version}")
    header = Header(*fields)
    if not 1 <= header.channels <= MOST_CHANNELS or not 1 <= header.frames <= MOST_FRAMES:
        raise ValueError(f"capture pipe: {header.frames} frames of {header.channels} channels")
    return header


class Splitter:
    """Bytes as they come off the pipe, cut anywhere, to whole blocks."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, data: bytes) -> list[tuple[Header, bytes]]:
        """Take the next bytes; give the blocks that are complete.

        Raises:
            ValueError: The stream is out of step; nothing after that can be trusted.
        """
        self._buffer += data
        blocks = []
        while len(self._buffer) >= HEADER_BYTES:
            header = unpack(bytes(self._buffer[:HEADER_BYTES]))
            end = HEADER_BYTES + header.payload_bytes
            if len(self._buffer) < end:
                break
            blocks.append((header, bytes(self._buffer[HEADER_BYTES:end])))
            del self._buffer[:end]
        return blocks
