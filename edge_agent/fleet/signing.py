"""The keys that sign a repository: one file for each, Ed25519 in PKCS#8.

root.pem      says which keys count; offline, used to rotate keys
targets.pem   says that the release key may speak for devices; offline
release.pem   signs what devices get; used by `fleet publish`
online.pem    says that nothing newer is withheld; used by cron, each week
"""

import os
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner as CryptoSigner
from securesystemslib.signer import Key

from edge_agent.errors import UpdateError

Role: TypeAlias = Literal["root", "targets", "release", "online"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


def make(folder: Path, role: Role) -> CryptoSigner:
    """A new key, written where only its owner reads it.

    Raises:
        UpdateError: There is one already, or the folder cannot be written to.
    """
    signer = CryptoSigner.generate_ed25519()
    place = folder / f"{role}.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.private_bytes)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UpdateError(
            f"{place}: is there already", hint="Name another folder; keys are never overwritten."
        ) from error
    except OSError as error:
        raise UpdateError(
            f"{place}: cannot be written: {error.strerror}", hint="Name another folder with --keys."
        ) from error
    return signer


def load(folder: Path, role: Role, trusted: Key | None = None) -> CryptoSigner:
    """A key from its file.

    Args:
        folder: With the keys.
        role: Which.
        trusted: What the repository knows of it.

    Raises:
        UpdateError: It is not there, is none, or is not the one that the repository trusts.
    """
    place = folder / f"{role}.pem"
    try:
        private = load_pem_private_key(place.read_bytes(), None)
    except OSError as error:
        raise UpdateError(
            f"{place}: cannot be read: {error.strerror}",
            hint=f"This needs the {role} key: fetch it, or name its folder with --keys.",
        ) from error
    except (ValueError, TypeError) as error:
        raise UpdateError(
            f"{place}: is no private key in PEM without a passphrase", hint="Take the right file."
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UpdateError(f"{place}: is no Ed25519 key", hint="Take the right file.")
    signer = CryptoSigner(private)
    if trusted is not None and signer.public_key.keyid != trusted.keyid:
        raise UpdateError(
            f"{place}: is not the {role} key that the repository names",
            hint="Take the key that was made last.",
        )
    return signer


def retire(folder: Path, role: Role, keyid: str) -> Path:
    """Put a key aside whose turn is over.

    Returns:
        Where it is now.
    """
    aside = folder / f"{role}.retired-{keyid[:8]}.pem"
    (folder / f"{role}.pem").rename(aside)
    return aside
