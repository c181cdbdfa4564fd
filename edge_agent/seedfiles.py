"""What a seed puts on a device, as both know it: the office that writes, the device that clears."""

import os
from pathlib import Path
from typing import BinaryIO, Final

USER_DATA: Final = "user-data"
NETWORK_CONFIG: Final = "network-config"
META_DATA: Final = "meta-data"
BOOT: Final = "/boot/firmware"
"""Where Raspberry Pi OS and Ubuntu mount the boot partition."""

CONFIG: Final = "/etc/earshot/agent.json"
RELEASE: Final = "/etc/earshot/release.json"
UPDATES: Final = "/etc/earshot/updates.json"
UPDATES_ROOT: Final = "/etc/earshot/updates-root.json"
SETUP: Final = "/etc/earshot/setup"
PACKAGES: Final = f"{SETUP}/packages"
REQUIREMENTS: Final = f"{SETUP}/requirements.txt"
CREDENTIALS: Final = "/etc/earshot/credentials"
SETUP_UNIT: Final = "/etc/systemd/system/earshot-setup.service"
SETUP_AGENT: Final = f"{SETUP_UNIT}.d/10-agent.conf"
SEEDED: Final = "/etc/systemd/system/earshot-agent.service.d/60-seeded.conf"


def overwrite(path: Path, data: bytes) -> None:
    """Give a file another content, so that nothing of the old one is left in its place.

    A file that is cut to nothing and written anew lets go of its blocks with what is in them; FAT
    has no rights, so whoever finds the card could read them. What a card's own wear levelling
    keeps is beyond reach.

    Args:
        path: Made if it is not there.
        data: The new content.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > len(data):
            _put(file, bytes(size))
        _put(file, data)
        if size > len(data):
            # Last: the blocks that it lets go of hold zeros on the disk.
            file.truncate(len(data))
            os.fsync(file.fileno())


def blank(path: Path, stub: bytes) -> None:
    """Write a short text over a file and blank lines over its rest.

    Its size and its blocks stay, so that a loss of power cannot harm the file system.

    Args:
        path: Of a file that is there.
        stub: What is left in it.
    """
    with _opened(path) as file:
        _put(file, stub.ljust(os.fstat(file.fileno()).st_size, b"\n"))


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "r+b")


def _put(file: BinaryIO, data: bytes) -> None:
    file.seek(0)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
