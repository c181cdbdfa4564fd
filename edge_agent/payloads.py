"""What stands in each message: one typed struct per kind, from which the schemas are written.

The fields that all share come first, a kind's own follow, and `replayed` stands last, because the
outbox flips it in the bytes of a waiting row. A field that is left out where it would say nothing
is `UNSET` by default. docs/mqtt.md is the published form.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from edge_agent.config import Severity
from edge_agent.records import (
    CaptureHealth,
    ClockHealth,
    EndReason,
    MqttHealth,
    OutboxHealth,
    Phase,
    ReleaseState,
    SystemHealth,
)

Time: TypeAlias = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
"""RFC 3339, UTC, milliseconds."""
Id: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
Boot: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
ShortHash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Level: TypeAlias = float | UnsetType | None
"""dB with one decimal; null when it does not exist, left out when it was not asked for."""


class CalibrationPayload(Struct, frozen=True, kw_only=True):
    """What turned dBFS into dB SPL; with source `none`, levels are in dBFS."""

    offset_db: float | None
    date: str | None
    source: Literal["calibrator", "laboratory", "datasheet", "none"]
    dbfs_ref: Literal["fs_sine_rms"] = "fs_sine_rms"


class ModelRef(Struct, frozen=True, kw_only=True):
    """The model that heard it: name and the first 8 hex digits of its hash."""

    name: str
    sha256: ShortHash


class _Queued(Struct, frozen=True, kw_only=True):
    v: Literal[1] = 1
    id: Id
    boot: Boot
    seq: Annotated[int, Meta(ge=1)]
    site: str
    device: str
    microphone: str
    time: Time
    time_synced: bool
    up_ms: int | UnsetType = UNSET


class BandsPayload(Struct, frozen=True, kw_only=True):
    """Third octaves: nominal midband frequencies, and a level for each."""

    hz: tuple[float, ...]
    lzeq: tuple[float | None, ...] | UnsetType = field(default=UNSET, name="LZeq")
    lzeq_dbfs: tuple[float | None, ...] | UnsetType = field(default=UNSET, name="LZeq_dbfs")


class SharePayload(Struct, frozen=True, kw_only=True):
    """How much of the LAeq energy arrived while a label was heard; docs/attribution.md."""

    label: str
    share: Share
    level: Level = UNSET
    level_dbfs: Level = UNSET
    min_share: Share
    max_share: Share
    laeq_without: Level = UNSET
    laeq_without_dbfs: Level = UNSET
    stationary: bool


class LevelPayload(_Queued, frozen=True, kw_only=True):
    """`levels/*`: a closed interval of the meter."""

    start: Time
    period_s: Annotated[int, Meta(ge=1)]
    heard_s: Annotated[float, Meta(ge=0)]
    complete: bool
    overload: bool
    under_range: bool
    bandwidth_hz: float | UnsetType = UNSET
    calibration: CalibrationPayload
    laeq: Level = field(default=UNSET, name="LAeq")
    laeq_dbfs: Level = field(default=UNSET, name="LAeq_dbfs")
    lceq: Level = field(default=UNSET, name="LCeq")
    lceq_dbfs: Level = field(default=UNSET, name="LCeq_dbfs")
    lzeq: Level = field(default=UNSET, name="LZeq")
    lzeq_dbfs: Level = field(default=UNSET, name="LZeq_dbfs")
    lae: Level = field(default=UNSET, name="LAE")
    lae_dbfs: Level = field(default=UNSET, name="LAE_dbfs")
    lafmax: Level = field(default=UNSET, name="LAFmax")
    lafmax_dbfs: Level = field(default=UNSET, name="LAFmax_dbfs")
    lafmin: Level = field(default=UNSET, name="LAFmin")
    lafmin_dbfs: Level = field(default=UNSET, name="LAFmin_dbfs")
    lasmax: Level = field(default=UNSET, name="LASmax")
    lasmax_dbfs: Level = field(default=UNSET, name="LASmax_dbfs")
    lcpeak: Level = field(default=UNSET, name="LCpeak")
    lcpeak_dbfs: Level = field(default=UNSET, name="LCpeak_dbfs")
    l5: Level = field(default=UNSET, name="L5")
    l5_dbfs: Level = field(default=UNSET, name="L5_dbfs")
    l10: Level = field(default=UNSET, name="L10")
    l10_dbfs: Level = field(default=UNSET, name="L10_dbfs")
    l50: Level = field(default=UNSET, name="L50")
    l50_dbfs: Level = field(default=UNSET, name="L50_dbfs")
    l90: Level = field(default=UNSET, name="L90")
    l90_dbfs: Level = field(default=UNSET, name="L90_dbfs")
    l95: Level = field(default=UNSET, name="L95")
    l95_dbfs: Level = field(default=UNSET, name="L95_dbfs")
    bands: BandsPayload | UnsetType = UNSET
    shares: tuple[SharePayload, ...] | UnsetType = UNSET
    unlabelled: Share | UnsetType = UNSET
    background: Share | UnsetType = UNSET
    reasons: dict[str, str] | UnsetType = UNSET
    replayed: bool = False


class EventPayload(_Queued, frozen=True, kw_only=True):
    """`events`: a label was heard."""

    n: Count
    phase: Phase
    label: str
    start: Time
    end: Time | None
    duration_s: Annotated[float, Meta(ge=0)]
    score: Share
    score_max: Share
    laeq: Level = field(default=UNSET, name="LAeq")
    laeq_dbfs: Level = field(default=UNSET, name="LAeq_dbfs")
    lafmax: Level = field(default=UNSET, name="LAFmax")
    lafmax_dbfs: Level = field(default=UNSET, name="LAFmax_dbfs")
    model: ModelRef
    end_reason: EndReason | None
    replayed: bool = False


class AlertPayload(_Queued, frozen=True, kw_only=True):
    """`alerts/{rule}`: a rule holds."""

    n: Count
    phase: Phase
    rule: str
    severity: Severity
    kind: Literal["label", "level"]
    start: Time
    end: Time | None
    duration_s: Annotated[float, Meta(ge=0)]
    labels: tuple[str, ...]
    value: float | None
    limit: float
    indicator: str | UnsetType = UNSET
    events: Annotated[tuple[Id, ...], Meta(max_length=8)]
    laeq: Level = field(default=UNSET, name="LAeq")
    laeq_dbfs: Level = field(default=UNSET, name="LAeq_dbfs")
    lafmax: Level = field(default=UNSET, name="LAFmax")
    lafmax_dbfs: Level = field(default=UNSET, name="LAFmax_dbfs")
    end_reason: EndReason | None
    replayed: bool = False


class StatePayload(Struct, frozen=True, kw_only=True):
    """`alerts/{rule}/state`, retained: whether an alert of the rule is open now."""

    v: Literal[1] = 1
    id: Id | None
    site: str
    device: str
    microphone: str | None
    time: Time
    time_synced: bool
    up_ms: int | UnsetType = UNSET
    rule: str
    state: Literal["ON", "OFF"]
    since: Time | None
    replayed: bool = False


class StatusPayload(Struct, frozen=True, kw_only=True):
    """`status`, retained; as last will it has no time, for it was written at the connection."""

    v: Literal[1] = 1
    site: str
    device: str
    state: Literal["online", "offline"]
    reason: Literal["stopped", "lost"] | None
    boot: Boot
    time: Time | UnsetType = UNSET
    time_synced: bool | UnsetType = UNSET
    up_ms: int | UnsetType = UNSET


class ModelInfo(Struct, frozen=True, kw_only=True):
    """The model in full."""

    name: str
    sha256: str
    labels: tuple[str, ...]


class RuleInfo(Struct, frozen=True, kw_only=True):
    """An alert rule, as far as a receiver needs it."""

    name: str
    kind: Literal["label", "level"]
    severity: Severity


class MicrophoneInfo(Struct, frozen=True, kw_only=True):
    """A microphone of the configuration; `rate` in Hz."""

    name: str
    device: str
    rate: int
    response: ShortHash | UnsetType = UNSET
    """Of the file by which its levels are corrected; left out where there is none."""


class InfoPayload(Struct, frozen=True, kw_only=True):
    """`info`, retained: what runs here, and how it is set up."""

    v: Literal[1] = 1
    site: str
    device: str
    boot: Boot
    time: Time
    time_synced: bool
    up_ms: int | UnsetType = UNSET
    agent: str
    config_sha256: str
    model: ModelInfo
    rules: tuple[RuleInfo, ...]
    microphones: tuple[MicrophoneInfo, ...]
    indicators: tuple[str, ...]
    """Of each second."""
    slow_indicators: tuple[str, ...]
    """Of each slower period."""
    periods_s: tuple[int, ...]
    """Lengths of the intervals that are reported, s."""
    third_octaves: bool
    """Whether readings carry `bands`."""
    calibration: dict[str, CalibrationPayload]
    latitude: float | UnsetType = UNSET
    longitude: float | UnsetType = UNSET
    hardware: str
    os: str
    python: str
    started: Time
    release: ReleaseState | UnsetType = UNSET
    """Left out on a device that takes no updates."""


class HealthPayload(Struct, frozen=True, kw_only=True):
    """`health`, retained: the heartbeat. Ages, unlike times, do not lie when a clock steps."""

    v: Literal[1] = 1
    site: str
    device: str
    boot: Boot
    time: Time
    time_synced: bool
    up_ms: int
    faults: tuple[str, ...]
    last_block_s: float | None
    last_inference_s: float | None
    last_ack_s: float | None
    capture: tuple[CaptureHealth, ...]
    outbox: OutboxHealth
    mqtt: MqttHealth
    clock: ClockHealth
    system: SystemHealth
    model_sha256: str
    config_sha256: str
    agent: str


Payload: TypeAlias = (
    LevelPayload
    | EventPayload
    | AlertPayload
    | StatePayload
    | StatusPayload
    | InfoPayload
    | HealthPayload
)

PAYLOADS: dict[str, type[Payload]] = {
    "level": LevelPayload,
    "event": EventPayload,
    "alert": AlertPayload,
    "alert_state": StatePayload,
    "status": StatusPayload,
    "info": InfoPayload,
    "health": HealthPayload,
}
"""By the name of the schema; docs/schema holds a file for each."""
