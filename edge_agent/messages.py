"""The contract on the wire: which record goes to which topic, and what its payload says.

Everything else in the agent speaks of records; this module alone knows how they look outside.
docs/mqtt.md is the published form.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar, assert_never

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_agent import __version__
from edge_agent.config import AlertConfig, SiteConfig
from edge_agent.payloads import (
    PAYLOADS,
    AlertPayload,
    BandsPayload,
    CalibrationPayload,
    EventPayload,
    HealthPayload,
    InfoPayload,
    LevelPayload,
    MicrophoneInfo,
    ModelInfo,
    ModelRef,
    Payload,
    RuleInfo,
    SharePayload,
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

T = TypeVar("T")

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


class _RuleState(Struct, frozen=True, kw_only=True):
    on: bool = False
    since_ns: int | None = None
    id: str | None = None
    microphone: str | None = None


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
        self._open: dict[str, set[str]] = {}
        self._states = {rule: _RuleState() for rule in rules}

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
                return [self._alert(record, stamp), *self._state_change(record, stamp)]
            case Health():
                return [self._health(record, stamp)]
        assert_never(record)

    def states(self, stamp: Stamp) -> list[Message]:
        """All rules' states as they are now; sent at each connection."""
        return [self._state(rule, stamp) for rule in self._states]

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
            up_ms=_up_ms(stamp.synced, stamp),
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
            up_ms=_up_ms(stamp.synced, stamp),
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
                microphone.name: _calibration(about.calibrations.get(microphone.name))
                for microphone in about.microphones
            },
            latitude=_given(self._site.latitude),
            longitude=_given(self._site.longitude),
            hardware=about.hardware,
            os=about.os,
            python=about.python,
            started=rfc3339(about.started_ns),
            release=_given(about.release),
        )
        return self._retained("info", payload)

    def _level(self, record: LevelReading, stamp: Stamp) -> Message:
        values = {name: _level(value) for name, value in record.values.items()}
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
            up_ms=_up_ms(synced, stamp),
            start=rfc3339(record.start_ns),
            period_s=record.period_s,
            heard_s=_rounded(record.heard_s, 3),
            complete=record.heard_s >= COMPLETE_SHARE * record.period_s,
            overload=record.overload,
            under_range=record.under_range,
            bandwidth_hz=(
                UNSET
                if record.bandwidth_hz >= PLAIN_BANDWIDTH_HZ
                else _rounded(record.bandwidth_hz, 1)
            ),
            calibration=_calibration(record.calibration),
            bands=_bands(record),
            shares=_shares(record),
            unlabelled=UNSET if record.shares is None else _rounded(record.shares.unlabelled, 2),
            background=UNSET if record.shares is None else _rounded(record.shares.background, 2),
            reasons=reasons or UNSET,
        )
        # The attribute of each indicator is its name in lower case.
        payload = msgspec.structs.replace(
            payload, **{name.lower(): value for name, value in values.items()}
        )
        return self._queued(record.id, "level", f"levels/{_period(record.period_s)}", payload)

    def _event(self, record: Event, stamp: Stamp) -> Message:
        levels = {name: _level(value) for name, value in record.levels.items()}
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
            up_ms=_up_ms(synced, stamp),
            n=record.n,
            phase=record.phase,
            label=record.label,
            start=rfc3339(record.start_ns),
            end=_time_or_none(record.end_ns),
            duration_s=_rounded(record.duration_s, 3),
            score=_rounded(record.score, 2),
            score_max=_rounded(record.score_max, 2),
            laeq=levels.get("LAeq", UNSET),
            laeq_dbfs=levels.get("LAeq_dbfs", UNSET),
            lafmax=levels.get("LAFmax", UNSET),
            lafmax_dbfs=levels.get("LAFmax_dbfs", UNSET),
            model=self._model,
            end_reason=record.end_reason,
        )
        return self._queued(f"{record.id}/{record.n}", "event", "events", payload)

    def _alert(self, record: Alert, stamp: Stamp) -> Message:
        levels = {name: _level(value) for name, value in record.levels.items()}
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
            up_ms=_up_ms(synced, stamp),
            n=record.n,
            phase=record.phase,
            rule=record.rule,
            severity=record.severity,
            kind=_rule_kind(record.indicator),
            start=rfc3339(record.start_ns),
            end=_time_or_none(record.end_ns),
            duration_s=_rounded(record.duration_s, 3),
            labels=record.labels,
            value=_rounded(record.value, digits) if math.isfinite(record.value) else None,
            limit=_rounded(record.limit, digits),
            indicator=_given(record.indicator),
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

    def _state_change(self, record: Alert, stamp: Stamp) -> list[Message]:
        still_open = self._open.setdefault(record.rule, set())
        before = self._states.get(record.rule, _RuleState()).on
        if record.phase == "end":
            still_open.discard(record.id)
        else:
            still_open.add(record.id)
        on = bool(still_open)
        # An end always says OFF: after a restart the broker may still hold the ON of a crash.
        if on == before and not (record.phase == "end" and not on):
            return []
        self._states[record.rule] = _RuleState(
            on=on, since_ns=stamp.utc_ns, id=record.id, microphone=record.microphone
        )
        return [self._state(record.rule, stamp)]

    def _state(self, rule: str, stamp: Stamp) -> Message:
        state = self._states[rule]
        payload = StatePayload(
            id=state.id,
            site=self._site.site,
            device=self._site.device,
            microphone=state.microphone,
            time=rfc3339(stamp.utc_ns),
            time_synced=stamp.synced,
            up_ms=_up_ms(stamp.synced, stamp),
            rule=rule,
            state="ON" if state.on else "OFF",
            since=_time_or_none(state.since_ns),
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
            last_block_s=_rounded_or_none(record.last_block_s, 3),
            last_inference_s=_rounded_or_none(record.last_inference_s, 3),
            last_ack_s=_rounded_or_none(record.last_ack_s, 3),
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


class _Line(Struct, frozen=True, kw_only=True):
    topic: str
    qos: int
    retain: bool
    payload: msgspec.Raw


def json_line(message: Message) -> str:
    """A message as `--json` prints it, without the line's end."""
    line = _Line(
        topic=message.topic,
        qos=message.qos,
        retain=message.retain,
        payload=msgspec.Raw(message.payload),
    )
    return msgspec.json.encode(line).decode()


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records by the instant they were made; at one instant in the order of the topic table."""
    return sorted(records, key=lambda record: (record.made_ns, _rank(record)))


def expiry_s(topic: str) -> int | None:
    """How long a broker keeps a message for a subscriber that is away; None for ever."""
    name = topic.rpartition("/levels/")[2]
    return {"1s": 3600, "1m": 86_400, "15m": 604_800, "1h": 604_800}.get(name)


def payload_type(topic: str) -> type[Payload]:
    """The type of what arrives on a topic of ours.

    Raises:
        ValueError: The topic is none of ours.
    """
    parts = topic.split("/")
    if parts[-1] in ("status", "info", "health"):
        return PAYLOADS[parts[-1]]
    if parts[-1] == "events":
        return EventPayload
    if "alerts" in parts[-3:-1]:
        return StatePayload if parts[-3] == "alerts" and parts[-1] == "state" else AlertPayload
    if "levels" in parts[-2:-1]:
        return LevelPayload
    raise ValueError(f"no topic of Earshot: {topic!r}")


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


def _shares(record: LevelReading) -> tuple[SharePayload, ...] | UnsetType:
    if record.shares is None:
        return UNSET
    calibrated = record.calibration is not None
    told = []
    for one in record.shares.sources:
        level, without = _level(one.level), _level(one.laeq_without)
        told.append(
            SharePayload(
                label=one.label,
                share=_rounded(one.share, 2),
                level=level if calibrated else UNSET,
                level_dbfs=UNSET if calibrated else level,
                min_share=_rounded(one.min_share, 2),
                max_share=_rounded(one.max_share, 2),
                laeq_without=without if calibrated else UNSET,
                laeq_without_dbfs=UNSET if calibrated else without,
                stationary=one.stationary,
            )
        )
    return tuple(told)


def _rule_kind(indicator: str | None) -> Literal["label", "level"]:
    return "label" if indicator is None else "level"


def _period(period_s: int) -> str:
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if period_s % unit_s == 0:
            return f"{period_s // unit_s}{letter}"
    return f"{period_s}s"


def _calibration(calibration: Calibration | None) -> CalibrationPayload:
    if calibration is None:
        return CalibrationPayload(offset_db=None, date=None, source="none")
    return CalibrationPayload(
        offset_db=_rounded(calibration.offset_db, 2),
        date=calibration.date,
        source=calibration.source,
    )


def _bands(record: LevelReading) -> BandsPayload | UnsetType:
    if record.bands is None:
        return UNSET
    levels = tuple(map(_level, record.bands.levels))
    if record.calibration is None:
        return BandsPayload(hz=record.bands.hz, lzeq_dbfs=levels)
    return BandsPayload(hz=record.bands.hz, lzeq=levels)


def _up_ms(synced: bool, stamp: Stamp) -> int | UnsetType:
    return UNSET if synced else stamp.up_ms


def rfc3339(utc_ns: int) -> str:
    """UTC to the millisecond, as every message has it."""
    # The nearest millisecond: a start that arithmetic left a nanosecond early keeps its name.
    milliseconds = (utc_ns + 500_000) // 1_000_000
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_or_none(utc_ns: int | None) -> str | None:
    return None if utc_ns is None else rfc3339(utc_ns)


def _level(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else _rounded(value, 1)


def _rounded(value: float, digits: int) -> float:
    # `+ 0.0` turns -0.0 into 0.0.
    return round(float(value), digits) + 0.0


def _rounded_or_none(value: float | None, digits: int) -> float | None:
    return None if value is None else _rounded(value, digits)


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value
