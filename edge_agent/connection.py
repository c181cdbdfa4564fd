"""One connection to a broker, built, used and thrown away; the only door to paho.

paho resends what it remembers at each reconnection, whatever the broker allows, and never gives up
on a missing acknowledgement. So it is never asked to reconnect: a client lives for one connection
and what it had in flight is simply still in the outbox. Its callbacks run on its own thread and
only append to the owner's deque.
"""

import contextlib
import errno
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, PayloadType
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.config import MqttConfig, TlsConfig
from edge_agent.errors import BrokerError
from edge_agent.records import Message

Version: TypeAlias = Literal["5", "3.1.1"]

_UNSPECIFIED = 0x80
_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
# Properties of CONNACK, by MQTT 5.0 section 3.2.2.3, and what holds where they are absent.
_RECEIVE_MAXIMUM = 65535

_CLOCK = "set this device's clock, or renew the certificate"
_NAME = "write a name that it holds as mqtt.host, or give the broker one for this name"
_AUTHORITY = "mqtt.tls.ca must be the certificate of the authority that signed it"
# By the codes of OpenSSL's x509_vfy.h: not yet valid, expired, another name, another address.
_CERTIFICATE_HINTS = {9: _CLOCK, 10: _CLOCK, 62: _NAME, 64: _NAME}


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """CONNACK with success, and what the broker allows."""

    receive_maximum: int
    maximum_packet_size: int | None
    """Bytes; None for no limit."""
    retain_available: bool
    maximum_qos: int


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """CONNACK with a reason, by the numbers of MQTT 5 also on 3.1.1."""

    code: int
    name: str


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """No connection came about: address, port, TLS, or a file that is needed for it."""

    error: str


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The connection ended; by the broker's reason where it gave one."""

    code: int
    name: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """PUBACK for a message."""

    mid: int
    code: int
    name: str


Happening: TypeAlias = Accepted | Refused | Unreachable | Lost | Answered


class Connection:
    """A client of paho for the length of one connection.

    Args:
        config: The broker.
        client_id: Names the device to the broker.
        will: What the broker publishes when the connection is lost, if anything.
        version: Of the protocol.
        notify: Called by other threads, after something was appended to `happened`.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        will: Message | None,
        version: Version,
        notify: Callable[[], None],
    ) -> None:
        self.happened: deque[Happening] = deque()
        self._config = config
        self._version = version
        self._notify = notify
        self._ending = threading.Lock()
        self._connecting = True
        self._dropped = False
        five = version == "5"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if five else True,
            protocol=_PROTOCOLS[version],
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(config.window + 1)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._thread = threading.Thread(target=self._connect, name="mqtt-connect", daemon=True)

    def start(self) -> None:
        """Connect, which may take seconds, on a thread that ends with it."""
        self._thread.start()

    def _drive(self) -> None:
        """Let paho do its work from now on: on a thread of its own."""
        self._client.loop_start()

    def _halt(self) -> None:
        """The end of that."""
        self._client.loop_stop()

    def publish(self, message: Message, *, retain: bool, expiry_s: int | None) -> int:
        """Hand over a message; returns the number that its answer will carry."""
        properties = None
        if expiry_s is not None and self._version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's
            properties.MessageExpiryInterval = expiry_s
        payload: PayloadType = message.payload
        info = self._client.publish(
            message.topic, payload, qos=message.qos, retain=retain, properties=properties
        )
        return info.mid

    def end(self) -> None:
        """Take leave; the broker forgets the will."""
        link = self._client.socket()
        self._client.disconnect()
        self._halt()
        self._release(link)

    def drop(self) -> None:
        """Close without a word, so that the broker publishes the will."""
        with self._ending:
            self._dropped = True
            connecting = self._connecting
        # While connect() lasts, nothing can be shut; its thread does it when it returns.
        if not connecting:
            self._shut()

    def _shut(self) -> None:
        link = self._client.socket()
        if isinstance(link, socket.socket):
            # One that the broker has closed needs no shutting. A TLS socket's own shutdown would
            # first turn it into a plain one, under the hands of paho's thread that may be sending.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(link, socket.SHUT_RDWR)
        self._halt()
        self._release(link)

    def _release(self, link: object) -> None:
        # paho's thread may see that it is to end before it sees that the socket has.
        if isinstance(link, socket.socket):
            link.close()
        # paho closes its other sockets when it is freed; its callbacks would hold it in a circle.
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None

    def _connect(self) -> None:
        try:
            self._set_credentials()
            self._client.connect(
                self._config.host, self._config.port, keepalive=self._config.keepalive_s
            )
        except (BrokerError, OSError, ValueError) as error:
            self._append(Unreachable(error=_in_words(error)))
        else:
            self._drive()
        with self._ending:
            self._connecting = False
            dropped = self._dropped
        if dropped:
            self._shut()

    def _set_credentials(self) -> None:
        if self._config.username is not None:
            self._client.username_pw_set(self._config.username, self._password())
        if self._config.tls is not None:
            self._client.tls_set_context(_tls_context(self._config.tls))

    def _password(self) -> str | None:
        # Read at each connection, so that a new password needs no restart.
        path = self._config.password_file
        if path is None:
            return None
        with _named("mqtt.password_file", path, "the password in UTF-8"):
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")

    def _append(self, happening: Happening) -> None:
        self.happened.append(happening)
        self._notify()

    def _on_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._append(Refused(code=reason.value, name=str(reason)))
            return
        limit = _property(properties, "MaximumPacketSize")
        self._append(
            Accepted(
                receive_maximum=_property(properties, "ReceiveMaximum") or _RECEIVE_MAXIMUM,
                maximum_packet_size=limit,
                retain_available=_property(properties, "RetainAvailable") != 0,
                maximum_qos=0 if _property(properties, "MaximumQoS") == 0 else 1,
            )
        )

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        # paho's word for a connection that ended without one.
        silent = reason.value == _UNSPECIFIED
        name = "the connection was closed without a reason" if silent else str(reason)
        self._append(Lost(code=reason.value, name=name))

    def _on_publish(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._append(Answered(mid=mid, code=reason.value, name=str(reason)))


class _TlsSocket(ssl.SSLSocket):
    """Closes after a failed handshake, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def unanswered(lost: Lost, tls: TlsConfig | None) -> str:
    """What a connection says that was closed before a CONNACK, and what to do.

    Args:
        lost: Its end.
        tls: As it is set.
    """
    # With TLS 1.3 a broker judges our certificate only after we think that all is well; its
    # alert often dies with the socket, so that nothing is left of the reason.
    if tls is None:
        hint = "if this port speaks TLS, set mqtt.tls"
    elif tls.certificate is None:
        hint = "if the broker asks for a certificate, set mqtt.tls.certificate and mqtt.tls.key"
    else:
        hint = "see that the broker trusts the authority that signed mqtt.tls.certificate"
    return f"closed before the login was answered: {lost.name}; {hint}"


def _in_words(error: Exception) -> str:
    """What kept a connection from coming about and, where it is known, what to do."""
    if isinstance(error, BrokerError):
        return f"{error.message}; {error.hint}"
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _CERTIFICATE_HINTS.get(error.verify_code, _AUTHORITY)
        return f"the broker's certificate is refused: {error.verify_message.rstrip('.')}; {hint}"
    return f"{type(error).__name__}: {error}"


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    with _named("mqtt.tls.ca", tls.ca, "certificates in PEM form"):
        context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsSocket
    if tls.certificate is not None and tls.key is not None:
        # Loading the two says of neither which one is missing.
        for part, path in (("certificate", tls.certificate), ("key", tls.key)):
            with _named(f"mqtt.tls.{part}", path, f"a {part} in PEM form"):
                Path(path).open("rb").close()
        with _named("mqtt.tls.key", tls.key, "the key of mqtt.tls.certificate, both in PEM form"):
            context.load_cert_chain(tls.certificate, tls.key, _passphrase)
    return context


@contextlib.contextmanager
def _named(setting: str, path: str | None, form: str) -> Iterator[None]:
    """Say of a file that is of no use which setting names it, and what it should hold."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise BrokerError(
            f"{setting}: {path}: {reason}",
            hint=f"it must be a file that the agent may read, with {form}",
        ) from error


def _passphrase() -> str:
    # Without an answer OpenSSL would ask at the terminal and wait for one.
    raise PermissionError(errno.EACCES, "the key is encrypted, store it without a passphrase")


def _property(properties: Properties | None, name: str) -> int | None:
    value: object = getattr(properties, name, None)
    return value if isinstance(value, int) else None
