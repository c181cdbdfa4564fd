"""Every setting, with its default and its range; `firmware_configs/base.yaml` documents them.

One frozen struct per module that has settings. What spans two settings is checked in
`__post_init__`; what needs the model is checked where the pipeline is built.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from edge_agent import devicename, timezone

Name = Annotated[
    str,
    Meta(
        description="up to 63 of a-z, 0-9, - and _, beginning with a letter or digit",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)",
    ),
]
"""Site, device, rule, microphone: safe in a topic and in Home Assistant's ids."""
LabelId = Annotated[
    str, Meta(description="up to 64 of a-z, 0-9 and _", pattern=r"^[a-z0-9_]{1,64}$(?!\n)")
]
Root = Annotated[
    str,
    Meta(
        description="up to 100 of a-z, 0-9, - and _, with / between levels",
        pattern=r"^[a-z0-9_-]+(/[a-z0-9_-]+)*$(?!\n)",
        max_length=100,
    ),
]
Score = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Wait = Annotated[float, Meta(ge=0, le=86400)]
"""Seconds, at most a day: the agent remembers each second's level for the longest wait."""
Hour = Annotated[int, Meta(ge=0, le=23)]
Period = Literal["day", "evening", "night"]
Severity = Literal["info", "warning", "critical"]
Indicator = Literal["LAeq", "LCeq", "LZeq", "LAE", "LAFmax", "LAFmin", "LASmax", "LCpeak"]
SlowIndicator = Literal[Indicator, "L5", "L10", "L50", "L90", "L95"]


class SiteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the device stands; site and device name its topics."""

    site: Name = "default"
    device: Name = "local"
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    timezone: Annotated[str, Meta(min_length=1)] = "UTC"

    def __post_init__(self) -> None:
        """Refuse a zone that only a report, months later, would miss."""
        timezone.check(self.timezone)


class MicrophoneConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One channel of sound: of a sound card, of a recording, or of raw PCM on stdin."""

    kind: Literal["device", "file", "stdin"] = "device"
    device: Annotated[str, Meta(min_length=1)] = "default"
    channels: Annotated[int, Meta(ge=1, le=32)] = 1
    channel: Annotated[int, Meta(ge=1, le=32)] = 1
    rate: Annotated[int, Meta(ge=8000, le=192000)] = 48000
    path: Annotated[str, Meta(min_length=1)] | None = None
    noise_floor_dbfs: Annotated[float, Meta(ge=-200, le=0)] | None = None
    response: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse what only shows when two settings are seen together."""
        if self.channel > self.channels:
            raise ValueError(f"channel {self.channel} of {self.channels} channels")
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("`path` belongs to `kind: file`, and `kind: file` needs it")
        # Refuses what only looks like a stable name: it would be missing for ever.
        devicename.parsed(self.device)


class LevelsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the meter publishes each second, and each minute, quarter of an hour and hour."""

    indicators: Annotated[tuple[Indicator, ...], Meta(min_length=1)] = ("LAeq", "LAFmax")
    slow_indicators: tuple[SlowIndicator, ...] = get_args(SlowIndicator)
    third_octaves: bool = False


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which bundle recognises sounds."""

    path: Annotated[str, Meta(min_length=1)] = "models/street"


class LabelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A label's event rule; what is left out is taken from the bundle."""

    on: Score | None = None
    off: Score | None = None
    n: Annotated[int, Meta(ge=1, le=100)] | None = None
    m: Annotated[int, Meta(ge=1, le=100)] | None = None
    min_duration_s: Wait | None = None
    cooldown_s: Wait | None = None


class EventsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How scores become events."""

    max_duration_s: Annotated[float, Meta(gt=0, le=86400)] = 600.0
    labels: dict[LabelId, LabelConfig] = msgspec.field(default_factory=dict)


class AlertConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule: labels with a least score and duration, or an indicator above a limit for a time."""

    labels: Annotated[tuple[LabelId, ...], Meta(min_length=1)] | None = None
    min_score: Score | None = None
    min_duration_s: Wait | None = None
    indicator: Indicator | None = None
    above_db: float | None = None
    above_dbfs: float | None = None
    for_s: Annotated[int, Meta(ge=1, le=86400)] | None = None
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        """Refuse a rule that is neither of the two kinds, or both."""
        of_label = (self.min_score, self.min_duration_s)
        of_level = (self.above_db, self.above_dbfs, self.for_s)
        if (self.labels is None) == (self.indicator is None):
            raise ValueError("a rule has either `labels` or `indicator`")
        if self.labels is not None and any(value is not None for value in of_level):
            raise ValueError("a rule of `labels` has no `above_db`, `above_dbfs` or `for_s`")
        if self.indicator is not None:
            if any(value is not None for value in of_label):
                raise ValueError("a rule of an `indicator` has no `min_score` or `min_duration_s`")
            if (self.above_db is None) == (self.above_dbfs is None):
                raise ValueError("a rule of an `indicator` has either `above_db` or `above_dbfs`")
            if self.for_s is None:
                raise ValueError("a rule of an `indicator` needs `for_s`")


CREDENTIAL_PREFIX = "credential:"
"""Before a name in place of a file's path: one of systemd's credentials of the service."""


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """TLS 1.2 and up; the broker's name is always checked."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        """A certificate is of no use without its key."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together")


class MqttConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The broker and how to talk to it."""

    host: Annotated[str, Meta(min_length=1)] = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    version: Literal["auto", "5", "3.1.1"] = "auto"
    root: Root = "earshot"
    client_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    username: str | None = None
    password_file: str | None = None
    tls: TlsConfig | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    ack_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 20.0
    window: Annotated[int, Meta(ge=1, le=1000)] = 20
    drain_per_s: Annotated[float, Meta(gt=0, le=1000)] = 20.0


class OutboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much may wait on the device while the broker is away."""

    max_mb: Annotated[float, Meta(ge=1, le=10000)] = 64.0


class LdenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the periods begin, local time, and what is added to their levels.

    Member States may move the hours (Annex I, 1); each period must last, and night runs over
    midnight or begins there.
    """

    day: Hour = 7
    evening: Hour = 19
    night: Hour = 23
    penalties_db: tuple[float, float, float] = (0.0, 5.0, 10.0)
    """Of day, evening and night."""
    usable_share: Annotated[float, Meta(gt=0, le=1)] = 0.75
    """A period of which less was heard gives no Lden."""

    def __post_init__(self) -> None:
        """Refuse hours that are out of order."""
        if not self.day < self.evening < (self.night or 24):
            raise ValueError(
                f"day {self.day}, evening {self.evening}, night {self.night}: each must begin "
                "after the one before it"
            )

    def nominal_h(self, period: Period) -> int:
        """Hours of a period on a day of 24."""
        night = self.night or 24
        return {
            "day": self.evening - self.day,
            "evening": night - self.evening,
            "night": 24 - night + self.day,
        }[period]

    def period_of(self, hour: int) -> Period:
        """The period that an hour of the wall clock, 0 to 23, belongs to."""
        if self.day <= hour < self.evening:
            return "day"
        return "evening" if self.evening <= hour < (self.night or 24) else "night"


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much of what was measured and heard is kept on the device."""

    seconds_days: Annotated[int, Meta(ge=0, le=366)] = 7
    minutes_days: Annotated[int, Meta(ge=0, le=3660)] = 400
    max_mb: Annotated[float, Meta(ge=1, le=100000)] = 256.0


def _one_microphone() -> dict[str, MicrophoneConfig]:
    return {"mic": MicrophoneConfig()}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration of a device."""

    site: SiteConfig = SiteConfig()
    microphones: dict[Name, MicrophoneConfig] = msgspec.field(default_factory=_one_microphone)
    levels: LevelsConfig = LevelsConfig()
    model: ModelConfig = ModelConfig()
    events: EventsConfig = EventsConfig()
    alerts: dict[Name, AlertConfig] = msgspec.field(default_factory=dict)
    mqtt: MqttConfig = MqttConfig()
    outbox: OutboxConfig = OutboxConfig()
    store: StoreConfig = StoreConfig()
    lden: LdenConfig = LdenConfig()
    state_dir: Annotated[str, Meta(min_length=1)] = "/var/lib/earshot"

    def __post_init__(self) -> None:
        """Refuse what only shows when several sections are seen together."""
        if not self.microphones:
            raise ValueError("microphones: at least one microphone is needed")
        stdin = [name for name, mic in self.microphones.items() if mic.kind == "stdin"]
        if len(stdin) > 1:
            raise ValueError(
                f"microphones: only one microphone can read stdin, not {', '.join(stdin)}"
            )
        published = ", ".join(self.levels.indicators)
        for name, microphone in self.microphones.items():
            if microphone.noise_floor_dbfs is not None and "LAeq" not in self.levels.indicators:
                raise ValueError(
                    f"microphones.{name}.noise_floor_dbfs needs the indicator LAeq, and "
                    f"levels.indicators holds {published}"
                )
        for name, rule in self.alerts.items():
            if rule.indicator is not None and rule.indicator not in self.levels.indicators:
                raise ValueError(
                    f"alerts.{name} needs the indicator {rule.indicator}, and levels.indicators "
                    f"holds {published}"
                )


class FrontendSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model's transform from samples to features; part of its bundle, not of the device's file.

    `algorithm` grows with any change of results beyond the tolerance of the `exact` mode.
    Frequencies in Hz; `win_length`, `n_fft`, `hop` in samples; `patch`, `patch_hop` in frames.
    `mean` and `std` hold one value (log-mel) or one per coefficient.
    """

    algorithm: Literal[1] = 1
    kind: Literal["logmel", "mfcc", "mfcc_stats", "mfcc_mean"] = "logmel"
    rate: Annotated[int, Meta(ge=8000, le=48000)] = 16000
    n_fft: Annotated[int, Meta(ge=64, le=8192)] = 1024
    win_length: Annotated[int, Meta(ge=64, le=8192)] = 1024
    hop: Annotated[int, Meta(ge=16, le=8192)] = 320
    n_mels: Annotated[int, Meta(ge=1, le=512)] = 64
    fmin: NotNegative = 50.0
    fmax: Positive = 7500.0
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    power: Literal[2] = 2
    floor: Literal["offset", "amin"] = "offset"
    floor_value: Positive = 1e-8
    n_mfcc: Annotated[int, Meta(ge=1, le=512)] = 40
    lifter: Annotated[int, Meta(ge=0, le=1000)] = 0
    patch: Annotated[int, Meta(ge=1, le=1000)] = 48
    patch_hop: Annotated[int, Meta(ge=1, le=1000)] = 12
    mean: Annotated[tuple[float, ...], Meta(min_length=1)] = (0.0,)
    std: Annotated[tuple[Positive, ...], Meta(min_length=1)] = (1.0,)
    clip: Positive | None = 4.0
    resampler: Literal["soxr"] = "soxr"
    quality: Literal["HQ"] = "HQ"
