"""TLS to a real mosquitto: who gets the messages, who gets nothing, and what a person is told."""

import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config import MqttConfig, TlsConfig
from edge_agent.connection import Connection
from edge_agent.mqtt import MqttOutput
from edge_agent.payloads import StatusPayload
from tests.real.broker import Mosquitto, program, subscribed, wait_for
from tests.real.test_broker import Running, heard, running
from tests.sample_records import encoder, stamp

pytestmark = pytest.mark.real

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
# What Python 3.13 asks of a chain (VERIFY_X509_STRICT) beyond what 3.11 does.
AUTHORITY_MAY = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
LEAF_SAYS = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


class Certificates:
    """Authorities and what they signed, as `name.pem` and `name.key` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, file: str) -> str:
        return str(self.folder / file)

    def tls(self, ca: str = "ours.pem", name: str | None = None) -> TlsConfig:
        if name is None:
            return TlsConfig(ca=self.path(ca))
        pair = self.path(f"{name}.pem"), self.path(f"{name}.key")
        return TlsConfig(ca=self.path(ca), certificate=pair[0], key=pair[1])

    def make_authority(self, name: str) -> None:
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        self.openssl(
            "req", "-x509", *CURVE, "-nodes", *files, "-subj", f"/CN={name}", *AUTHORITY_MAY
        )

    def sign(self, name: str, by: str, san: str, days: int = 2) -> None:
        files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.openssl("req", "-new", *CURVE, "-nodes", *files, "-subj", f"/CN={name}")
        (self.folder / "says").write_text(f"{LEAF_SAYS}subjectAltName={san}\n")
        signer = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial")
        out = ("-extfile", "says", "-out", f"{name}.pem", "-days", str(days))
        self.openssl("x509", "-req", "-in", f"{name}.csr", *signer, *out)

    def openssl(self, *arguments: str) -> None:
        command = [program("openssl"), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    here = "DNS:localhost,IP:127.0.0.1"
    for name in ("ours", "foreign"):
        made.make_authority(name)
    made.sign("server", "ours", here)
    made.sign("stranger", "foreign", here)
    made.sign("elsewhere", "ours", "DNS:broker.example,IP:192.0.2.1")
    made.sign("expired", "ours", here, days=-1)
    made.sign("ear", "ours", "DNS:ear-0042")
    made.sign("unknown-ear", "foreign", "DNS:ear-0042")
    made.openssl("ec", "-in", "ear.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    return made


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that found no broker does not look for one again when the test is over."""
    monkeypatch.setattr("edge_agent.commands.agent.STOP_DRAIN_S", 0.0)


@contextmanager
def listening(
    folder: Path, certificates: Certificates, name: str = "server", *settings: str
) -> Iterator[Mosquitto]:
    """A broker that speaks TLS only, under this certificate."""
    pair = f"certfile {certificates.path(name)}.pem\nkeyfile {certificates.path(name)}.key\n"
    ca = f"cafile {certificates.path('ours.pem')}\n"
    with Mosquitto(folder, ca + pair + "\n".join(settings or ["allow_anonymous true"])) as broker:
        broker.start()
        yield broker


def told(agent: Running) -> str:
    """What the agent says of the connection, as soon as it says something."""
    wait_for(lambda: agent.output.health().last_error is not None, "an attempt fails")
    return str(agent.output.health().last_error)


def test_messages_arrive_over_tls_by_a_password_from_a_file(
    tmp_path: Path, certificates: Certificates
) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    command = [program("mosquitto_passwd"), "-b", "-c", str(passwords), "ear", "Straße 7"]
    subprocess.run(command, check=True, capture_output=True)
    secret.write_text("Straße 7\n", encoding="utf-8")
    login = ("-u", "ear", "-P", "Straße 7", "--cafile", certificates.path("ours.pem"))
    settings = ("allow_anonymous false", f"password_file {passwords}")
    with (
        listening(tmp_path, certificates, "server", *settings) as broker,
        subscribed(broker, *login) as subscriber,
        running(
            broker.port,
            blocks=20,
            username="ear",
            password_file=str(secret),
            tls=certificates.tls(),
        ) as agent,
    ):
        agent.thread.join(20)
        wait_for(lambda: set(heard(subscriber)) == agent.script.told, "all arrive")
        assert len(agent.script.told) == 26


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_messages_arrive_by_a_certificate_of_the_device(
    tmp_path: Path, certificates: Certificates, version: str
) -> None:
    pair = ("--cert", certificates.path("ear.pem"), "--key", certificates.path("ear.key"))
    settings = ("require_certificate true", "use_identity_as_username true")
    with (
        listening(tmp_path, certificates, "server", *settings) as broker,
        subscribed(broker, "--cafile", certificates.path("ours.pem"), *pair) as subscriber,
        running(broker.port, blocks=20, version=version, tls=certificates.tls(name="ear")) as agent,
    ):
        agent.thread.join(20)
        wait_for(lambda: set(heard(subscriber)) == agent.script.told, "all arrive")
        # The broker took the name from the certificate, so that it was really shown.
        assert "as earshot-test" in broker.log()
        assert "u'ear'" in broker.log()


@pytest.mark.parametrize(
    ("name", "problem", "advice"),
    [
        ("stranger", "unable to get local issuer certificate", "mqtt.tls.ca must be the cert"),
        ("elsewhere", "not valid for '127.0.0.1'", "write a name that it holds as mqtt.host"),
        ("expired", "certificate has expired", "set this device's clock, or renew"),
    ],
    ids=["another authority", "another name", "expired"],
)
def test_a_broker_that_cannot_prove_who_it_is_is_never_sent_anything(
    tmp_path: Path,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    problem: str,
    advice: str,
) -> None:
    monkeypatch.setattr("edge_agent.mqtt.BACK_OFF_S", 0.1)
    monkeypatch.setattr("edge_agent.mqtt.AWAY_S", 0.1)
    secret = tmp_path / "secret"
    secret.write_text("a word for our broker alone")
    tls = certificates.tls()
    with (
        listening(tmp_path, certificates, name) as broker,
        running(broker.port, username="ear", password_file=str(secret), tls=tls) as agent,
    ):
        # The first connection is the test's own, which looks whether the broker is there.
        wait_for(lambda: broker.log().count("New connection") >= 4, "the agent tries thrice")
        assert told(agent).startswith("the broker's certificate is refused: ")
        assert problem in told(agent)
        assert advice in told(agent)
        assert agent.output.faults() == ["mqtt_away"]
    # mosquitto logs each CONNECT with its client id.
    assert "earshot-test" not in broker.log()


def test_what_waited_reaches_the_broker_once_its_authority_is_known(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.mqtt.BACK_OFF_S", 0.3)
    known = tmp_path / "known.pem"
    shutil.copy(certificates.path("foreign.pem"), known)
    with (
        listening(tmp_path, certificates) as broker,
        subscribed(broker, "--cafile", certificates.path("ours.pem")) as subscriber,
        running(broker.port, blocks=20, tls=TlsConfig(ca=str(known))) as agent,
    ):
        wait_for(lambda: agent.source.ended, "all blocks are heard")
        assert "the broker's certificate is refused" in told(agent)
        assert subscriber.messages() == []
        shutil.copy(certificates.path("ours.pem"), known)
        wait_for(lambda: set(heard(subscriber)) == agent.script.told, "all arrive")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (None, "if the broker asks for a certificate, set mqtt.tls.certificate and mqtt.tls.key"),
        ("unknown-ear", "the broker trusts the authority that signed mqtt.tls.certificate"),
    ],
    ids=["none", "another authority's"],
)
def test_a_broker_that_wants_another_certificate_of_the_device_is_suspected_of_it(
    tmp_path: Path, certificates: Certificates, name: str | None, advice: str
) -> None:
    settings = ("allow_anonymous true", "require_certificate true")
    with (
        listening(tmp_path, certificates, "server", *settings) as broker,
        running(broker.port, tls=certificates.tls(name=name)) as agent,
    ):
        assert told(agent).startswith("closed before the login was answered")
        assert advice in told(agent)


def test_a_port_that_speaks_tls_is_suspected_of_it(
    tmp_path: Path, certificates: Certificates
) -> None:
    with listening(tmp_path, certificates) as broker, running(broker.port) as agent:
        assert "if this port speaks TLS, set mqtt.tls" in told(agent)


@pytest.mark.parametrize("setting", ["ca", "certificate", "key", "password_file"])
def test_a_missing_file_is_named_with_its_setting(
    tmp_path: Path, certificates: Certificates, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret, missing = tmp_path / "secret", str(tmp_path / "nowhere")
    secret.write_text("a word")
    given = {"ca": "ours.pem", "certificate": "ear.pem", "key": "ear.key"}
    files = {name: certificates.path(file) for name, file in given.items()}
    files |= {"password_file": str(secret), setting: missing}
    password_file = files.pop("password_file")
    key = f"mqtt.{setting}" if setting == "password_file" else f"mqtt.tls.{setting}"
    with (
        listening(tmp_path, certificates) as broker,
        running(
            broker.port, username="ear", password_file=password_file, tls=TlsConfig(**files)
        ) as agent,
    ):
        assert told(agent).startswith(f"{key}: {missing}: No such file or directory; it must be")
    assert caplog.messages.count(f"broker 127.0.0.1:{broker.port}: {told(agent)}") == 1
    assert "earshot-test" not in broker.log()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"key": "locked.key"}, "locked.key: the key is encrypted, store it without a passphrase"),
        ({"key": "server.key"}, "key values mismatch"),
        ({"key": "says"}, "says: [SSL] PEM lib"),
        ({"ca": "says"}, "no certificate or crl found"),
    ],
    ids=["encrypted key", "another's key", "no key", "no authority"],
)
def test_a_file_that_does_not_fit_is_named_and_nobody_is_asked_for_a_passphrase(
    tmp_path: Path, certificates: Certificates, files: dict[str, str], problem: str
) -> None:
    (setting,) = files
    given = {"ca": "ours.pem", "certificate": "ear.pem", "key": "ear.key"} | files
    tls = TlsConfig(**{name: certificates.path(file) for name, file in given.items()})
    with listening(tmp_path, certificates) as broker, running(broker.port, tls=tls) as agent:
        assert told(agent).startswith(f"mqtt.tls.{setting}: {certificates.path(files[setting])}: ")
        assert problem in told(agent)
        assert "in PEM form" in told(agent)


def test_a_connection_is_shut_before_it_stops_to_encrypt(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way round, what paho was sending at that moment went out in plain text."""
    versions: list[str | None] = []
    shut = socket.socket.shutdown

    def watched(link: socket.socket, how: int) -> None:
        if isinstance(link, ssl.SSLSocket):
            versions.append(link.version())  # None once it has stopped
        shut(link, how)

    monkeypatch.setattr(socket.socket, "shutdown", watched)
    with listening(tmp_path, certificates) as broker:
        config = MqttConfig(host="127.0.0.1", port=broker.port, tls=certificates.tls())
        connection = Connection(config, "earshot-test", encoder().will(), "5", lambda: None)
        connection.start()
        wait_for(lambda: bool(connection.happened), "the broker answers")
        connection.drop()
    assert versions == ["TLSv1.3"]


def test_the_service_tells_of_a_missing_file_and_connects_when_it_comes(
    tmp_path: Path, certificates: Certificates
) -> None:
    config, log = tmp_path / "agent.yaml", tmp_path / "agent.log"
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    with (
        listening(tmp_path, certificates) as broker,
        subscribed(broker, "--cafile", certificates.path("ours.pem")) as subscriber,
        log.open("wb") as errors,
    ):
        config.write_text(
            "microphones: {mic: {kind: stdin}}\nstate_dir: state\n"
            f"mqtt: {{host: localhost, port: {broker.port}, tls: {{ca: ca.pem}}}}\n"
        )
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as service:
            try:
                problem = f"mqtt.tls.ca: {tmp_path / 'ca.pem'}: No such file or directory"
                wait_for(lambda: problem in log.read_text(), "the log names the file", 30)
                shutil.copy(certificates.path("ours.pem"), tmp_path / "ca.pem")
                wait_for(lambda: bool(subscriber.payloads("/status")), "the status arrives")
                service.send_signal(signal.SIGTERM)
                assert service.wait(10) == 0
            finally:
                service.kill()
    first = subscriber.payloads("/status")[0]
    assert isinstance(first, StatusPayload)
    assert first.state == "online"
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(("days", "ends"), [(29, True), (31, False)])
def test_a_certificate_that_ends_soon_is_a_fault_while_the_time_is_known(
    tmp_path: Path, certificates: Certificates, days: int, ends: bool
) -> None:
    class Synced(SystemClock):
        known = True

        def synced(self) -> bool:
            return self.known

    certificates.sign(f"ear-{days}", "ours", "DNS:ear-0042", days=days)
    clock = Synced()
    with listening(tmp_path, certificates) as broker:
        config = MqttConfig(
            host="localhost", port=broker.port, tls=certificates.tls(name=f"ear-{days}")
        )
        output = MqttOutput(config, "ear-0042", encoder().will(), clock, random.Random(1))

        def connected() -> bool:
            output.turn()
            return output.connected

        wait_for(connected, "it connects")
        assert output.faults() == (["mqtt_certificate_ends"] if ends else [])
        clock.known = False
        assert output.faults() == []
        output.close(encoder().status(stamp(), "stopped"))
