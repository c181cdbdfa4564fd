"""`secrets/`: what only its device, or the office, may know, encrypted by a program of its own.

The fleet's folder may be in git, so nothing in here may be readable as it stands: a file without
the mark of age, sops or Ansible Vault is refused before anything else is done. Which program
decrypts and encrypts is said in `fleet.yaml`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_agent.configtree import Place, Problem
from edge_agent.errors import ConfigError
from edge_agent.fleet import tools
from edge_agent.fleet.folder import SecretsConfig

FOLDER: Final = "secrets"
_BEGINNINGS: Final = (
    b"age-encryption.org/v1\n",
    b"-----BEGIN AGE ENCRYPTED FILE-----\n",
    b"$ANSIBLE_VAULT;",
)
_SOPS: Final = (b"ENC[", b"sops")
"""A file of sops holds both somewhere: its values, and what it says of them."""
_MOST_BYTES: Final = 1_000_000


class Secrets:
    """The encrypted files of a fleet.

    Args:
        fleet: The fleet's folder.
        config: How they are decrypted and encrypted.

    Raises:
        ConfigError: One of them can be read as it stands.
    """

    def __init__(self, fleet: Path, config: SecretsConfig) -> None:
        self._fleet = fleet
        self._config = config
        for problem in readable(fleet):
            raise problem.error()

    def path(self, name: str) -> Path:
        """Where a secret is kept.

        Args:
            name: Like `devices/market-01.key`.
        """
        return self._fleet / FOLDER / f"{name}.{self._config.suffix}"

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        """A secret, decrypted.

        Raises:
            EarshotError: It is not there, or is not decrypted.
        """
        path = self.path(name)
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such secret",
                hint=f"Make it: {' '.join(self._config.encrypt)} < FILE > {path}",
            )
        return tools.run(
            [*self._config.decrypt, str(path.resolve())],
            doing=f"{path}: was not decrypted",
            cwd=self._fleet,
            hint="secrets.decrypt of fleet.yaml says with which program and which key.",
        )

    def write(self, name: str, secret: bytes) -> Path:
        """Encrypt a secret; returns where it is.

        Raises:
            EarshotError: It was not encrypted, or cannot be written.
        """
        path = self.path(name)
        sealed = tools.run(
            self._config.encrypt,
            doing=f"{path}: was not encrypted",
            given=secret,
            cwd=self._fleet,
            hint="secrets.encrypt of fleet.yaml says with which program and for whom; by default "
            "recipients.txt has the public keys: age-keygen -y KEYS > recipients.txt",
        )
        if not sealed or not is_encrypted(sealed):
            raise ConfigError(
                f"{path}: what {self._config.encrypt[0]} wrote is not encrypted",
                hint="secrets.encrypt of fleet.yaml must read standard input and write what age, "
                "sops or ansible-vault decrypts.",
            )
        put(path, sealed)
        return path


def readable(fleet: Path) -> Iterator[Problem]:
    """The files below `secrets/` that are not encrypted."""
    for folder, _, names in sorted(os.walk(fleet / FOLDER)):
        for name in sorted(names):
            path = Path(folder) / name
            if not is_encrypted(_beginning(path)):
                yield Problem(
                    place=Place(path.relative_to(fleet).as_posix()),
                    key="",
                    found="is not encrypted",
                    hint="Encrypt it with age, sops or ansible-vault, take this one away, and hold "
                    "what is in it for known to others.",
                )


def is_encrypted(data: bytes) -> bool:
    """Whether bytes have the mark of age, sops or Ansible Vault; an empty file tells nothing."""
    return not data or data.startswith(_BEGINNINGS) or all(mark in data for mark in _SOPS)


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}", hint="Make the folder writable."
        ) from error


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}", hint="Make it readable, or take it away."
        ) from error
