"""The vocabulary of the path: what one stage hands to the next.

Times are integer nanoseconds UTC (`_ns`), durations float seconds (`_s`), levels dB. `start_ns` is
the time of a record's sound, `made_ns` that of the last sample it needed; neither depends on how
blocks were cut. docs/mqtt.md says how each looks on the wire, and only `messages` knows that.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import Severity

Samples: TypeAlias = npt.NDArray[np.float32]
"""float32; for sound, full scale is 1.0."""

OVERLOAD = 0.999
"""At or beyond this fraction of full scale a converter is taken to have clipped."""

NewId: TypeAlias = Callable[[int], str]
"""The next id, for a thing that started at the given nanoseconds UTC."""

Phase: TypeAlias = Literal["start", "update", "end"]
EndReason: TypeAlias = Literal["quiet", "end_of_input", "gap", "max_duration", "stopped", "restart"]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of one microphone's sound."""

    microphone: str
    samples: Samples
    """(n,), one channel."""
    rate: int
    """Hz, one of those that the meter takes."""
    bandwidth_hz: float
    """What the sound really holds: half the rate of its origin."""
    first: int
    """Index of `samples[0]` in the stream, lost samples counted."""
    start_ns: int
    """Time of `samples[0]`."""
    synced: bool
    """The clock was synchronised when the block was stamped."""
    missed: int = 0
    """Samples lost just before this block."""
    overloads: npt.NDArray[np.int64] | None = None
    """Where in `samples` the source's own samples lay at an end of its scale, rising; None where
    `samples` are these samples, and tell by themselves."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What turns dBFS into dB SPL for one microphone."""

    offset_db: float
    """dB SPL of a full-scale sine."""
    date: str
    """UTC date of the calibration, YYYY-MM-DD."""
    source: Literal["calibrator", "laboratory", "datasheet"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What one label got of an energy; `alone` <= `part` <= `heard`."""

    part: int = 0
    """Of the energy."""
    alone: int = 0
    """The excess of seconds in which no other label was active."""
    heard: int = 0
    """All energy of the seconds in which it was active."""
    stationary: int = 0
    """Of `part`: background."""


class Energies(msgspec.Struct, frozen=True, kw_only=True):
    """Whose an energy was, as `energies` defines it; `total` is the sum of all parts."""

    total: int = 0
    background: int = 0
    unlabelled: int = 0
    sources: dict[str, Source] = {}
    """By label; only those that were active."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of time adds up to; integers, so that merging is exact in any order.

    Levels are relative to full scale whatever the calibration, and in hundredths of a decibel.
    """

    heard_us: int = 0
    """Microseconds that have a level; silent ones have none."""
    silent_us: int = 0
    """Heard, but all samples were equal."""
    energies: dict[str, int] = {}
    """By weighting; 10^18 is a full-scale sine for a microsecond."""
    highest: dict[str, int] = {}
    """LAFmax, LASmax, LCpeak."""
    lowest: dict[str, int] = {}
    """LAFmin."""
    fast: dict[int, int] = {}
    """Histogram of LAF sampled each 125 ms: count by tenths of a decibel."""
    bands: tuple[int, ...] = ()
    """Energies of the third octaves, from 20 Hz up; empty where they were not measured."""
    bands_us: int = 0
    """Microseconds that `bands` were measured in."""
    overload_s: int = 0
    """Seconds with an overload."""
    under_range_s: int = 0
    heard: Energies = Energies()
    """Whose the A-weighted energy was, of the seconds for which that is known."""


class Bands(msgspec.Struct, frozen=True, kw_only=True):
    """Third-octave levels, Z-weighted."""

    hz: tuple[float, ...]
    """Nominal midband frequencies."""
    levels: tuple[float | None, ...]
    """dB, on the scale of the reading's values; None for a band in which nothing was."""


class LevelReading(msgspec.Struct, frozen=True, kw_only=True):
    """A closed interval of the meter."""

    id: str
    """Empty until `Deciding` gives one."""
    microphone: str
    period_s: int
    start_ns: int
    made_ns: int
    values: dict[str, float | None]
    """By indicator, in dB; `LAeq_dbfs` instead of `LAeq` where nothing is calibrated."""
    reasons: dict[str, str]
    """A word for each value that is None, like `silent_input`."""
    heard_s: float
    bandwidth_hz: float
    overload: bool
    under_range: bool
    calibration: Calibration | None
    synced: bool
    bands: Bands | None = None
    shares: "Shares | None" = None
    """What LAeq is made of, for a minute and slower; None where nothing was attributed."""
    tally: Tally = Tally()
    """What slower periods are merged from; it stays on the device."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The classifier's answer for one patch."""

    microphone: str
    start_ns: int
    """Of the patch's first sample."""
    end_ns: int
    """Just after its last sample."""
    scores: Samples
    """(labels of the bundle,), 0 to 1."""
    synced: bool
    gap_before: bool
    """Sound was lost between this patch and the one before it."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A label was heard: its start, how it goes on, its end, under one id."""

    id: str
    n: int
    """0 for the start, then 1, 2, ..."""
    phase: Phase
    microphone: str
    label: str
    start_ns: int
    """Onset in the sound."""
    end_ns: int | None
    """None until the end."""
    made_ns: int
    synced: bool
    score: float
    score_max: float
    duration_s: float
    """So far; up to the last patch above the off threshold."""
    levels: dict[str, float | None]
    """Over the event so far, from closed readings; None before the first."""
    end_reason: EndReason | None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the configuration holds: its start, how it goes on, its end, under one id."""

    id: str
    n: int
    phase: Phase
    rule: str
    severity: Severity
    microphone: str
    start_ns: int
    end_ns: int | None
    made_ns: int
    synced: bool
    duration_s: float
    labels: tuple[str, ...]
    """Heard so far, of the rule's; empty for a level rule."""
    indicator: str | None
    """As published (`LAeq` or `LAeq_dbfs`); None for a label rule."""
    value: float
    """Best score, or the level."""
    limit: float
    """What the rule asked."""
    events: tuple[str, ...]
    """Their ids, at most 8."""
    levels: dict[str, float | None]
    end_reason: EndReason | None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an interval's LAeq energy arrived while a label was heard."""

    label: str
    share: float
    """0 to 1; where labels sounded together, split by their scores."""
    level: float | None
    """What this alone contributed, on the scale of the reading's values; None for a share of 0."""
    min_share: float
    """What rose above the background while no other label was heard."""
    max_share: float
    """All that arrived while it was heard, whoever made it."""
    laeq_without: float | None
    """LAeq without this share; None where nothing would be left."""
    stationary: bool
    """Part of the share is background that only this label can have made."""


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """What an interval's LAeq is made of; `sources`, `unlabelled` and `background` make 1."""

    background: float
    unlabelled: float
    """Above the background while no label was heard."""
    sources: tuple[Share, ...]
    """The largest first."""


class CaptureHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What one microphone's stream went through since the start."""

    microphone: str
    overflows: int
    gaps_s: float
    bad_samples: int
    restarts: int
    last_error: str | None = None
    """Why the device cannot be opened; None while it can."""


class OutboxHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What waits on the device, and what was dropped."""

    rows: int
    waiting: dict[str, int]
    """By kind: alert, event, level."""
    bytes: int
    oldest_s: float
    dropped: dict[str, int]
    """By kind: alert, event, level."""
    set_aside: int


class MqttHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the connection does."""

    version: str | None
    connects: int
    last_error: str | None
    window: int
    unheard: int


class SystemHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The machine; None is what it does not tell, sizes are in 10^6 bytes."""

    cpu_c: float | None
    throttled: bool | None
    """The processor is held back now: capped, throttled, or at its soft limit of temperature."""
    throttled_since_boot: bool | None
    undervoltage: bool | None
    undervoltage_since_boot: bool | None
    pss_mb: float | None
    """Of the agent's own process, read at most once a minute, as the next two."""
    capture_pss_mb: float | None
    """Of all capture processes together; None where there is none."""
    mem_available_mb: float | None
    disk_free_mb: float | None
    """Where the state is kept, for others than root."""
    disk_read_only: bool | None


class ClockHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Steps of the wall clock since the start; whether it is synchronised stands beside `time`."""

    steps: int
    last_step_s: float | None
    """Forward when positive; None before the first."""
    last_step_age_s: float | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's word about itself; liveness as ages, for a clock that steps must not fake it."""

    made_ns: int
    faults: tuple[str, ...]
    """`name` or `name:subject`, each named in docs/faults.md."""
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


class ReleaseState(msgspec.Struct, frozen=True, kw_only=True):
    """Which release of the fleet a device is on, and what became of the latest it was given."""

    number: int
    """The release that `state` is about; 0 for what the device was set up with by hand."""
    state: Literal["current", "staged", "refused", "trial", "reverting", "rolled_back", "undecided"]
    reason: str
    """Why it was refused or taken back; empty where there is nothing to say."""
    in_force: int
    """The release that the agent reads."""
    previous: int | None
    """The one before, which could be returned to."""
    since: str
    """RFC 3339, UTC, to the second: when the state began, by the device's clock."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What the clock said when a message was made."""

    utc_ns: int
    synced: bool
    up_ms: int


Kind: TypeAlias = Literal["alert", "event", "level", "health", "state"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to the broker."""

    id: str
    """The record's, with `/n` for events and alerts; the topic for what is only a state."""
    kind: Kind
    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool


Record: TypeAlias = LevelReading | Event | Alert | Health
