"""Keys and certificates of a small fleet: an authority of its own, by openssl.

`identities/` holds what everybody may see (certificates, what was issued, what was revoked) and
`secrets/` the keys, encrypted. A key is never in a file as it is: it goes from one program to the
next through a pipe.
"""

import ipaddress
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from edge_agent.errors import ConfigError, EarshotError
from edge_agent.fleet import tools
from edge_agent.fleet.secrets import Secrets, put

FOLDER: Final = "identities"
AUTHORITY_DAYS: Final = 3650
MOST_DAYS: Final = 825
"""Of a certificate; as long as Apple's systems, the strictest, take a private authority's."""
RENEW_DAYS: Final = 60
"""Before its end, when a new one is issued."""
_SECONDS_A_DAY: Final = 86400
_HOST: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_READER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

Kind: TypeAlias = Literal["devices", "brokers", "readers"]

# RFC 5280, 4.2.1: what each certificate may be used for. A device's is of no use to play a broker.
# The subject's alternative name is in the request, which is ours, too. The list of revoked ones is
# good for as long as the authority: mosquitto refuses everybody once it is overdue.
_OPENSSL: Final = """\
[ca]
default_ca = fleet
[fleet]
database = index.txt
rand_serial = yes
default_md = sha256
default_crl_days = 3650
policy = named
unique_subject = no
copy_extensions = copy
email_in_dn = no
[named]
commonName = supplied
[req]
distinguished_name = asked
[asked]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[devices]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[readers]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[brokers]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a certificate names."""

    kind: Kind
    name: str

    @property
    def alternative(self) -> str:
        """As X.509 writes the name."""
        try:
            return f"IP:{ipaddress.ip_address(self.name)}"
        except ValueError:
            return f"DNS:{self.name}"


def broker(host: str) -> Subject:
    """A broker under the name or address by which the devices know it.

    Raises:
        ConfigError: It is neither.
    """
    subject = Subject(kind="brokers", name=host)
    if subject.alternative.startswith("DNS:") and not _HOST.fullmatch(host):
        raise ConfigError(
            f"{host!r}: is no host", hint="Write a name like mq.example.org, or an IP address."
        )
    return subject


def reader(name: str, devices: Sequence[str]) -> Subject:
    """Somebody who listens to the devices.

    Args:
        name: Of the account at the broker.
        devices: All names of the inventory, those of retired devices, too.

    Raises:
        ConfigError: It is no name, or a device's.
    """
    if not _READER.fullmatch(name):
        raise ConfigError(f"{name!r}: is no name of a reader", hint="Allowed: a-z, 0-9 and -.")
    if name in devices:
        raise ConfigError(
            f"{name}: is a device, and would be given its rights at the broker",
            hint="Name the reader otherwise.",
        )
    return Subject(kind="readers", name=name)


class Authority:
    """Who signs for a fleet.

    Args:
        fleet: The fleet's folder.
        secrets: Of it.
    """

    def __init__(self, fleet: Path, secrets: Secrets) -> None:
        self.folder = fleet / FOLDER
        self._secrets = secrets
        self._key: bytes | None = None

    @property
    def certificate(self) -> Path:
        """Of the authority itself."""
        return self.folder / "ca.crt"

    @property
    def revoked(self) -> Path:
        """The list of revoked certificates."""
        return self.folder / "crl.pem"

    def path(self, subject: Subject) -> Path:
        """Where somebody's certificate is."""
        return self.folder / subject.kind / f"{subject.name}.crt"

    def key_name(self, subject: Subject) -> str:
        """What somebody's key is called among the secrets."""
        return f"{subject.kind}/{subject.name}.key"

    def make(self, name: str) -> None:
        """Make the authority.

        Args:
            name: For people who look at its certificate.

        Raises:
            EarshotError: There is one already, or it cannot be made.
        """
        if self.certificate.exists() or self._secrets.has("ca.key"):
            raise EarshotError(
                f"{self.certificate}: there is an authority already",
                hint="A new one would make every device's certificate worthless; move "
                f"{FOLDER}/ and secrets/ away first if that is what you want.",
            )
        key = _new_key()
        with _configuration() as config:
            made = self._openssl(
                ["req", "-x509", "-new", "-config", config, "-extensions", "authority"],
                ["-key", "/dev/stdin", "-subj", _subject(name), "-days", str(AUTHORITY_DAYS)],
                given=key,
                doing="the authority was not made",
            )
            # The key first: a certificate without one could be trusted and never used.
            self._secrets.write("ca.key", key)
            put(self.certificate, made)
            put(self.folder / "index.txt", b"")
            put(self.folder / "index.txt.attr", b"unique_subject = no\n")
            self._key = key
            self._list_revoked(config)

    def issue(self, subject: Subject, days: int) -> Path:
        """Make a key and a certificate.

        Args:
            subject: For whom.
            days: How long it holds.

        Raises:
            EarshotError: There is no authority, or openssl refuses.
        """
        signing = self._signing_key()
        key = _new_key()
        path = self.path(subject)
        doing = f"{path}: was not issued"
        with _configuration() as config:
            request = Path(config).parent / "request.pem"
            request.write_bytes(
                self._openssl(
                    ["req", "-new", "-config", config, "-key", "/dev/stdin"],
                    ["-subj", _subject(subject.name)],
                    ["-addext", f"subjectAltName={subject.alternative}"],
                    given=key,
                    doing=doing,
                )
            )
            made = Path(config).parent / "certificate.pem"
            self._openssl(
                ["ca", "-batch", "-notext", "-config", config, "-extensions", subject.kind],
                ["-cert", "ca.crt", "-keyfile", "/dev/stdin", "-days", str(days)],
                ["-in", str(request), "-out", str(made), "-outdir", str(made.parent)],
                given=signing,
                doing=doing,
            )
            self._secrets.write(self.key_name(subject), key)
            put(path, made.read_bytes())
        self._tidy()
        return path

    def revoke(self, subject: Subject) -> None:
        """Take a certificate's worth away, with its key.

        Raises:
            EarshotError: There is no such certificate, or openssl refuses.
        """
        path = self.path(subject)
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such certificate",
                hint=f"{self.folder / 'index.txt'} lists what was issued (V) and revoked (R).",
            )
        signing = self._signing_key()
        with _configuration() as config:
            try:
                self._openssl(
                    ["ca", "-config", config, "-cert", "ca.crt", "-keyfile", "/dev/stdin"],
                    ["-revoke", str(path.relative_to(self.folder))],
                    given=signing,
                    doing=f"{path}: was not revoked",
                )
            except tools.ToolError as error:
                # An earlier attempt may have come no further.
                if "Already revoked" not in error.said:
                    raise
            self._list_revoked(config)
        path.unlink()
        self._secrets.path(self.key_name(subject)).unlink(missing_ok=True)
        self._tidy()

    def holds(self, subject: Subject, days: int) -> bool:
        """Whether somebody has a certificate, with its key, that lasts for so many days more."""
        path = self.path(subject)
        if not path.is_file() or not self._secrets.has(self.key_name(subject)):
            return False
        asked = ["x509", "-noout", "-checkend", str(days * _SECONDS_A_DAY)]
        try:
            self._openssl(asked, ["-in", str(path.resolve())], doing=f"{path}: cannot be read")
        except tools.ToolError as error:
            if error.said:
                # No certificate at all; one that ends is told without a word there.
                raise
            return False
        return True

    def pair(self, subject: Subject) -> tuple[bytes, bytes]:
        """Somebody's certificate and key.

        Raises:
            EarshotError: One of them is missing, or they do not belong together.
        """
        path = self.path(subject)
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such certificate", hint=f"Issue it: {issuing(subject)}"
            )
        certificate = path.read_bytes()
        key = self._secrets.read(self.key_name(subject))
        doing = f"{path}: cannot be used"
        public = self._openssl(["x509", "-noout", "-pubkey"], given=certificate, doing=doing)
        if public != self._openssl(["pkey", "-pubout"], given=key, doing=doing):
            raise ConfigError(
                f"{path}: {self._secrets.path(self.key_name(subject))} is another one's key",
                hint=f"Issue both again: {issuing(subject)} --renew",
            )
        return certificate, key

    def _signing_key(self) -> bytes:
        if not self.certificate.is_file():
            raise ConfigError(
                f"{self.certificate}: there is no authority yet",
                hint="Make it: edge-agent fleet identity init",
            )
        if self._key is None:
            self._key = self._secrets.read("ca.key")
        return self._key

    def _list_revoked(self, config: str) -> None:
        listed = self._openssl(
            ["ca", "-config", config, "-cert", "ca.crt", "-keyfile", "/dev/stdin"],
            ["-gencrl"],
            given=self._signing_key(),
            doing=f"{self.revoked}: was not made",
        )
        put(self.revoked, listed)

    def _openssl(self, *arguments: Sequence[str], doing: str, given: bytes = b"") -> bytes:
        flat = [one for part in arguments for one in part]
        where = self.folder if self.folder.is_dir() else None
        return tools.run(["openssl", *flat], doing=doing, given=given, cwd=where)

    def _tidy(self) -> None:
        """What openssl keeps of the state before is in git."""
        for name in ("index.txt.old", "index.txt.attr.old"):
            (self.folder / name).unlink(missing_ok=True)


def issuing(subject: Subject) -> str:
    """The command that issues a certificate."""
    option = {"devices": "", "brokers": "--broker ", "readers": "--reader "}[subject.kind]
    return f"edge-agent fleet identity issue {option}{subject.name}"


def _new_key() -> bytes:
    # NIST P-256: a handshake costs a Pi a fraction of RSA's, and every TLS library knows it.
    asked = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    return tools.run(asked, doing="no key was made")


def _subject(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")
    return f"/CN={escaped}"


@contextmanager
def _configuration() -> Iterator[str]:
    """openssl's, in a folder of its own for as long as the context lasts; no secret is in there."""
    with tempfile.TemporaryDirectory(prefix="earshot-openssl-") as folder:
        path = Path(folder) / "openssl.cnf"
        path.write_text(_OPENSSL, encoding="utf-8")
        yield str(path)
