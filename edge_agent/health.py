"""What the agent knows about itself, from facts: ages, counts, its machine, and named faults.

A fault is a state that lasts while the agent runs on. docs/faults.md says what each means and what
to do; the table here and that page are held equal by a test.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config import MicrophoneConfig
from edge_agent.heartbeat import Beat
from edge_agent.input_faults import InputFaults
from edge_agent.machine import ROOT, Machine
from edge_agent.records import (
    Block,
    CaptureHealth,
    ClockHealth,
    Health,
    LevelReading,
    MqttHealth,
    OutboxHealth,
    Record,
)

PERIOD_S = 60.0
SILENT_S = 3.0
"""A microphone that gave no block for so long is faulty."""
STEP_S = 0.5
"""A wall clock that moved by so much more or less than time passed was set; slewing is slower."""

FAULTS = (
    "alert_uncalibrated",
    "calibration_unfit",
    "calibration_unreadable",
    "clipped",
    "clock_unsynced",
    "dc",
    "dead",
    "disk_full",
    "disk_low",
    "hot",
    "mic_missing",
    "mqtt_away",
    "mqtt_certificate_ends",
    "mqtt_denied",
    "mqtt_moved",
    "mqtt_no_qos",
    "mqtt_no_retain",
    "mqtt_refused",
    "mqtt_twin",
    "no_blocks",
    "outbox_dropping",
    "outbox_set_aside",
    "outbox_unwritable",
    "store_set_aside",
    "store_unwritable",
    "stuck",
    "throttled",
    "too_quiet",
    "undervoltage",
)

MICROPHONE_FAULTS = ("mic_missing", "no_blocks")
"""Those that name a microphone which gives no sound."""
_WORST_FIRST = (
    *MICROPHONE_FAULTS,
    "dead",
    "stuck",
    "outbox_unwritable",
    "outbox_dropping",
    "disk_full",
    "mqtt_refused",
)
"""What is lost now, then what will be; all others follow."""

_NS = 1_000_000_000


class Monitor:
    """Keeps what `health` tells.

    Args:
        clock: Its monotonic time makes the ages.
        microphones: By name; each is expected to give blocks from now on.
        state_dir: Whose disk is watched.
        model_sha256: Of the model in use.
        config_sha256: Of the configuration's file.
        root: Where the machine's `sys` and `proc` are.
    """

    def __init__(
        self,
        clock: Clock,
        microphones: Mapping[str, MicrophoneConfig],
        state_dir: Path | None,
        model_sha256: str,
        config_sha256: str,
        root: Path = ROOT,
    ) -> None:
        self._clock = clock
        self._machine = Machine(state_dir, root)
        self._steps = _Steps(clock)
        self._model_sha256 = model_sha256
        self._config_sha256 = config_sha256
        self._blocks_ns = dict.fromkeys(microphones, clock.monotonic_ns())
        self._inputs = {
            name: InputFaults(settings.noise_floor_dbfs) for name, settings in microphones.items()
        }
        self._unjudged: list[Block] = []
        self._started_ns = clock.monotonic_ns()
        self._block_ns: int | None = None
        self._inference_ns: int | None = None
        self._ack_ns: int | None = None
        self._told_ns: int | None = None
        self._told_faults: tuple[str, ...] = ()

    def block(self, block: Block, records: Iterable[Record]) -> None:
        """A block came in, and led to these records."""
        self._block_ns = self._blocks_ns[block.microphone] = self._clock.monotonic_ns()
        self._unjudged.append(block)
        for record in records:
            if isinstance(record, LevelReading) and record.period_s == 1:
                self._inputs[block.microphone].reading(record)

    def ended(self, microphone: str) -> None:
        """A recording is over; no more blocks are expected."""
        self._judge()
        self._blocks_ns.pop(microphone, None)
        self._inputs.pop(microphone, None)

    def inference(self) -> None:
        """A patch was scored."""
        self._inference_ns = self._clock.monotonic_ns()

    def acknowledged(self) -> None:
        """The broker took a row."""
        self._ack_ns = self._clock.monotonic_ns()

    def faults(self, others: Iterable[str]) -> tuple[str, ...]:
        """All faults that hold now, sorted; to be asked about once a second.

        Args:
            others: Those that other modules know.
        """
        now_ns = self._clock.monotonic_ns()
        found = set(others)
        found |= {
            f"no_blocks:{name}"
            for name, last_ns in self._blocks_ns.items()
            # A device that is not there gives no blocks; one name is enough for that.
            if now_ns - last_ns > SILENT_S * _NS and f"mic_missing:{name}" not in found
        }
        self._judge()
        for name, faults in self._inputs.items():
            found |= {f"{fault}:{name}" for fault in faults.standing}
        if not self._clock.synced():
            found.add("clock_unsynced")
        self._steps.look()
        return tuple(sorted(found | self._machine.faults(now_ns)))

    def due(self, faults: tuple[str, ...]) -> bool:
        """Whether it is time for a word: each minute, and when a fault comes or goes."""
        now_ns = self._clock.monotonic_ns()
        if self._told_ns is None or faults != self._told_faults:
            return True
        return now_ns - self._told_ns >= PERIOD_S * _NS

    def report(
        self,
        faults: tuple[str, ...],
        capture: Sequence[CaptureHealth],
        outbox: OutboxHealth,
        mqtt: MqttHealth,
        capture_pids: Iterable[int] = (),
    ) -> Health:
        """The record for now."""
        now_ns = self._clock.monotonic_ns()
        self._told_ns, self._told_faults = now_ns, faults
        return Health(
            made_ns=self._clock.utc_ns(),
            faults=faults,
            last_block_s=self._age_s(self._block_ns),
            last_inference_s=self._age_s(self._inference_ns),
            last_ack_s=self._age_s(self._ack_ns),
            capture=tuple(capture),
            outbox=outbox,
            mqtt=mqtt,
            clock=self._steps.health(),
            system=self._machine.health(now_ns, capture_pids),
            model_sha256=self._model_sha256,
            config_sha256=self._config_sha256,
        )

    def beat(self, faults: tuple[str, ...], *, ready: bool) -> Beat:
        """The same in short, for whoever watches on the device."""
        return Beat(
            at_ns=self._clock.monotonic_ns(),
            started_ns=self._started_ns,
            ready=ready,
            block_ns=self._block_ns,
            inference_ns=self._inference_ns,
            ack_ns=self._ack_ns,
            faults=faults,
            config_sha256=self._config_sha256,
        )

    def _judge(self) -> None:
        """Nobody asks more often than once a second, and several at a time cost less."""
        for block in self._unjudged:
            self._inputs[block.microphone].block(block)
        self._unjudged.clear()

    def _age_s(self, since_ns: int | None) -> float | None:
        return None if since_ns is None else (self._clock.monotonic_ns() - since_ns) / _NS


class _Steps:
    """Counts how often the wall clock was set, by its distance from the clock that never steps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_ns = self._distance()
        self._steps = 0
        self._last_s: float | None = None
        self._last_ns = 0

    def look(self) -> None:
        """Compare with the last look, a second ago: over days, slewing may add up to a step."""
        distance_ns = self._distance()
        moved_s = (distance_ns - self._distance_ns) / _NS
        self._distance_ns = distance_ns
        if abs(moved_s) > STEP_S:
            self._steps += 1
            self._last_s, self._last_ns = moved_s, self._clock.monotonic_ns()

    def health(self) -> ClockHealth:
        """What was seen so far."""
        if self._last_s is None:
            return ClockHealth(steps=0, last_step_s=None, last_step_age_s=None)
        return ClockHealth(
            steps=self._steps,
            last_step_s=round(self._last_s, 1),
            last_step_age_s=round((self._clock.monotonic_ns() - self._last_ns) / _NS, 1),
        )

    def _distance(self) -> int:
        return self._clock.utc_ns() - self._clock.monotonic_ns()


def worst_first(faults: Iterable[str]) -> list[str]:
    """The same faults, the one that loses most in front."""

    def rank(fault: str) -> int:
        name = _name(fault)
        return _WORST_FIRST.index(name) if name in _WORST_FIRST else len(_WORST_FIRST)

    return sorted(sorted(faults), key=rank)


def names_microphone(faults: Iterable[str]) -> bool:
    """Whether one of them is a microphone that gives no sound."""
    return any(_name(fault) in MICROPHONE_FAULTS for fault in faults)


def _name(fault: str) -> str:
    return fault.partition(":")[0]
