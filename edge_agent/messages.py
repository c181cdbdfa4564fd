"""The contract on the wire: which record goes to which topic, and what its payload says.

Everything else in the agent speaks of records; this module and `written` know
how they look outside.
docs/mqtt.md is the published form.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, assert_never

import msgspec
from msgspec import UNSET, Struct

from edge_agent import __version__
from edge_agent.config import AlertConfig, SiteConfig
from edge_agent.payloads import (
    AlertPayload,
    EventPayload,
    HealthPayload,
    InfoPayload,
    LevelPayload,
    MicrophoneInfo,
    ModelInfo,
    ModelRef,
    Payload,
    RuleInfo,
    StatePayload,
    StatusPayload,
)
from edge_agent.records import (
    Alert,
    Calibration,
    Event,
    Health,
    Kind,
    LevelReading,
    Message,
    Record,
    ReleaseState,
    Stamp,
)
from edge_agent.rulestates import RuleStates
from edge_agent.written import (
    bands_payload,
    calibration_payload,
    given,
    level_or_none,
    period_name,
    rfc3339,
    rounded,
    rounded_or_none,
    share_payloads,
    time_or_none,
    up_ms,
)

MAX_PAYLOAD_BYTES = 4096
"""For all but `info`; an alert sheds the ids of its events, then its labels, to fit."""
COMPLETE_SHARE = 0.95
"""A reading is complete when this share of its interval was heard."""
PLAIN_BANDWIDTH_HZ = 20_000.0
"""From here on a reading need not say how far up it heard."""


class About(Struct, frozen=True, kw_only=True):
    """What `info` says beyond what the encoder knows."""

    config_sha256: str
    labels: tuple[str, ...]
    microphones: tuple[MicrophoneInfo, ...]
    indicators: tuple[str, ...]
    slow_indicators: tuple[str, ...]
    periods_s: tuple[int, ...]
    third_octaves: bool
    calibrations: dict[str, Calibration]
    hardware: str
    os: str
    python: str
    started_ns: int
    release: ReleaseState | None = None
    """None: the device takes no updates."""


class Encoder:
    """Turns records into messages; the only one who knows topics and payloads.

    Args:
        site: Names the topics; its coordinates go into `info`.
        root: The first levels of every topic.
        rules: The alert rules by name; each has a retained state.
        model_name: Of the bundle.
        model_sha256: Of the model file, 64 hex digits.
        boot: 16 hex digits that name this start of the agent.
    """

    def __init__(
        self,
        site: SiteConfig,
        root: str,
        rules: Mapping[str, AlertConfig],
        model_name: str,
        model_sha256: str,
        boot: str,
    ) -> None:
        self._site = site
        self._prefix = f"{root}/{site.site}/{site.device}"
        self._rules = dict(rules)
        self._model_name = model_name
        self._model_sha256 = model_sha256
        self._model = ModelRef(name=model_name, sha256=model_sha256[:8])
        self._boot = boot
        self._seq = 0
        self._states = RuleStates(rules)

    @property
    def seq(self) -> int:
        """The number of the last queued message of this start; 0 before the first."""
        return self._seq

    def encode(self, record: Record, stamp: Stamp) -> list[Message]:
        """The messages a record makes: one, and the rule's state where an alert changes it."""
        match record:
            case LevelReading():
                return [self._level(record, stamp)]
            case Event():
                return [self._event(record, stamp)]
            case Alert():
                return [self._alert(record, stamp), *self._changed_state(record, stamp)]
            case Health():
                return [self._health(record, stamp)]
        assert_never(record)

    def states(self, stamp: Stamp) -> list[Message]:
        """All rules' states as they are now; sent at each connection."""
        return [self._state(rule, stamp) for rule in self._states.rules]

    def status(self, stamp: Stamp, reason: Literal["stopped"] | None = None) -> Message:
        """`online`, or `offline` for an agent that was stopped."""
        payload = StatusPayload(
            site=self._site.site,
            device=self._site.device,
            state="online" if reason is None else "offline",
            reason=reason,
            boot=self._boot,
            time=rfc3339(stamp.utc_ns),
            time_synced=stamp.synced,
            up_ms=up_ms(stamp.synced, stamp),
        )
        return self._retained("status", payload)

    def will(self) -> Message:
        """What the broker says when the connection is lost."""
        payload = StatusPayload(
            site=self._site.site,
            device=self._site.device,
            state="offline",
            reason="lost",
            boot=self._boot,
        )
        return self._retained("status", payload)

    def info(self, stamp: Stamp, about: About) -> Message:
        """What runs here, and how it is set up."""
        payload = InfoPayload(
            site=self._site.site,
            device=self._site.device,
            boot=self._boot,
            time=rfc3339(stamp.utc_ns),
            time_synced=stamp.synced,
            up_ms=up_ms(stamp.synced, stamp),
            agent=__version__,
            config_sha256=about.config_sha256,
            model=ModelInfo(name=self._model_name, sha256=self._model_sha256, labels=about.labels),
            rules=tuple(
                RuleInfo(name=name, kind=_rule_kind(rule.indicator), severity=rule.severity)
                for name, rule in self._rules.items()
            ),
            microphones=about.microphones,
            indicators=about.indicators,
            slow_indicators=about.slow_indicators,
            periods_s=about.periods_s,
            third_octaves=about.third_octaves,
            calibration={
                microphone.name: calibration_payload(about.calibrations.get(microphone.name))
                for microphone in about.microphones
            },
            latitude=given(self._site.latitude),
            longitude=given(self._site.longitude),
            hardware=about.hardware,
            os=about.os,
            python=about.python,
            started=rfc3339(about.started_ns),
            release=given(about.release),
        )
        return self._retained("info", payload)

    def _level(self, record: LevelReading, stamp: Stamp) -> Message:
        values = {name: level_or_none(value) for name, value in record.values.items()}
        # A meter that hands out NaN or infinity is wrong, but a device in a street goes on.
        reasons = {name: "not_finite" for name, value in values.items() if value is None}
        reasons |= {name: word for name, word in record.reasons.items() if name in reasons}
        synced = record.synced and stamp.synced
        payload = LevelPayload(
            id=record.id,
            boot=self._boot,
            seq=self._next_seq(),
            site=self._site.site,
            device=self._site.device,
            microphone=record.microphone,
            time=rfc3339(stamp.utc_ns),
            time_synced=synced,
            up_ms=up_ms(synced, stamp),
            start=rfc3339(record.start_ns),
            period_s=record.period_s,
            heard_s=rounded(record.heard_s, 3),
            complete=record.heard_s >= COMPLETE_SHARE * record.period_s,
            overload=record.overload,
            under_range=record.under_range,
            bandwidth_hz=(
                UNSET
                if record.bandwidth_hz >= PLAIN_BANDWIDTH_HZ
                else rounded(record.bandwidth_hz, 1)
            ),
            calibration=calibration_payload(record.calibration),
            bands=bands_payload(record),
            shares=share_payloads(record),
            unlabelled=UNSET if record.shares is None else rounded(record.shares.unlabelled, 2),
            background=UNSET if record.shares is None else rounded(record.shares.background, 2),
            reasons=reasons or UNSET,
        )
        # The attribute of each indicator is its name in lower case.
        payload = msgspec.structs.replace(
            payload, **{name.lower(): value for name, value in values.items()}
        )
        return self._queued(record.id, "level", f"levels/{period_name(record.period_s)}", payload)

    def _event(self, record: Event, stamp: Stamp) -> Message:
        levels = {name: level_or_none(value) for name, value in record.levels.items()}
        synced = record.synced and stamp.synced
        payload = EventPayload(
            id=record.id,
            boot=self._boot,
            seq=self._next_seq(),
            site=self._site.site,
            device=self._site.device,
            microphone=record.microphone,
            time=rfc3339(stamp.utc_ns),
            time_synced=synced,
            up_ms=up_ms(synced, stamp),
            n=record.n,
            phase=record.phase,
            label=record.label,
            start=rfc3339(record.start_ns),
            end=time_or_none(record.end_ns),
            duration_s=rounded(record.duration_s, 3),
            score=rounded(record.score, 2),
            score_max=rounded(record.score_max, 2),
            laeq=levels.get("LAeq", UNSET),
            laeq_dbfs=levels.get("LAeq_dbfs", UNSET),
            lafmax=levels.get("LAFmax", UNSET),
            lafmax_dbfs=levels.get("LAFmax_dbfs", UNSET),
            model=self._model,
            end_reason=record.end_reason,
        )
        return self._queued(f"{record.id}/{record.n}", "event", "events", payload)

    def _alert(self, record: Alert, stamp: Stamp) -> Message:
        levels = {name: level_or_none(value) for name, value in record.levels.items()}
        synced = record.synced and stamp.synced
        digits = 2 if record.indicator is None else 1
        payload = AlertPayload(
            id=record.id,
            boot=self._boot,
            seq=self._next_seq(),
            site=self._site.site,
            device=self._site.device,
            microphone=record.microphone,
            time=rfc3339(stamp.utc_ns),
            time_synced=synced,
            up_ms=up_ms(synced, stamp),
            n=record.n,
            phase=record.phase,
            rule=record.rule,
            severity=record.severity,
            kind=_rule_kind(record.indicator),
            start=rfc3339(record.start_ns),
            end=time_or_none(record.end_ns),
            duration_s=rounded(record.duration_s, 3),
            labels=record.labels,
            value=rounded(record.value, digits) if math.isfinite(record.value) else None,
            limit=rounded(record.limit, digits),
            indicator=given(record.indicator),
            events=record.events[:8],
            laeq=levels.get("LAeq", UNSET),
            laeq_dbfs=levels.get("LAeq_dbfs", UNSET),
            lafmax=levels.get("LAFmax", UNSET),
            lafmax_dbfs=levels.get("LAFmax_dbfs", UNSET),
            end_reason=record.end_reason,
        )
        return self._queued(
            f"{record.id}/{record.n}", "alert", f"alerts/{record.rule}", _fitting(payload)
        )

    def _changed_state(self, record: Alert, stamp: Stamp) -> list[Message]:
        changed = self._states.take(record, stamp.utc_ns)
        return [self._state(record.rule, stamp)] if changed else []

    def _state(self, rule: str, stamp: Stamp) -> Message:
        state = self._states.of(rule)
        payload = StatePayload(
            id=state.id,
            site=self._site.site,
            device=self._site.device,
            microphone=state.microphone,
            time=rfc3339(stamp.utc_ns),
            time_synced=stamp.synced,
            up_ms=up_ms(stamp.synced, stamp),
            rule=rule,
            state="ON" if state.on else "OFF",
            since=time_or_none(state.since_ns),
        )
        return self._retained(f"alerts/{rule}/state", payload)

    def _health(self, record: Health, stamp: Stamp) -> Message:
        payload = HealthPayload(
            site=self._site.site,
            device=self._site.device,
            boot=self._boot,
            time=rfc3339(stamp.utc_ns),
            time_synced=stamp.synced,
            up_ms=stamp.up_ms,
            faults=record.faults,
            last_block_s=rounded_or_none(record.last_block_s, 3),
            last_inference_s=rounded_or_none(record.last_inference_s, 3),
            last_ack_s=rounded_or_none(record.last_ack_s, 3),
            capture=record.capture,
            outbox=record.outbox,
            mqtt=record.mqtt,
            clock=record.clock,
            system=record.system,
            model_sha256=record.model_sha256[:8],
            config_sha256=record.config_sha256[:8],
            agent=__version__,
        )
        return self._retained("health", payload, kind="health")

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _queued(self, message_id: str, kind: Kind, name: str, payload: Payload) -> Message:
        return Message(
            id=message_id,
            kind=kind,
            topic=f"{self._prefix}/{name}",
            payload=msgspec.json.encode(payload),
            qos=1,
            retain=False,
        )

    def _retained(self, name: str, payload: Payload, kind: Kind = "state") -> Message:
        topic = f"{self._prefix}/{name}"
        return Message(
            id=topic,
            kind=kind,
            topic=topic,
            payload=msgspec.json.encode(payload),
            qos=1,
            retain=True,
        )


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records by the instant they were made; at one instant in the order of the topic table."""
    return sorted(records, key=lambda record: (record.made_ns, _rank(record)))


def _rank(record: Record) -> tuple[int, int]:
    match record:
        case LevelReading():
            return 0, record.period_s
        case Event():
            return 1, 0
        case Alert():
            return 2, 0
        case Health():
            return 3, 0
    assert_never(record)


def _fitting(payload: AlertPayload) -> AlertPayload:
    for shed in ({}, {"events": ()}, {"events": (), "labels": ()}):
        fitting = msgspec.structs.replace(payload, **shed)
        if len(msgspec.json.encode(fitting)) <= MAX_PAYLOAD_BYTES:
            break
    return fitting


def _rule_kind(indicator: str | None) -> Literal["label", "level"]:
    return "label" if indicator is None else "level"
