"""The worker: sound through the pipelines, records into the outbox, rows to the broker.

`run` and `demo` start the same one. It is one thread; the only others are paho's and the one that
connects. Whatever has to travel against the stream of data, an acknowledgement for instance, is an
explicit call made here.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from edge_agent.capture.open import Source
from edge_agent.clock import Clock
from edge_agent.delivery import Delivery
from edge_agent.errors import AudioError
from edge_agent.health import Monitor, names_microphone, worst_first
from edge_agent.heartbeat import Heartbeat
from edge_agent.messages import About, Encoder, in_order
from edge_agent.mqtt import MqttOutput
from edge_agent.notify import Service
from edge_agent.outbox import Outbox
from edge_agent.records import (
    Alert,
    Block,
    CaptureHealth,
    EndReason,
    Event,
    Record,
    ReleaseState,
    Stamp,
)
from edge_agent.store import Store

TURN_S = 0.32
"""The longest wait of a turn: longer than a block, since each turn costs what a message does."""
HOUSEKEEPING_S = 1.0
STOP_DRAIN_S = 1.0
"""What a stop leaves for the last rows; with the farewell's two seconds it ends within five."""

_log = logging.getLogger(__name__)


class Hears(Protocol):
    """What turns a microphone's sound into records; `Pipeline`, or a script in tests."""

    @property
    def resting(self) -> tuple[str, ...]:
        """Alert rules that cannot be judged without a calibration."""
        ...

    def feed(self, block: Block) -> list[Record]:
        """The records that this block leads to."""
        ...

    def finish(self, reason: EndReason) -> list[Record]:
        """The ends of all that is open."""
        ...


class Agent:
    """The agent at work, from `run` to its return.

    Args:
        sources: The sound, by microphone.
        pipelines: Under the same names.
        encoder: Makes the messages of all pipelines.
        outbox: Holds them; its owner closes it after `run`.
        output: Delivers them.
        clock: Stamps them.
        monitor: Told what happens, and asked for health.
        about: For `info`; None leaves that message out.
        drain_s: How long to go on delivering after the last source ended.
        service: Tells systemd; None: nobody is told.
        store: Keeps what was measured and heard; its owner closes it after `run`.
        standing: Faults that hold as long as this agent runs.
        heartbeat: For whoever watches on the device; None: nobody does.
        release: Asked at each connection and with each health which release this device is on;
            None: it takes no updates.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        pipelines: Mapping[str, Hears],
        encoder: Encoder,
        outbox: Outbox,
        output: MqttOutput,
        clock: Clock,
        monitor: Monitor,
        *,
        about: About | None = None,
        drain_s: float = 60.0,
        service: Service | None = None,
        store: Store | None = None,
        standing: Iterable[str] = (),
        heartbeat: Heartbeat | None = None,
        release: Callable[[], ReleaseState | None] = lambda: None,
    ) -> None:
        self._sources = dict(sources)
        self._pipelines = dict(pipelines)
        self._encoder = encoder
        self._outbox = outbox
        self._output = output
        self._clock = clock
        self._monitor = monitor
        self._about = about
        self._drain_s = drain_s
        self._service = service or Service(clock, sources)
        self._store = store
        self._standing = tuple(standing)
        self._heartbeat = heartbeat or Heartbeat(None)
        self._release = release
        self._delivery = Delivery(outbox, output, self._introduce, monitor.acknowledged)
        self._listening = list(sources)
        self._broken: AudioError | None = None
        self._started_ns = clock.monotonic_ns()
        self._kept_house_ns = 0
        self._logged_faults: frozenset[str] = frozenset()
        self._dropped = 0
        self._dropping = False

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, or all sources ended and their messages were delivered.

        Raises:
            AudioError: A recording, the first if several, could not be read to its end; the rest
                was done.
            DeviceError: A source that does not wait for its microphone cannot open it.
        """
        try:
            self._end_what_was_left_open()
            while self._listening and not stop.is_set():
                self._listen()
                self._turn()
            if stop.is_set():
                self._service.stopping()
            self._finish(list(self._listening), "stopped")
            self._deliver_rest(stop)
            if self._broken is not None:
                raise self._broken
        finally:
            self._service.stopping()
            self._output.close(self._encoder.status(self._stamp(), "stopped"))
            for source in self._sources.values():
                source.close()
            self._outbox.flush()

    def _end_what_was_left_open(self) -> None:
        now_ns = self._clock.utc_ns()
        self._queue(_ended_by_restart(record, now_ns) for record in self._outbox.left_open())

    def _listen(self) -> None:
        for name in list(self._listening):
            source = self._sources[name]
            try:
                block = source.read(TURN_S / len(self._listening))
            except AudioError as error:
                # One recording that breaks off ends neither the others nor what it has told.
                # It is told now, for a live microphone beside it may go on for weeks.
                _log.error("microphone %s ended: %s", name, error.message)
                self._broken = self._broken or error
                source.close()
                self._finish([name], "end_of_input")
                continue
            if block is not None:
                records = self._pipelines[name].feed(block)
                self._monitor.block(block, records)
                self._queue(records)
                self._service.heard(name)
            elif source.ended:
                self._finish([name], "end_of_input")
            elif source.waits:
                self._service.waits(name)

    def _finish(self, names: Iterable[str], reason: EndReason) -> None:
        for name in names:
            self._queue(self._pipelines[name].finish(reason))
            self._monitor.ended(name)
            self._service.ended(name)
            self._listening.remove(name)

    def _deliver_rest(self, stop: threading.Event) -> None:
        start_ns = self._clock.monotonic_ns()
        while not self._outbox.empty():
            waited_s = (self._clock.monotonic_ns() - start_ns) / 1e9
            if waited_s > (STOP_DRAIN_S if stop.is_set() else self._drain_s):
                break
            self._output.wait(TURN_S)
            self._turn()

    def _queue(self, records: Iterable[Record]) -> None:
        for record in in_order(records):
            messages = self._encoder.encode(record, self._stamp())
            told = record if isinstance(record, Alert | Event) else None
            self._outbox.add(messages, told)
            if self._store is not None:
                self._store.add(record)

    def _turn(self) -> None:
        """Deliver what may be delivered, and keep house once a second."""
        now_ns = self._clock.monotonic_ns()
        keeps_house = now_ns - self._kept_house_ns >= HOUSEKEEPING_S * 1e9
        if keeps_house or not self._output.at_rest() or not self._outbox.empty():
            self._delivery.turn()
        if keeps_house:
            self._kept_house_ns = now_ns
            self._outbox.turn()
            if self._store is not None:
                self._store.turn()
            # A disk that comes back late tells only now what an earlier start left open.
            self._end_what_was_left_open()
            self._report()
        self._service.turned()

    def _introduce(self) -> None:
        stamp = self._stamp()
        self._outbox.add([self._encoder.status(stamp)])
        if self._about is not None:
            self._about = msgspec.structs.replace(self._about, release=self._release())
            self._outbox.add([self._encoder.info(stamp, self._about)])
        self._outbox.add(self._encoder.states(stamp))

    def _tell_release(self) -> None:
        """The updater is another process: what it decided is looked for."""
        release = self._release()
        if self._about is not None and release != self._about.release:
            self._about = msgspec.structs.replace(self._about, release=release)
            self._outbox.add([self._encoder.info(self._stamp(), self._about)])

    def _report(self) -> None:
        capture = [source.health() for source in self._sources.values()]
        faults = self._monitor.faults(self._other_faults(capture))
        self._log_changes(frozenset(faults))
        self._service.kept_house(worst_first(faults), microphone_faulty=names_microphone(faults))
        if self._heartbeat.due(self._clock.monotonic_ns(), faults):
            self._heartbeat.write(self._monitor.beat(faults, ready=self._service.ready))
        if self._monitor.due(faults):
            health = self._monitor.report(
                faults,
                capture,
                self._outbox.health(),
                self._output.health(),
                [pid for source in self._sources.values() if (pid := source.pid) is not None],
            )
            dropped = sum(health.outbox.dropped.values())
            self._dropping, self._dropped = dropped > self._dropped, dropped
            self._queue([health])
            self._tell_release()

    def _other_faults(self, capture: Iterable[CaptureHealth]) -> list[str]:
        found = [*self._standing, *self._output.faults()]
        found += [f"mic_missing:{one.microphone}" for one in capture if one.last_error is not None]
        resting = {rule for pipeline in self._pipelines.values() for rule in pipeline.resting}
        found += [f"alert_uncalibrated:{rule}" for rule in resting]
        if self._outbox.damaged:
            found.append("outbox_set_aside")
        if not self._outbox.writable:
            found.append("outbox_unwritable")
        if self._outbox.disk_full:
            found.append("disk_full")
        if self._store is not None and self._store.damaged:
            found.append("store_set_aside")
        if self._store is not None and not self._store.writable:
            found.append("store_unwritable")
        # While it lasts, each report finds that more was dropped since the one before.
        if self._dropping or sum(self._outbox.dropped.values()) > self._dropped:
            found.append("outbox_dropping")
        return found

    def _log_changes(self, faults: frozenset[str]) -> None:
        for fault in sorted(faults - self._logged_faults):
            _log.warning("fault: %s", fault)
        for fault in sorted(self._logged_faults - faults):
            _log.info("mended: %s", fault)
        self._logged_faults = faults

    def _stamp(self) -> Stamp:
        up_ns = self._clock.monotonic_ns() - self._started_ns
        return Stamp(
            utc_ns=self._clock.utc_ns(), synced=self._clock.synced(), up_ms=up_ns // 1_000_000
        )


def _ended_by_restart(record: Alert | Event, now_ns: int) -> Alert | Event:
    """The end of what an earlier start left open: as far as it was told."""
    return msgspec.structs.replace(
        record,
        n=record.n + 1,
        phase="end",
        end_ns=record.start_ns + round(record.duration_s * 1e9),
        made_ns=now_ns,
        end_reason="restart",
    )
