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
PIPE_BYTES = 256 * 1024
"""What the pipe holds: 2.7 s of one channel at 48 kHz."""

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


def unpack(data: bytes | memoryview) -> Header:
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
    """Bytes as they come off the pipe, cut anywhere, to whole blocks; none of them is copied."""

    def __init__(self) -> None:
        self._buffer = bytearray(PIPE_BYTES)
        self._filled = 0
        self._used = 0
        self._needed = 0

    def room(self) -> memoryview:
        """Where the next bytes are to be put; samples that were given before are lost by that."""
        rest = self._buffer[self._used : self._filled]
        if self._needed > len(self._buffer):
            self._buffer = bytearray(self._needed)
        self._buffer[: len(rest)] = rest
        self._filled, self._used = len(rest), 0
        return memoryview(self._buffer)[self._filled :]

    def took(self, count: int) -> list[tuple[Header, memoryview]]:
        """So many bytes were put there: the blocks that are complete, each with its samples.

        Raises:
            ValueError: The stream is out of step; nothing after that can be trusted.
        """
        self._filled += count
        view = memoryview(self._buffer)
        blocks = []
        while self._filled - self._used >= HEADER_BYTES:
            header = unpack(view[self._used :])
            self._needed = HEADER_BYTES + header.payload_bytes
            if self._filled - self._used < self._needed:
                break
            end = self._used + self._needed
            blocks.append((header, view[self._used + HEADER_BYTES : end]))
            self._used = end
        return blocks
