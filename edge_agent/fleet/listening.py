"""An ear at a broker: what devices last said of themselves, and what they say from now on.

paho reconnects by itself here, and asks again for what the broker keeps: nothing is lost by it.
"""

import os
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent import mqttcodes
from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.fleet.reports import KINDS, Heard

_KEEPALIVE_S: Final = 30
_BACK_OFF_S: Final = 30


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, and to what."""

    host: str
    port: int
    roots: tuple[str, ...]
    """What the topics begin with."""


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Who listens."""

    name: str
    authority: bytes
    """PEM, as the other two: who signed for the broker."""
    certificate: bytes
    key: bytes


class Listener:
    """Listens from entering the context to leaving it; never blocks.

    Args:
        address: The broker.
        reader: Shows a certificate; None: the broker asks for none, and speaks in the open.
        clock: Stamps what comes in.
        kinds: The last levels of the topics.
    """

    def __init__(
        self,
        address: Address,
        reader: Reader | None,
        clock: Clock,
        kinds: Sequence[str] = KINDS,
    ) -> None:
        self.address = address
        self.connected = False
        self.subscribed = False
        self.error: str | None = None
        """Why there is no connection, while there is none."""
        self._clock = clock
        self._heard: deque[Heard] = deque()
        self._topics = [(f"{root}/+/+/{kind}", 1) for root in address.roots for kind in kinds]
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            # One that is ours alone where the certificate's name is not the client's.
            client_id="" if reader is None else f"{reader.name}-{os.getpid()}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self._client.reconnect_delay_set(1, _BACK_OFF_S)
        if reader is not None:
            self._client.tls_set_context(context(reader))
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Begin to connect.

        Raises:
            BrokerError: The name of the host is unknown, nobody answers there, or TLS fails.
        """
        try:
            self._client.connect(self.address.host, self.address.port, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:
            words = (error.strerror if isinstance(error, OSError) else None) or error
            raise BrokerError(
                f"broker {self.address.host}:{self.address.port}: {words}",
                hint="See that it runs, that this machine reaches it, and that its certificate "
                "is of the fleet's authority.",
            ) from error
        self._client.loop_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # Its callbacks would hold it, with its sockets, in a circle.
        self._client.on_connect = self._client.on_disconnect = self._client.on_message = None
        self._client.on_connect_fail = self._client.on_subscribe = None

    def heard(self) -> list[Heard]:
        """What came in since this was last asked."""
        found: list[Heard] = []
        while self._heard:
            found.append(self._heard.popleft())
        return found

    def _on_connect(
        self,
        client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.error = f"refused: {reason}"
            return
        self.connected, self.error = True, None
        client.subscribe(self._topics)

    def _on_connect_fail(self, _client: Client, _userdata: object) -> None:
        self.error = "cannot be reached"

    def _on_disconnect(
        self,
        client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.connected = self.subscribed = False
        self.error = "closed the connection"
        if reason.value == mqttcodes.TAKEN_OVER:
            self.error = "gave the connection to another client of the same name"
            client.disconnect()

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self.error = "refuses to let this reader listen"
            return
        self.subscribed = True

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._heard.append(
            Heard(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=message.retain,
                at_ns=self._clock.utc_ns(),
            )
        )


def wait_until_told(
    listeners: Sequence[Listener],
    clock: Clock,
    take: Callable[[Heard], bool],
    complete: Callable[[], bool],
    wait_s: float,
) -> None:
    """Take in what the brokers keep.

    Args:
        listeners: At each broker.
        clock: Of the waiting.
        take: Gets each message.
        complete: Nothing more is awaited.
        wait_s: At most so long.

    Raises:
        BrokerError: A broker does not let us listen.
    """
    begun_ns = last_ns = clock.monotonic_ns()
    while True:
        for listener in listeners:
            for one in listener.heard():
                take(one)
                last_ns = clock.monotonic_ns()
            if listener.error is not None:
                raise unreachable(listener)
        now_ns = clock.monotonic_ns()
        ready = all(listener.subscribed for listener in listeners)
        if ready and (complete() or now_ns - last_ns > _QUIET_S * 1e9):
            return
        if now_ns - begun_ns > wait_s * 1e9:
            for listener in listeners:
                if not listener.subscribed:
                    raise unreachable(listener)
            return
        clock.wait(_TURN_S)


_QUIET_S: Final = 1.0
"""After the last message that a broker keeps; there is no mark of the end."""
_TURN_S: Final = 0.02


def unreachable(listener: Listener) -> BrokerError:
    """Why nothing is heard."""
    where = f"broker {listener.address.host}:{listener.address.port}"
    error = listener.error or "does not answer"
    hint = "See that it runs, and that its access list has this reader: edge-agent fleet broker."
    if "same name" in error:
        hint = "A reader is connected once at a time: name another one with --reader."
    return BrokerError(f"{where} {error}", hint=hint)


def context(reader: Reader) -> ssl.SSLContext:
    """TLS with its own certificate, to brokers of its own authority."""
    tls = ssl.create_default_context(cadata=reader.authority.decode())
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL takes a key from a file alone; this one is in memory, and on no disk.
    descriptor = os.memfd_create("earshot-reader", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, reader.certificate + reader.key)
        tls.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return tls
