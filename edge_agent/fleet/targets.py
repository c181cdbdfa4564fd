"""What is given to devices: files, what is signed of them, and over how many lists they spread."""

import os
from typing import Final

import msgspec

from edge_agent.release import Offer

DEVICES_PER_BIN: Final = 40


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A file for devices."""

    path: str
    data: bytes
    offer: Offer | None
    """None: of a model, which is told by its name."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed of a device's file."""

    offer: Offer
    sha256: str
    """Of the file, and the beginning of its name."""


def bits_for(devices: int) -> int:
    """How many bits of the hash choose a bin: the power of two next to a fortieth of the devices.

    At least two bins, at most 2^12.
    """
    bits = max(1, round_log2(devices / DEVICES_PER_BIN))
    return min(bits, 12)


def round_log2(value: float) -> int:
    """The exponent of the power of two next to a value, by ratio; 0 below 1."""
    exponent = 0
    while value > 2**exponent * 2**0.5:
        exponent += 1
    return exponent


def put(path: str, data: bytes) -> None:
    """Write a file, and its folder where that is missing.

    Ten thousand of them by pathlib cost a quarter of a second more.

    Raises:
        OSError: The disk refuses.
    """
    try:
        _write(path, data)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 # see above
        _write(path, data)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
