"""The demo's broker and its subscriber, both in the demo's own process and on loopback alone.

The broker is amqtt, which speaks MQTT 3.1.1. Whoever connects is sent retained messages that
somebody else asked for, and then its own a second time; so the subscriber keeps to its topics and
tells each message once.
"""

import asyncio
import logging
import queue
import socket
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import BrokerError
from edge_agent.payloads import AlertPayload, EventPayload, LevelPayload, StatePayload
from edge_agent.records import Kind, Message
from edge_agent.topics import payload_type

HOST = "127.0.0.1"

_PORT_TRIES = 5
_PATIENCE_S = 10.0
_KINDS: dict[type[msgspec.Struct], Kind] = {
    LevelPayload: "level",
    EventPayload: "event",
    AlertPayload: "alert",
    StatePayload: "state",
}


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one message from another; a state's own text does, for its id is its alert's."""

    id: str | None = None
    n: int = 0
    seq: int | None = None


class _Broker(Protocol):
    """What is used of amqtt's, which carries no types."""

    async def start(self) -> None: ...
    async def shutdown(self) -> None: ...


class LoopbackBroker:
    """A broker on a free port, from entering the context to leaving it.

    Raises:
        BrokerError: No port could be had.
    """

    def __init__(self) -> None:
        # Imported here, so that without the extra the demo can still say what is missing.
        warnings.filterwarnings("ignore", module=r"(amqtt|transitions|websockets)(\.|$)")
        # It warns of every client that leaves, and tells in tracebacks what we handle here.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        from amqtt.broker import Broker
        from amqtt.errors import BrokerError as StartError

        self._make: Callable[[dict[str, object]], _Broker] = Broker
        self._refusals: tuple[type[Exception], ...] = (StartError, OSError)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="demo-broker", daemon=True
        )
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in range(_PORT_TRIES):
            self.port = _free_port()
            try:
                start = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
                self._broker = start.result(_PATIENCE_S)
            except self._refusals as error:
                # Somebody else took the port between our look and the broker's.
                reason = error
            else:
                return self
        self._end_loop()
        raise BrokerError(
            f"the demo's broker found no port on loopback in {_PORT_TRIES} tries: {reason}",
            hint="Try again; if it stays so, see what else opens ports on this machine.",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop)
        stopped.exception(_PATIENCE_S)
        self._end_loop()

    async def _start(self) -> _Broker:
        listener = {"type": "tcp", "bind": f"{HOST}:{self.port}"}
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        broker = self._make({"listeners": {"default": listener}, "plugins": plugins})
        await broker.start()
        return broker

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()


class Subscriber:
    """What arrives from one device: its levels, events, alerts, and their states when they change.

    Args:
        port: Of the broker on loopback.
        prefix: The device's topics begin so, without the last slash.
    """

    def __init__(self, port: int, prefix: str) -> None:
        self._port = port
        self._prefix = prefix
        self._arrived: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._seen: set[tuple[str, object]] = set()
        self._listening = threading.Event()
        self.farewell = threading.Event()
        """The device took its leave: nothing follows."""
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id="earshot-demo-subscriber",
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        self._client.subscribe(f"{self._prefix}/#", qos=1)
        if not self._listening.wait(_PATIENCE_S):
            raise BrokerError(
                f"the demo's broker on port {self._port} did not take the subscription",
                hint="Try again; if it stays so, report it with the versions of amqtt and paho.",
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def next(self, timeout_s: float) -> Message | None:
        """The next new message as it was published; None when none came in time."""
        try:
            return self._arrived.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        _mid: int,
        _reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._listening.set()

    def _on_message(self, _client: Client, _userdata: object, arrived: MQTTMessage) -> None:
        if not arrived.topic.startswith(f"{self._prefix}/"):
            return
        if arrived.topic == f"{self._prefix}/status":
            if b'"state":"offline"' in arrived.payload:
                self.farewell.set()
            return
        message = _published(arrived.topic, bytes(arrived.payload), arrived.qos)
        if message is not None and self._is_new(message):
            self._arrived.put(message)

    def _is_new(self, message: Message) -> bool:
        keys = msgspec.json.decode(message.payload, type=_Keys)
        if message.kind == "state" and keys.id is None:
            # The rest before a first alert, told at each connection; no change of anything.
            return False
        told = message.payload if keys.seq is None else (keys.id, keys.n)
        key = (message.topic, told)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def _published(topic: str, payload: bytes, qos: int) -> Message | None:
    """The message as the agent handed it over; None for what is about the agent itself."""
    kind = _KINDS.get(payload_type(topic))
    if kind is None:
        return None
    return Message(
        id=topic,
        kind=kind,
        topic=topic,
        payload=payload,
        qos=1 if qos else 0,
        # A broker tells a live subscriber nothing of the flag; the contract does.
        retain=kind == "state",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
