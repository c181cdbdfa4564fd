"""Ids that repeat with the seed and never rest on the clock: UUIDv7 from start and count.

The layout is that of docs/mqtt.md: 48 bits of the thing's start in Unix milliseconds, version 7,
then 74 bits of BLAKE2b over `seed:file:count`.
"""

import hashlib
import uuid


class Ids:
    """The ids of one start of the agent, or of one replayed file.

    Args:
        seed: 64 random bits in `run`; the user's number in `replay`.
        file: Position of the file on the command line, from 0.
        boot: The `boot` field; by default it is derived from seed and file.
    """

    def __init__(self, seed: int, file: int = 0, boot: str | None = None) -> None:
        self._prefix = f"{seed}:{file}"
        self._count = 0
        if boot is None:
            boot = hashlib.blake2b(self._prefix.encode(), digest_size=8).hexdigest()
        self.boot = boot

    def new(self, start_ns: int) -> str:
        """The next id, for a thing that started at `start_ns` (nanoseconds UTC)."""
        self._count += 1
        text = f"{self._prefix}:{self._count}".encode()
        digest = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
        unix_ms = max(0, start_ns // 1_000_000) & (1 << 48) - 1
        value = unix_ms << 80 | 0x7 << 76 | (digest >> 64 & 0xFFF) << 64
        return str(uuid.UUID(int=value | 0b10 << 62 | digest & (1 << 62) - 1))
