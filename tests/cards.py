"""Cards to flash: images with a partition table and a real FAT file system, as the systems have.

The files are those by which the boot partitions of the systems are told apart; kernels and
firmware are a few bytes each. Sources: pi-gen (export-image, stage2/04-cloud-init), the README of
Ubuntu's own boot partition.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.real.broker import program

APT = "apt-get install mtools dosfstools fdisk"
_OFFSET = 1 << 20
_MB = 1 << 20
_ISSUE = (
    b"Raspberry Pi reference 2025-11-24\n"
    b"Generated using pi-gen, https://github.com/RPi-Distro/pi-gen, 0000000, stage2\n"
)
_CMDLINE = b"console=serial0,115200 console=tty1 root=PARTUUID=0-02 rootfstype=ext4 rootwait\n"

BOOKWORM = {
    "config.txt": b"arm_64bit=1\n",
    "cmdline.txt": _CMDLINE,
    "issue.txt": _ISSUE,
    "kernel8.img": b"kernel",
}
TRIXIE = {
    **BOOKWORM,
    "user-data": b"#cloud-config\n# a comment of the image\n",
    "meta-data": b"dsmode: local\ninstance_id: rpios-image\n",
    "network-config": b"network:\n  version: 2\n",
}
UBUNTU = {
    "config.txt": b"[all]\nkernel=vmlinuz\n",
    "cmdline.txt": b"root=LABEL=writable rootfstype=ext4 rootwait fixrtc\n",
    "README": b"This file belongs to the boot partition of Ubuntu Server for Raspberry Pi.\n",
    "vmlinuz": b"kernel",
    "user-data": b"#cloud-config\nchpasswd: {users: [{name: ubuntu, password: ubuntu}]}\n",
    "meta-data": b"dsmode: local\ninstance_id: cloud-image\n",
    "network-config": b"version: 2\n",
}
PRESEED = {"config.txt": b"", "rpi-preseed.toml": b"", "kernel8.img": b"kernel"}


def folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """As a boot partition that is mounted."""
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def partition(path: Path, files: Mapping[str, bytes]) -> Path:
    """A FAT32 file system in a file."""
    _run(program("mkfs.vfat"), "-C", "-F", "32", "-n", "bootfs", str(path), str(40 * 1024))
    for name, content in files.items():
        _run(program("mcopy"), "-i", str(path), "-", f"::{name}", given=content)
    return path


def image(path: Path, files: Mapping[str, bytes]) -> Path:
    """A whole card: a table, the boot partition, and some of another one."""
    inner = partition(path.with_suffix(".fat"), files)
    with path.open("wb") as out:
        out.seek(_OFFSET)
        out.write(inner.read_bytes())
        out.truncate(_OFFSET + 44 * _MB)
    table = "label: dos\nstart=2048, size=81920, type=c\nstart=83968, type=83\n"
    _run(program("sfdisk"), "--quiet", str(path), given=table.encode())
    inner.unlink()
    return path


def read(path: Path, name: str, offset: int = _OFFSET) -> bytes:
    """A file of an image's boot partition."""
    return _run(program("mcopy"), "-n", "-i", f"{path}@@{offset}", f"::{name}", "-")


def _run(*command: str, given: bytes = b"") -> bytes:
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()} ({APT})"
    return done.stdout
