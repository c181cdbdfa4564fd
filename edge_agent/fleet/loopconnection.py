"""The agent's own connection, driven by an event loop instead of a thread: many in one process.

Everything that is said on it, and how each refusal is understood, is `connection`'s. Only who waits
for the socket differs.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from edge_agent.config import MqttConfig
from edge_agent.connection import Connection, Version
from edge_agent.records import Message


class LoopConnection(Connection):
    """One connection.

    Args:
        config: The broker.
        client_id: Names the device to the broker.
        will: What the broker publishes when the connection is lost, if anything.
        version: Of the protocol.
        notify: Called in the loop's thread, after something was appended to `happened`.
        loop: Waits for the socket.
        pool: Its threads connect, which may take seconds.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        will: Message | None,
        version: Version,
        notify: Callable[[], None],
        *,
        loop: asyncio.AbstractEventLoop,
        pool: Executor,
    ) -> None:
        super().__init__(config, client_id, will, version, self._called)
        self._loop = loop
        self._pool = pool
        self._noticed = notify
        self._loop_thread = threading.get_ident()
        self._watched: socket.socket | None = None
        self._writing = False
        # With this in place paho asks to be called instead of writing by itself.
        self._client.on_socket_register_write = self._wants_to_write
        self._client.on_socket_close = self._closes

    def start(self) -> None:
        """Connect, on a thread of the pool."""
        self._pool.submit(self._connect)

    def cut(self) -> None:
        """As when the line goes: what was handed over has left, and no answer to it is read."""
        if self._watched is not None:
            self._client.loop_write()
        if self._watched is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._watched, socket.SHUT_RDWR)

    def keep_alive(self) -> None:
        """Ping where nothing else was said; to be called every few seconds."""
        if self._watched is not None:
            self._client.loop_misc()

    def _drive(self) -> None:
        self._loop.call_soon_threadsafe(self._watch)

    def _halt(self) -> None:
        # Connecting may have ended on the pool's thread, before the loop knew the socket.
        if threading.get_ident() == self._loop_thread:
            self._client.loop_write()
            self._unwatch()
        self._client.on_socket_register_write = self._client.on_socket_close = None

    def _called(self) -> None:
        if threading.get_ident() == self._loop_thread:
            self._loop.call_soon(self._noticed)
        else:
            self._loop.call_soon_threadsafe(self._noticed)

    def _watch(self) -> None:
        link = self._client.socket()
        if isinstance(link, socket.socket) and not self._dropped and link.fileno() >= 0:
            self._watched = link
            self._loop.add_reader(link, self._readable)
            self._start_writing()

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._loop.remove_writer(self._watched)
            self._watched, self._writing = None, False

    def _readable(self) -> None:
        self._client.loop_read()
        # What TLS has decrypted already makes no socket readable.
        while isinstance(self._watched, ssl.SSLSocket) and self._watched.pending():
            self._client.loop_read()

    def _writable(self) -> None:
        self._client.loop_write()
        if self._watched is not None and not self._client.want_write():
            self._loop.remove_writer(self._watched)
            self._writing = False

    def _closes(self, *_: object) -> None:
        """Paho is about to close its socket."""
        self._unwatch()

    def _wants_to_write(self, *_: object) -> None:
        self._start_writing()

    def _start_writing(self) -> None:
        if self._watched is not None and not self._writing and self._client.want_write():
            self._writing = True
            self._loop.add_writer(self._watched, self._writable)
