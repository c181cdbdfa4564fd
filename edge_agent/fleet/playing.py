"""One made-up device: real records, payloads, outbox and delivery; only the sound is missing."""

import random
from collections.abc import Callable
from typing import Final

import msgspec

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.config import AlertConfig, MqttConfig, SiteConfig
from edge_agent.connection import Connection
from edge_agent.delivery import Delivery
from edge_agent.ids import Ids
from edge_agent.messages import About, Encoder
from edge_agent.mqtt import Connects, MqttOutput
from edge_agent.outbox import Outbox
from edge_agent.records import (
    Alert,
    ClockHealth,
    Event,
    Health,
    LevelReading,
    Message,
    Record,
    Stamp,
    SystemHealth,
)

SITE: Final = "simulated"
QUEUED: Final = ("level", "event", "alert")
_RULE: Final = "emergency"
_LABEL: Final = "simulated"
"""Of no model: whoever hears it by chance is not alarmed."""
_SHA256: Final = "0" * 64
_HEALTH_S: Final = 60.0
_OUTBOX_BYTES: Final = 64_000_000


class Played:
    """A device that measures, hears a siren now and then, and delivers.

    Args:
        number: Names it.
        mqtt: Its broker.
        clock: Of everything.
        rng: Of everything that is left to chance.
        connects: Makes its connections.
        sent: Told of each message that has to arrive, when it is queued.
    """

    def __init__(
        self,
        number: int,
        mqtt: MqttConfig,
        clock: Clock,
        rng: random.Random,
        connects: Connects,
        sent: Callable[[Message], None],
    ) -> None:
        self.name = f"sim-{number:05}"
        self._clock = clock
        self._rng = rng
        self._sent = sent
        self._ids = Ids(rng.getrandbits(64))
        site = SiteConfig(site=SITE, device=self.name)
        rules = {_RULE: AlertConfig(labels=(_LABEL,), min_score=0.6)}
        self._encoder = Encoder(
            site, mqtt.root, rules, "street", _SHA256, f"{rng.getrandbits(64):016x}"
        )
        self.outbox = Outbox(None, clock, max_bytes=_OUTBOX_BYTES)
        self.output = MqttOutput(
            mqtt, f"earshot-{SITE}-{self.name}", self._encoder.will(), clock, rng, connects=connects
        )
        self._delivery = Delivery(self.outbox, self.output, self._introduce, lambda: None)
        self._started_ns = clock.monotonic_ns()
        self._told_ns: int | None = None
        self.link: Connection | None = None
        """The latest that was made."""

    def measure(self) -> None:
        """A second of sound is over."""
        end_ns = self._clock.utc_ns()
        start_ns = end_ns - 1_000_000_000
        level = round(self._rng.gauss(60, 6), 1)
        reading = LevelReading(
            id=self._ids.new(start_ns),
            microphone="mic",
            period_s=1,
            start_ns=start_ns,
            made_ns=end_ns,
            values={"LAeq_dbfs": level - 120, "LAFmax_dbfs": level - 117},
            reasons={},
            heard_s=1.0,
            bandwidth_hz=24_000.0,
            overload=False,
            under_range=False,
            calibration=None,
            synced=True,
        )
        self._queue([reading])
        now_ns = self._clock.monotonic_ns()
        if self._told_ns is None or now_ns - self._told_ns >= _HEALTH_S * 1e9:
            self._told_ns = now_ns
            self._queue([self._health()])

    def hear(self) -> None:
        """A siren, from its first patch to its last: an event and an alert, each told twice."""
        now_ns = self._clock.utc_ns()
        event = Event(
            id=self._ids.new(now_ns),
            n=0,
            phase="start",
            microphone="mic",
            label=_LABEL,
            start_ns=now_ns,
            end_ns=None,
            made_ns=now_ns,
            synced=True,
            score=0.9,
            score_max=0.9,
            duration_s=1.0,
            levels={},
            end_reason=None,
        )
        alert = Alert(
            id=self._ids.new(now_ns),
            n=0,
            phase="start",
            rule=_RULE,
            severity="warning",
            microphone="mic",
            start_ns=now_ns,
            end_ns=None,
            made_ns=now_ns,
            synced=True,
            duration_s=1.0,
            labels=(_LABEL,),
            indicator=None,
            value=0.9,
            limit=0.6,
            events=(event.id,),
            levels={},
            end_reason=None,
        )
        over = {"n": 1, "phase": "end", "end_ns": now_ns, "end_reason": "quiet"}
        self._queue(
            [
                event,
                alert,
                msgspec.structs.replace(event, **over),
                msgspec.structs.replace(alert, **over),
            ]
        )

    def turn(self) -> None:
        """Deliver what may be delivered."""
        self._delivery.turn()
        self.outbox.turn()

    def close(self) -> None:
        """Leave without a word."""
        if self.link is not None:
            self.link.drop()
        self.outbox.close()

    def _queue(self, records: list[Record]) -> None:
        for record in records:
            messages = self._encoder.encode(record, self._stamp())
            self.outbox.add(messages, record if isinstance(record, Alert | Event) else None)
            for message in messages:
                if message.kind in QUEUED:
                    self._sent(message)

    def _introduce(self) -> None:
        stamp = self._stamp()
        about = About(
            config_sha256=_SHA256,
            labels=(_LABEL,),
            microphones=(),
            indicators=("LAeq",),
            slow_indicators=(),
            periods_s=(1,),
            third_octaves=False,
            calibrations={},
            hardware="simulated",
            os="simulated",
            python=__version__,
            started_ns=self._clock.utc_ns(),
        )
        self.outbox.add([self._encoder.status(stamp), self._encoder.info(stamp, about)])
        self.outbox.add(self._encoder.states(stamp))

    def _health(self) -> Health:
        return Health(
            made_ns=self._clock.utc_ns(),
            faults=(),
            last_block_s=0.1,
            last_inference_s=0.2,
            last_ack_s=1.0,
            capture=(),
            outbox=self.outbox.health(),
            mqtt=self.output.health(),
            clock=ClockHealth(steps=0, last_step_s=None, last_step_age_s=None),
            system=SystemHealth(
                cpu_c=None,
                throttled=None,
                throttled_since_boot=None,
                undervoltage=None,
                undervoltage_since_boot=None,
                pss_mb=None,
                capture_pss_mb=None,
                mem_available_mb=None,
                disk_free_mb=None,
                disk_read_only=None,
            ),
            model_sha256=_SHA256,
            config_sha256=_SHA256,
        )

    def _stamp(self) -> Stamp:
        up_ns = self._clock.monotonic_ns() - self._started_ns
        return Stamp(utc_ns=self._clock.utc_ns(), synced=True, up_ms=up_ns // 1_000_000)
