"""Brokers for the tests: a real mosquitto, its subscriber, and one of our own that misbehaves."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec
import pytest

from edge_agent.payloads import Payload
from edge_agent.records import Message
from edge_agent.topics import payload_type

APT = "apt-get install mosquitto mosquitto-clients openssl"


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float = 15.0) -> None:
    """Return as soon as the condition holds; fail after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """Below those that the kernel gives to connections: none takes it while its broker is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as link, contextlib.suppress(OSError):
            link.bind(("127.0.0.1", port))
            return port


def program(name: str) -> str:
    """Where a program of the distribution is; daemons are not on every user's path."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.fail(f"{name} is missing: {APT}")
    return found


class Mosquitto:
    """A mosquitto on a loopback port, which can be killed and started again."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        # Started as root it would change to a user that cannot read the test's folder.
        user = "user root\n" if os.geteuid() == 0 else ""
        self._config.write_text(f"listener {self.port} 127.0.0.1\n{user}{settings}")
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        command = [program("mosquitto"), "-v", "-c", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._answers, f"mosquitto listens ({self._log.read_text()[-400:]})")

    def kill(self) -> None:
        """End it at once, as a loss of power would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it as the system would at a restart: it saves what it holds."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def log(self) -> str:
        return self._log.read_text()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


class Subscriber:
    """mosquitto_sub beside the agent; comes back by itself after the broker was killed."""

    def __init__(self, port: int, *options: str, topic: str = "#") -> None:
        command = [program("mosquitto_sub"), "-p", str(port), "-q", "1", "-t", topic, "-v"]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE)
        self._lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def messages(self) -> list[Message]:
        found = []
        for line in list(self._lines):
            topic, _, payload = line.partition(b" ")
            found.append(
                Message(
                    id="", kind="state", topic=topic.decode(), payload=payload, qos=1, retain=False
                )
            )
        return found

    def payloads(self, part: str) -> list[Payload]:
        """Payloads of topics that contain `part`, decoded by the types of the contract."""
        return [
            msgspec.json.decode(message.payload, type=payload_type(message.topic))
            for message in self.messages()
            if part in message.topic
        ]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._lines.append(line.rstrip(b"\n"))


@contextlib.contextmanager
def subscribed(broker: Mosquitto, *options: str, topic: str = "#") -> Iterator[Subscriber]:
    """A subscriber that the broker already knows."""
    before = broker.log().count("SUBACK")
    subscriber = Subscriber(broker.port, *options, topic=topic)
    try:
        wait_for(lambda: broker.log().count("SUBACK") > before, "mosquitto_sub subscribes")
        yield subscriber
    finally:
        subscriber.end()


class Publish(msgspec.Struct, frozen=True):
    """A PUBLISH as the misbehaving broker saw it."""

    connection: int
    topic: str
    payload: bytes
    mid: int


class OddBroker:
    """Speaks just enough MQTT to misbehave.

    Args:
        connack: Body of CONNACK from its flags on; by default success, without properties.
        puback: The reason for a PUBLISH of QoS 1, None to say nothing, -1 to close instead.
    """

    def __init__(
        self,
        *,
        connack: bytes | None = b"\x00\x00\x00",
        puback: Callable[[Publish], int | None] = lambda _: 0,
        puback_delay_s: float = 0.0,
    ) -> None:
        self.published: list[Publish] = []
        self.connections = 0
        self.connects: list[bytes] = []
        self.unanswered = 0
        self.most_unanswered = 0
        self._connack = connack
        self._puback = puback
        self._delay_s = puback_delay_s
        self._links: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> "OddBroker":
        return self

    def __exit__(self, *_: object) -> None:
        # Shutting a listening socket is what wakes accept().
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._server.accept()
                self._links.append(link)
                self.connections += 1
                threading.Thread(
                    target=self._serve, args=(link, self.connections), daemon=True
                ).start()

    def _serve(self, link: socket.socket, number: int) -> None:
        self.unanswered = 0
        five = True
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, body = _packet(link)
                if kind >> 4 == 1:
                    self.connects.append(body)
                    five = body[6] == 5
                    if self._connack is None:
                        continue
                    answer = self._connack if five else self._connack[:2]
                    link.sendall(bytes([0x20, len(answer)]) + answer)
                elif kind >> 4 == 3:
                    self._take(link, _publish(number, body, five=five), five=five)
                elif kind >> 4 == 14:
                    break
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)

    def _take(self, link: socket.socket, publish: Publish, *, five: bool) -> None:
        self.published.append(publish)
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        reason = self._puback(publish)
        if reason is None:
            return
        if reason < 0:
            raise EOFError
        if self._delay_s:
            time.sleep(self._delay_s)
        self.unanswered -= 1
        mid = publish.mid.to_bytes(2, "big")
        link.sendall(b"\x40\x03" + mid + bytes([reason]) if five else b"\x40\x02" + mid)


def _packet(link: socket.socket) -> tuple[int, bytes]:
    kind = _exactly(link, 1)[0]
    length = shift = 0
    while True:
        digit = _exactly(link, 1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return kind, _exactly(link, length)


def _exactly(link: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = link.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _publish(number: int, body: bytes, *, five: bool) -> Publish:
    """A PUBLISH of QoS 1: topic, packet identifier, with MQTT 5 short properties, payload."""
    size = int.from_bytes(body[:2], "big")
    topic = body[2 : 2 + size].decode()
    rest = body[2 + size :]
    skip = 3 + rest[2] if five else 2
    return Publish(number, topic, rest[skip:], int.from_bytes(rest[:2], "big"))
