"""What the agent knows about itself, from facts: ages, counts, memory, disk, and named faults.

A fault is a state that lasts while the agent runs on. docs/faults.md says what each means and what
to do; the table here and that page are held equal by a test.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.records import CaptureHealth, Health, MqttHealth, OutboxHealth

PERIOD_S = 60.0
SILENT_S = 3.0
"""A microphone that gave no block for so long is faulty."""
LOW_DISK_MB = 50.0

FAULTS = (
    "alert_uncalibrated",
    "clock_unsynced",
    "disk_full",
    "disk_low",
    "mqtt_away",
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
)

MICROPHONE_FAULTS = ("no_blocks",)
"""Those that name a microphone which gives no sound."""
_WORST_FIRST = (
    *MICROPHONE_FAULTS,
    "outbox_unwritable",
    "outbox_dropping",
    "disk_full",
    "mqtt_refused",
)
"""What is lost now, then what will be; all others follow."""

_SMAPS = Path("/proc/self/smaps_rollup")
_MEGABYTE = 1_000_000


class Monitor:
    """Keeps what `health` tells.

    Args:
        clock: Its monotonic time makes the ages.
        microphones: Their names; each is expected to give blocks from now on.
        state_dir: Whose disk is watched.
        model_sha256: Of the model in use.
        config_sha256: Of the configuration's file.
    """

    def __init__(
        self,
        clock: Clock,
        microphones: Iterable[str],
        state_dir: Path | None,
        model_sha256: str,
        config_sha256: str,
    ) -> None:
        self._clock = clock
        self._state_dir = state_dir
        self._model_sha256 = model_sha256
        self._config_sha256 = config_sha256
        self._blocks_ns = dict.fromkeys(microphones, clock.monotonic_ns())
        self._block_ns: int | None = None
        self._inference_ns: int | None = None
        self._ack_ns: int | None = None
        self._told_ns: int | None = None
        self._told_faults: tuple[str, ...] = ()

    def block(self, microphone: str) -> None:
        """A block came in."""
        self._block_ns = self._blocks_ns[microphone] = self._clock.monotonic_ns()

    def ended(self, microphone: str) -> None:
        """A recording is over; no more blocks are expected."""
        self._blocks_ns.pop(microphone, None)

    def inference(self) -> None:
        """A patch was scored."""
        self._inference_ns = self._clock.monotonic_ns()

    def acknowledged(self) -> None:
        """The broker took a row."""
        self._ack_ns = self._clock.monotonic_ns()

    def faults(self, others: Iterable[str]) -> tuple[str, ...]:
        """All faults that hold now, sorted.

        Args:
            others: Those that other modules know.
        """
        now_ns = self._clock.monotonic_ns()
        found = set(others)
        found |= {
            f"no_blocks:{name}"
            for name, last_ns in self._blocks_ns.items()
            if now_ns - last_ns > SILENT_S * 1e9
        }
        if not self._clock.synced():
            found.add("clock_unsynced")
        free_mb = self._disk_free_mb()
        if free_mb is not None and free_mb < LOW_DISK_MB:
            found.add("disk_low")
        return tuple(sorted(found))

    def due(self, faults: tuple[str, ...]) -> bool:
        """Whether it is time for a word: each minute, and when a fault comes or goes."""
        now_ns = self._clock.monotonic_ns()
        if self._told_ns is None or faults != self._told_faults:
            return True
        return now_ns - self._told_ns >= PERIOD_S * 1e9

    def report(
        self,
        faults: tuple[str, ...],
        capture: Sequence[CaptureHealth],
        outbox: OutboxHealth,
        mqtt: MqttHealth,
    ) -> Health:
        """The record for now."""
        self._told_ns, self._told_faults = self._clock.monotonic_ns(), faults
        return Health(
            made_ns=self._clock.utc_ns(),
            faults=faults,
            last_block_s=self._age_s(self._block_ns),
            last_inference_s=self._age_s(self._inference_ns),
            last_ack_s=self._age_s(self._ack_ns),
            capture=tuple(capture),
            outbox=outbox,
            mqtt=mqtt,
            pss_mb=_pss_mb(),
            disk_free_mb=self._disk_free_mb(),
            model_sha256=self._model_sha256,
            config_sha256=self._config_sha256,
        )

    def _age_s(self, since_ns: int | None) -> float | None:
        return None if since_ns is None else (self._clock.monotonic_ns() - since_ns) / 1e9

    def _disk_free_mb(self) -> float | None:
        if self._state_dir is None:
            return None
        try:
            return shutil.disk_usage(self._state_dir).free / _MEGABYTE
        except OSError:
            return None


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


def hardware() -> str:
    """The board's name where the kernel knows one, else the machine's type."""
    board = Path("/proc/device-tree/model")
    if board.exists():
        return board.read_text(encoding="utf-8").rstrip("\0\n")
    return os.uname().machine


def _pss_mb() -> float | None:
    """This process' share of memory, in 10^6 bytes."""
    try:
        lines = _SMAPS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)
    return None if kilobytes is None else kilobytes * 1024 / _MEGABYTE
