"""Delivery to one broker: when to connect, how much to hand over, what each refusal means.

The worker calls `turn`, at least once a second, then `results`, then `send` for as many rows as
there is `room`. Nothing here blocks it: connecting happens on a thread of its own, and paho's
thread only reports. Back-off ends with a PUBACK and not with a CONNACK, for a broker that closes
after each publish would otherwise be met once a second for ever.
"""

import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from edge_agent import backoff, certificate
from edge_agent import mqttcodes as codes
from edge_agent.backoff import BackOff
from edge_agent.clock import Clock
from edge_agent.config import MqttConfig
from edge_agent.connection import (
    Accepted,
    Answered,
    Connection,
    Happening,
    Lost,
    Refused,
    Unreachable,
    Version,
    unanswered,
)
from edge_agent.denied import Denied
from edge_agent.pace import Pace
from edge_agent.records import Message, MqttHealth
from edge_agent.topics import expiry_s

BACK_OFF_S = backoff.MOST_S
REFUSED_BACK_OFF_S = 300.0
QUICK_S = 1.0
AWAY_S = 60.0
RENEW_NS = 30 * 86_400_000_000_000
"""Our certificate is to be replaced when it lasts less than this."""
FAREWELL_S = 2.0
BACKLOG_WAIT_S = 30.0
"""Devices that come back together begin to drain at different times, up to this one."""
_PACKET_OVERHEAD_BYTES = 32
_FAREWELL_KEY = -(2**63)
"""No row of the outbox has it."""

_log = logging.getLogger(__name__)


Connects: TypeAlias = Callable[
    [MqttConfig, str, Message | None, Version, Callable[[], None]], Connection
]
"""As `Connection` itself does it."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a row: delivered, to be sent again, refused, or never to be sent."""

    key: int
    outcome: Literal["done", "keep", "strike", "set_aside"]


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    key: int
    message: Message
    sent_ns: int


class MqttOutput:
    """The broker as the worker sees it.

    Args:
        config: The broker; its paths are absolute.
        client_id: Names the device to the broker.
        will: What the broker says of a lost connection.
        clock: For back-off and time-outs.
        rng: Spreads the back-off and the start of a drain.
        backlog_wait_s: The drain begins after a random share of this.
        connects: Makes a connection; None: with threads of its own.
    """

    name = "mqtt"

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        will: Message,
        clock: Clock,
        rng: random.Random,
        *,
        backlog_wait_s: float = BACKLOG_WAIT_S,
        connects: Connects | None = None,
    ) -> None:
        self._config = config
        self._client_id = client_id
        self._will = will
        self._clock = clock
        self._rng = rng
        self._backlog_wait_s = backlog_wait_s
        self._connects_by = connects
        self._wake = threading.Event()
        self._version: Version = "3.1.1" if config.version == "3.1.1" else "5"
        self._connection: Connection | None = None
        self._accepted: Accepted | None = None
        self._newly_connected = False
        self._connected_ns = 0
        self._away_since_ns = clock.monotonic_ns()
        self._next_try_ns = 0
        self._back_off = BackOff(rng)
        self._pace = Pace(clock, config.drain_per_s)
        self._sent: dict[int, _Sent] = {}
        self._results: list[Result] = []
        self._last_sent_ns = 0
        self._quick_losses = 0
        self._careful = False
        self._denied = Denied(clock)
        self._connects = 0
        self._unheard = 0
        self._last_error: str | None = None
        self._logged_error: str | None = None
        self._refusal: str | None = None
        self._certificate_ends_ns: int | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._accepted is not None

    def at_rest(self) -> bool:
        """Connected, and nothing has happened since the last turn: the next one may wait."""
        return self._accepted is not None and not self._results and not self._wake.is_set()

    def turn(self) -> None:
        """Take in what happened, and connect or give up where it is time."""
        self._wake.clear()
        connection = self._connection
        while connection is not None and connection is self._connection and connection.happened:
            self._handle(connection.happened.popleft())
        now_ns = self._clock.monotonic_ns()
        if self._connection is None:
            if now_ns >= self._next_try_ns:
                self._connect()
        elif self._overdue(now_ns):
            self._leave(f"no PUBACK for {self._config.ack_timeout_s:g} s")
        self._recover(now_ns)

    def take_newly_connected(self) -> bool:
        """Whether a connection came about since this was last asked."""
        new, self._newly_connected = self._newly_connected, False
        return new

    def results(self) -> list[Result]:
        """What became of rows since this was last asked."""
        results, self._results = self._results, []
        return results

    def room(self) -> int:
        """How many rows may be handed over now."""
        if self._accepted is None or self._accepted.maximum_qos == 0:
            return 0
        if self._pace.paused():
            return 0
        return max(0, self._window() - len(self._sent))

    def backlog_room(self) -> int:
        """How many of them may be backlog."""
        return self._pace.backlog()

    def blocked(self) -> frozenset[str]:
        """Topics that the broker denies and that rest."""
        return self._denied.resting()

    def send(self, key: int, message: Message, *, backlog: bool = False) -> None:
        """Hand over a row; its result follows."""
        if self._connection is None or self._accepted is None:
            self._results.append(Result(key=key, outcome="keep"))
            return
        limit = self._accepted.maximum_packet_size
        size = len(message.payload) + len(message.topic.encode()) + _PACKET_OVERHEAD_BYTES
        if limit is not None and size > limit:
            self._last_error = f"{message.topic}: {size} bytes, the broker takes {limit}"
            self._results.append(Result(key=key, outcome="set_aside"))
            return
        if backlog:
            self._pace.spend()
        retain = message.retain and self._accepted.retain_available
        mid = self._connection.publish(message, retain=retain, expiry_s=expiry_s(message.topic))
        self._last_sent_ns = self._clock.monotonic_ns()
        self._sent[mid] = _Sent(key=key, message=message, sent_ns=self._last_sent_ns)

    def wait(self, seconds: float) -> None:
        """Wait until something happened, at most so long."""
        self._wake.wait(seconds)

    def close(self, farewell: Message) -> None:
        """Say goodbye if the broker is there, and end the connection.

        Args:
            farewell: The last status; without its PUBACK the broker shall publish the will.
        """
        if self._connection is not None and self._accepted is not None:
            self.send(_FAREWELL_KEY, farewell)
            deadline_ns = self._clock.monotonic_ns() + round(FAREWELL_S * 1e9)
            while self._pending(_FAREWELL_KEY) and self._clock.monotonic_ns() < deadline_ns:
                self._wake.wait(0.05)
                self._wake.clear()
                while self._connection is not None and self._connection.happened:
                    self._handle(self._connection.happened.popleft())
        if self._connection is not None:
            if self._pending(_FAREWELL_KEY) or self._accepted is None:
                self._connection.drop()
            else:
                self._connection.end()
        self._connection = self._accepted = None

    def health(self) -> MqttHealth:
        """How the connection does."""
        return MqttHealth(
            version=self._version if self._connects else None,
            connects=self._connects,
            last_error=self._last_error,
            window=self._window(),
            unheard=self._unheard,
        )

    def faults(self) -> list[str]:
        """What is wrong with the broker, by the names of docs/faults.md."""
        found = [f"mqtt_denied:{topic}" for topic in self._denied.topics()]
        if self._refusal is not None:
            found.append(self._refusal)
        if self._back_off.twin:
            found.append("mqtt_twin")
        ends_ns = self._certificate_ends_ns
        if ends_ns is not None and self._clock.synced():
            left_ns = ends_ns - self._clock.utc_ns()
            found += ["mqtt_certificate_ends"] if left_ns < RENEW_NS else []
        if self._accepted is None:
            if self._clock.monotonic_ns() - self._away_since_ns >= AWAY_S * 1e9:
                found.append("mqtt_away")
            return found
        if not self._accepted.retain_available:
            found.append("mqtt_no_retain")
        if self._accepted.maximum_qos == 0:
            found.append("mqtt_no_qos")
        return found

    def _window(self) -> int:
        if self._careful:
            return 1
        allowed = self._accepted.receive_maximum if self._accepted else self._config.window
        return min(self._config.window, allowed)

    def _pending(self, key: int) -> bool:
        return any(sent.key == key for sent in self._sent.values())

    def _overdue(self, now_ns: int) -> bool:
        oldest_ns = min((sent.sent_ns for sent in self._sent.values()), default=now_ns)
        return now_ns - oldest_ns > self._config.ack_timeout_s * 1e9

    def _connect(self) -> None:
        make = self._connects_by or Connection
        self._connection = make(
            self._config, self._client_id, self._will, self._version, self._wake.set
        )
        self._connection.start()

    def _recover(self, now_ns: int) -> None:
        if self._accepted and now_ns - self._connected_ns > backoff.SHORT_S * 1e9:
            self._careful = False
            self._quick_losses = 0
            self._back_off.lasted()
        self._pace.recover()

    def _handle(self, happening: Happening) -> None:
        match happening:
            case Accepted():
                self._on_accepted(happening)
            case Refused():
                self._on_refused(happening)
            case Unreachable():
                self._back_off.unreachable()
                self._leave(happening.error)
            case Answered():
                self._on_answered(happening)
            case Lost():
                self._on_lost(happening)

    def _on_accepted(self, accepted: Accepted) -> None:
        now_ns = self._clock.monotonic_ns()
        self._accepted = accepted
        self._newly_connected = True
        self._connected_ns = now_ns
        self._connects += 1
        self._refusal = None
        tls = self._config.tls
        shown = None if tls is None or tls.certificate is None else Path(tls.certificate)
        self._certificate_ends_ns = None if shown is None else certificate.ends_ns(shown)
        self._pace.begin(self._rng.random() * self._backlog_wait_s)

    def _on_refused(self, refused: Refused) -> None:
        if (
            refused.code == codes.UNSUPPORTED_VERSION
            and self._config.version == "auto"
            and self._version == "5"
        ):
            self._version = "3.1.1"
            self._discard()
            self._next_try_ns = 0
            return
        if refused.code in codes.OTHER_SERVER:
            self._refusal = "mqtt_moved"
        elif refused.code in codes.REFUSED | codes.BEYOND:
            self._refusal = f"mqtt_refused:{refused.name}"
        cap_s = REFUSED_BACK_OFF_S if refused.code in codes.REFUSED else BACK_OFF_S
        self._leave(f"refused: {refused.name}", cap_s)

    def _on_answered(self, answer: Answered) -> None:
        sent = self._sent.pop(answer.mid, None)
        if sent is None:
            return
        outcome: Literal["done", "keep", "strike"] = "done"
        if answer.code in (0, codes.NO_SUBSCRIBERS):
            self._on_delivered(sent, answer)
        elif answer.code == codes.NOT_AUTHORIZED:
            self._denied.deny(sent.message.topic)
            outcome = "keep"
        elif answer.code in codes.BUSY:
            self._pace.pause()
            outcome = "keep"
        elif answer.code == codes.ID_IN_USE:
            outcome = "keep"
        else:
            outcome = "strike"
        self._results.append(Result(key=sent.key, outcome=outcome))
        error = f"{sent.message.topic}: {answer.name}"
        if outcome != "done":
            self._last_error = error
        if answer.code == codes.ID_IN_USE:
            self._leave(error)

    def _on_delivered(self, sent: _Sent, answer: Answered) -> None:
        self._back_off.delivered()
        self._pace.delivered()
        if self._logged_error is not None:
            _log.info("broker %s:%d: delivering again", self._config.host, self._config.port)
            self._logged_error = None
        self._denied.delivered(sent.message.topic)
        if answer.code == codes.NO_SUBSCRIBERS:
            self._unheard += 1

    def _on_lost(self, lost: Lost) -> None:
        now_ns = self._clock.monotonic_ns()
        was_up = self._accepted is not None
        quick = bool(self._sent) and now_ns - self._last_sent_ns < QUICK_S * 1e9
        if was_up and (lost.code == codes.TOO_LARGE or quick):
            self._quick_losses += 2 if lost.code == codes.TOO_LARGE else 1
            if self._careful and len(self._sent) == 1:
                (sent,) = self._sent.values()
                self._results.append(Result(key=sent.key, outcome="strike"))
                self._sent.clear()
            self._careful = self._quick_losses >= 2
        elif was_up and now_ns - self._connected_ns < backoff.SHORT_S * 1e9:
            self._back_off.ended_soon()
        if lost.code == codes.TAKEN_OVER:
            self._back_off.taken_over()
        if lost.code in (codes.RECEIVE_MAXIMUM, codes.RATE_TOO_HIGH):
            self._pace.cut()
        self._leave(f"lost: {lost.name}" if was_up else unanswered(lost, self._config.tls))

    def _leave(self, error: str, cap_s: float | None = None) -> None:
        """Throw the connection away and come back later."""
        self._last_error = error
        # While no broker is there nobody reads `health`; each reason once until one is there again.
        if error != self._logged_error:
            self._logged_error = error
            _log.warning("broker %s:%d: %s", self._config.host, self._config.port, error)
        self._discard()
        back_off_s = self._back_off.wait_s(BACK_OFF_S if cap_s is None else cap_s)
        self._next_try_ns = self._clock.monotonic_ns() + round(back_off_s * 1e9)

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.drop()
        if self._accepted is not None:
            self._away_since_ns = self._clock.monotonic_ns()
        self._connection = self._accepted = None
        self._results += [Result(key=s.key, outcome="keep") for s in self._sent.values()]
        self._sent.clear()
