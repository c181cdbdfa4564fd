"""`fleet identity` and `secrets/`: real openssl, real age, and nothing readable left anywhere."""

import subprocess
from pathlib import Path

import pytest

from edge_agent.fleet.secrets import is_encrypted
from tests.fleets import edge_agent, found, read, small
from tests.real.broker import program
from tests.sealed import found_in, issued, opened, sealed, sealed_secret


def openssl(*arguments: str, given: bytes = b"") -> str:
    done = subprocess.run(
        [program("openssl"), *arguments], input=given, capture_output=True, check=False
    )
    return (done.stdout + done.stderr).decode()


def refused(path: Path, *arguments: str) -> str:
    done = edge_agent("fleet", "identity", *arguments, cwd=path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Devices, a broker and a reader with certificates; tests only look at it."""
    path = sealed(tmp_path_factory.mktemp("identity") / "fleet")
    return issued(path, "--broker", "127.0.0.1", "--broker", "mq.example.org", "--reader", "city")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("devices/market-01", "DNS:market-01"),
        ("readers/city", "DNS:city"),
        ("brokers/127.0.0.1", "IP Address:127.0.0.1"),
        ("brokers/mq.example.org", "DNS:mq.example.org"),
    ],
)
def test_a_certificate_is_good_for_what_it_is_for_and_nothing_else(
    fleet: Path, name: str, says: str
) -> None:
    identities = fleet / "identities"
    file = str(identities / f"{name}.crt")
    text = openssl("x509", "-noout", "-text", "-in", file)
    assert says in text
    assert f"CN = {name.rpartition('/')[2]}" in text
    assert "prime256v1" in text
    trust = ("-CAfile", str(identities / "ca.crt"), "-x509_strict")
    purposes = {
        purpose: openssl("verify", *trust, "-purpose", purpose, file).endswith(": OK\n")
        for purpose in ("sslclient", "sslserver")
    }
    serves = name.startswith("brokers/")
    assert purposes == {"sslclient": not serves, "sslserver": serves}
    days = openssl("x509", "-noout", "-checkend", str(825 * 86400 - 600), "-in", file)
    assert "will not expire" in days
    days = openssl("x509", "-noout", "-checkend", str(825 * 86400 + 600), "-in", file)
    assert "will expire" in days


def test_the_key_belongs_to_the_certificate_and_is_kept_nowhere_in_plain(fleet: Path) -> None:
    certificate = fleet / "identities" / "devices" / "market-01.crt"
    key = opened(fleet, "devices/market-01.key")
    public = openssl("x509", "-noout", "-pubkey", "-in", str(certificate))
    assert openssl("pkey", "-pubout", given=key) == public
    # The line that is nobody else's: the second one of its text.
    for secret in (key, opened(fleet, "ca.key")):
        assert found_in(fleet, secret.splitlines()[1]) == []
    assert found_in(fleet, b"PRIVATE KEY") == []
    for file in (fleet / "secrets").rglob("*.age"):
        assert is_encrypted(file.read_bytes()), file


def test_whoever_has_one_that_lasts_keeps_it(tmp_path: Path) -> None:
    path = issued(sealed(tmp_path / "fleet"))
    file = path / "identities" / "devices" / "market-01.crt"
    first = file.read_bytes()
    done = edge_agent("fleet", "identity", "issue", "market-*", cwd=path)
    assert done.stdout == "2 have one for at least 60 days more\n"
    done = edge_agent("fleet", "identity", "issue", "market-01", "--renew", "--dry-run", cwd=path)
    assert done.stdout == "would be issued: identities/devices/market-01.crt\n"
    assert file.read_bytes() == first
    done = edge_agent(
        "fleet", "identity", "issue", "market-01", "--renew", "--days", "30", cwd=path
    )
    assert file.read_bytes() != first
    # 30 days are fewer than the 60 before which a new one is due.
    done = edge_agent("fleet", "identity", "issue", "market-*", cwd=path)
    assert done.stdout.splitlines() == [
        "issued: identities/devices/market-01.crt",
        "1 has one for at least 60 days more",
    ]
    listed = (path / "identities" / "index.txt").read_text().splitlines()
    assert [line[0] for line in listed] == ["V"] * 5


def test_a_key_that_is_another_ones_is_noticed(tmp_path: Path) -> None:
    path = issued(sealed(tmp_path / "fleet"))
    secrets = path / "secrets" / "devices"
    (secrets / "market-01.key.age").write_bytes((secrets / "market-02.key.age").read_bytes())
    done = edge_agent("fleet", "flash", "market-01", "--out", "cards", cwd=path)
    assert done.returncode == 2
    assert "secrets/devices/market-01.key.age is another one's key" in done.stderr
    assert not (path / "cards").exists()


def test_revoked_it_is_in_the_list_and_its_key_is_gone(tmp_path: Path) -> None:
    path = issued(sealed(tmp_path / "fleet"))
    file = path / "identities" / "devices" / "market-02.crt"
    serial = openssl("x509", "-noout", "-serial", "-in", str(file)).strip().partition("=")[2]
    done = edge_agent("fleet", "identity", "revoke", "market-02", cwd=path)
    assert done.returncode == 0, done.stderr
    assert "fleet.csv has no column `state`: add it" in done.stdout
    listed = openssl("crl", "-noout", "-text", "-in", str(path / "identities" / "crl.pem"))
    assert f"Serial Number: {serial}" in listed
    assert not file.exists()
    assert not (path / "secrets" / "devices" / "market-02.key.age").exists()
    assert "there is no such certificate" in refused(path, "revoke", "market-02")


@pytest.mark.parametrize("state", ["", "active", '"active"', "planned"])
def test_revoked_its_row_is_retired_and_no_other_byte_changes(tmp_path: Path, state: str) -> None:
    path = sealed(tmp_path / "fleet")
    text = (
        "\ufeffnote;state;device;board;mic;site\r\n"
        f'"two\r\nlines; one";{state};ear-1;pi-4;umik-1;example-city\r\n'
        f'"Straße";{state};ear-2;pi-4;umik-1;example-city\r\n'
    )
    (path / "fleet.csv").write_bytes(text.encode())
    issued(path)
    for name in ("ear-1", "ear-2"):
        done = edge_agent("fleet", "identity", "revoke", name, cwd=path)
        assert f"is new, and {name} is retired. Next:" in done.stdout, done.stderr
        text = text.replace(f"{state};{name}", f"retired;{name}")
        assert (path / "fleet.csv").read_bytes() == text.encode()
    assert {one.state for one in read(path).folder.inventory.devices} == {"retired"}


def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = sealed(tmp_path / "fleet")
    assert "Make it: edge-agent fleet identity init" in refused(path, "issue")
    issued(path)
    assert "there is an authority already" in refused(path, "init")
    assert "is no host" in refused(path, "issue", "--broker", "mq example")
    assert "market-01: is a device" in refused(path, "issue", "--reader", "market-01")
    assert "no device fits" in refused(path, "issue", "nobody")
    (path / "recipients.txt").unlink()
    assert "age-keygen -y KEYS > recipients.txt" in refused(path, "issue", "--reader", "city")
    assert not (path / "identities" / "readers").exists()
    (path / ".config" / "age" / "keys.txt").unlink()
    told = refused(path, "issue", "--reader", "city")
    assert "secrets/ca.key.age: was not decrypted: age: " in told
    assert "secrets.decrypt of fleet.yaml" in told
    fleet = (path / "fleet.yaml").read_text()
    (path / "fleet.yaml").write_text(fleet.replace("[age, --decrypt", "[no-such-program"))
    assert "no-such-program: there is no such program" in refused(path, "issue", "--reader", "x")


def test_a_program_that_does_not_encrypt_is_found_out(tmp_path: Path) -> None:
    path = sealed(tmp_path / "fleet")
    fleet = (path / "fleet.yaml").read_text()
    (path / "fleet.yaml").write_text(
        fleet.replace(
            "encrypt: [age, --armor, --recipients-file, recipients.txt]", "encrypt: [cat]"
        )
    )
    assert "what cat wrote is not encrypted" in refused(path, "init")
    assert not (path / "secrets").exists()
    assert not (path / "identities").exists()


def test_a_secret_in_plain_text_stops_everything(tmp_path: Path) -> None:
    path = sealed(tmp_path / "fleet")
    sealed_secret(path, "wifi/example-city", b"a passphrase")
    assert found(path) == []
    (path / "secrets" / "wifi" / "other.txt").write_text("a passphrase")
    assert found(path) == [
        (
            "secrets/wifi/other.txt: error: is not encrypted. Encrypt it with age, sops or "
            "ansible-vault, take this one away, and hold what is in it for known to others."
        )
    ]
    assert "secrets/wifi/other.txt" in refused(path, "init")
    done = edge_agent("fleet", "render", cwd=path)
    assert (done.returncode, (path / "build").exists()) == (1, False)


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        (b"age-encryption.org/v1\n-> X25519 ", True),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", True),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162", True),
        (b'{"data": "ENC[AES256_GCM,data:x]", "sops": {"mac": "x"}}', True),
        (b"", True),
        (b"-----BEGIN PRIVATE KEY-----\n", False),
        (b"a word about sops\n", False),
        (b" age-encryption.org/v1\n", False),
    ],
)
def test_encrypted_files_are_known_by_their_marks(text: bytes, encrypted: bool) -> None:
    assert is_encrypted(text) is encrypted


def test_a_credential_that_nobody_hands_over_is_an_error(tmp_path: Path) -> None:
    layer = "mqtt: {{host: mq.example, port: 8883, tls: {{ca: credential:{}}}}}\n"
    path = small(tmp_path / "fleet", {"sites/town.yaml": layer.format("mqtt-ca")})
    assert found(path) == []
    (path / "sites" / "town.yaml").write_text(layer.format("mqt-ca"))
    (line,) = found(path)
    told = "mqtt.tls.ca: mqt-ca is no credential of the service. Did you mean mqtt-ca? (1 device)"
    assert line == f"sites/town.yaml:1:48: error: {told}"
