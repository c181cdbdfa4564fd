"""`edge-agent unseed`: takes a seed's secrets from where a device no longer needs them.

The boot partition is FAT, without rights, and is what somebody with a card reader sees first.
cloud-init keeps copies of what it read. The device's own, in /etc/earshot/credentials, stay.
"""

import os
from pathlib import Path

from edge_agent import seedfiles
from edge_agent.errors import InstallError

_USER_DATA = b"#cloud-config\n# The seed was taken away after the device's first good start.\n{}\n"
# As it would be without: were it acted upon again, the network must stay as the seed made it.
_NETWORK_CONFIG = b"config: disabled\n"
_COPIES = (
    "var/lib/cloud/instances/*/user-data.txt*",
    "var/lib/cloud/instances/*/cloud-config.txt",
    "var/lib/cloud/instances/*/obj.pkl",
    "run/cloud-init/instance-data-sensitive.json",
    "run/cloud-init/combined-cloud-config.json",
)
"""What cloud-init keeps of user-data and network-config; it makes anew what it needs."""
_SEED_ONLY = (
    seedfiles.PACKAGES,
    seedfiles.REQUIREMENTS,
    seedfiles.SETUP_AGENT,
    seedfiles.SETUP_UNIT,
    seedfiles.SEEDED,
)
"""What has done its work; the last one is what calls this."""


def unseed(root: Path, boot: Path | None, *, dry_run: bool) -> None:
    """Clear the seed.

    Args:
        root: Of the system.
        boot: Where its boot partition is seen from here; None: where it is mounted there.
        dry_run: Only tell.

    Raises:
        InstallError: A file cannot be changed or removed.
    """
    partition = root / seedfiles.BOOT.lstrip("/") if boot is None else boot
    try:
        changed = _clear(partition / seedfiles.USER_DATA, _USER_DATA, dry_run=dry_run)
        changed |= _clear(partition / seedfiles.NETWORK_CONFIG, _NETWORK_CONFIG, dry_run=dry_run)
        # Before what calls this is removed: cut off here, it is done again at the next start.
        copies = [path for pattern in _COPIES for path in sorted(root.glob(pattern))]
        for path in copies:
            changed = True
            _remove(path, dry_run=dry_run)
        for name in _SEED_ONLY:
            path = root / name.lstrip("/")
            if path.exists():
                changed = True
                _remove(path, dry_run=dry_run)
    except OSError as error:
        raise InstallError(
            f"{error.filename or partition}: {error.strerror}",
            hint="Run it as root, with the boot partition mounted; it can be done again.",
        ) from error
    if not changed:
        print("nothing to clear: there is no seed")


def _clear(path: Path, stub: bytes, *, dry_run: bool) -> bool:
    """Overwrite a file in place; meta-data, with the id that keeps cloud-init quiet, is none."""
    if not path.is_file() or path.read_bytes().strip() == stub.strip():
        return False
    print(f"{'would be ' if dry_run else ''}cleared: {path}")
    if not dry_run:
        seedfiles.blank(path, stub)
    return True


def _remove(path: Path, *, dry_run: bool) -> None:
    print(f"{'would be ' if dry_run else ''}removed: {path}")
    if dry_run:
        return
    if path.is_file() and not path.is_symlink():
        seedfiles.blank(path, b"")
    path.unlink()
    folder = path.parent
    if folder.name in ("setup", "earshot-setup.service.d") and not os.listdir(folder):  # noqa: PTH208
        folder.rmdir()
