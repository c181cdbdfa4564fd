"""The machine that the agent runs on: heat, power, memory, disk, and the faults that they make.

Everything is read from files as Linux and the Pi's firmware lay them out. What is not there is
None and never 0: a board without a thermometer is not cold. Heat and power are looked at each
second, for an undervoltage is short; memory once a minute, for the kernel walks the page tables.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from edge_agent.records import SystemHealth

ROOT = Path("/")
"""Where `sys` and `proc` are; tests bring a tree of their own."""
HOT_C = 80.0
"""Here a Pi's firmware begins to slow the processor down."""
COOL_C = 75.0
LOW_DISK_MB = 50.0
ENOUGH_DISK_MB = 60.0
HOLD_S = 60.0
"""What flickers is over when it was not seen for so long; each change makes a message."""
MEMORY_EVERY_S = 60.0

_NS = 1_000_000_000
_MEGABYTE = 1_000_000
# Bits of the firmware's word: 0 undervoltage, 1 frequency capped, 2 throttled, 3 soft limit of
# temperature; 16 to 19 the same, kept.
_UNDERVOLTAGE = 0b0001
_THROTTLED = 0b1110
_KEPT_SHIFT = 16


class Machine:
    """What is known of the machine; asked for faults each second, for health now and then.

    Args:
        state_dir: Whose disk is watched; None: none.
        root: Where `sys` and `proc` are.
    """

    def __init__(self, state_dir: Path | None, root: Path = ROOT) -> None:
        self._state_dir = state_dir
        self._proc = root / "proc"
        self._thermometer = _thermometer(root)
        self._power = _Power(root)
        self._cpu_c: float | None = None
        self._free_mb: float | None = None
        self._read_only: bool | None = None
        self._hot = False
        self._disk_low = False
        self._last_seen_ns: dict[str, int] = {}
        self._memory_ns: int | None = None
        self._pss_mb: float | None = None
        self._capture_pss_mb: float | None = None
        self._available_mb: float | None = None

    def faults(self, now_ns: int) -> set[str]:
        """Look at what changes quickly, and name what is wrong; `now_ns` is monotonic."""
        self._cpu_c = _celsius(self._thermometer)
        self._power.look()
        self._free_mb, self._read_only = _disk(self._state_dir)
        self._hot = self._cpu_c is not None and self._cpu_c >= (COOL_C if self._hot else HOT_C)
        enough_mb = ENOUGH_DISK_MB if self._disk_low else LOW_DISK_MB
        self._disk_low = self._free_mb is not None and self._free_mb < enough_mb
        flickering = {"undervoltage": self._power.undervoltage, "throttled": self._power.throttled}
        for fault, present in flickering.items():
            if present:
                self._last_seen_ns[fault] = now_ns
        held = {fault for fault, seen in self._last_seen_ns.items() if now_ns - seen < HOLD_S * _NS}
        lasting = {"hot": self._hot, "disk_low": self._disk_low}
        return held | {fault for fault, present in lasting.items() if present}

    def health(self, now_ns: int, capture_pids: Iterable[int]) -> SystemHealth:
        """What `faults` saw last, with memory of the last minute.

        Args:
            now_ns: Monotonic.
            capture_pids: The capture processes.
        """
        if self._memory_ns is None or now_ns - self._memory_ns >= MEMORY_EVERY_S * _NS:
            self._memory_ns = now_ns
            self._read_memory(list(capture_pids))
        power = self._power
        return SystemHealth(
            cpu_c=self._cpu_c,
            throttled=power.throttled,
            throttled_since_boot=power.throttled_since_boot,
            undervoltage=power.undervoltage,
            undervoltage_since_boot=power.undervoltage_since_boot,
            pss_mb=self._pss_mb,
            capture_pss_mb=self._capture_pss_mb,
            mem_available_mb=self._available_mb,
            disk_free_mb=self._free_mb,
            disk_read_only=self._read_only,
        )

    def _read_memory(self, capture_pids: list[int]) -> None:
        self._pss_mb = _megabytes(self._proc / "self" / "smaps_rollup", "Pss")
        children = [
            _megabytes(self._proc / str(pid) / "smaps_rollup", "Pss") for pid in capture_pids
        ]
        known = [megabytes for megabytes in children if megabytes is not None]
        # A sum that lacks one of them would be too small, and one without any no sum.
        whole = bool(children) and len(known) == len(children)
        self._capture_pss_mb = round(sum(known), 1) if whole else None
        self._available_mb = _megabytes(self._proc / "meminfo", "MemAvailable")


class _Power:
    """Undervoltage and throttling, by the firmware's word and by the kernel's watch on the supply.

    On some kernels the word is always 0 (raspberrypi/linux#2367), and 0 reads like "all is well".
    Where the watch has seen an undervoltage of which a word that never spoke says nothing, the
    word is no information.
    """

    def __init__(self, root: Path) -> None:
        # `soc` on most boards, `soc@...` on others.
        words = (root / "sys/devices/platform").glob("soc*/soc*:firmware/get_throttled")
        self._word_path = next(iter(sorted(words)), None)
        self._alarm_path = _supply_alarm(root)
        self._word_spoke = False
        self._word_failed = False
        self._seen = 0
        self._word: int | None = None
        self._alarm: bool | None = None

    def look(self) -> None:
        """Read both."""
        self._alarm = _flag(self._alarm_path)
        self._word = _hexadecimal(self._word_path)
        if self._word:
            self._word_spoke = True
        elif self._word == 0 and self._alarm:
            self._word_failed = True
        if self._word_failed and not self._word_spoke:
            self._word = None
        # The kernel's watch clears the kept bits, so what was once seen is kept here, too.
        self._seen |= (self._word or 0) | (_UNDERVOLTAGE if self._alarm else 0)

    @property
    def undervoltage(self) -> bool | None:
        """Now; None where nobody watches."""
        if self._word is None and self._alarm is None:
            return None
        return bool((self._word or 0) & _UNDERVOLTAGE) or bool(self._alarm)

    @property
    def throttled(self) -> bool | None:
        """Whether the processor is held back now, for whatever reason."""
        return None if self._word is None else bool(self._word & _THROTTLED)

    @property
    def undervoltage_since_boot(self) -> bool | None:
        """Whether there was one since the boot."""
        return self._since_boot(_UNDERVOLTAGE)

    @property
    def throttled_since_boot(self) -> bool | None:
        """Whether the processor was held back since the boot."""
        return self._since_boot(_THROTTLED)

    def _since_boot(self, bits: int) -> bool | None:
        if self._seen & (bits | bits << _KEPT_SHIFT):
            return True
        return None if self._word is None else False


def hardware(root: Path = ROOT) -> str:
    """The board's name where the kernel knows one, else the machine's type."""
    board = root / "proc/device-tree/model"
    if board.exists():
        return board.read_text(encoding="utf-8").rstrip("\0\n")
    return os.uname().machine


def _thermometer(root: Path) -> Path | None:
    # By its type: the order of the zones differs by board.
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        if _text(zone / "type") == "cpu-thermal":
            return zone / "temp"
    return None


def _supply_alarm(root: Path) -> Path | None:
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(monitor / "name") == "rpi_volt":
            return monitor / "in0_lcrit_alarm"
    return None


def _celsius(thermometer: Path | None) -> float | None:
    thousandths = _number(thermometer, 10)
    return None if thousandths is None else round(thousandths / 1000, 1)


def _hexadecimal(path: Path | None) -> int | None:
    return _number(path, 16)


def _flag(path: Path | None) -> bool | None:
    number = _number(path, 10)
    return None if number is None else number != 0


def _number(path: Path | None, base: int) -> int | None:
    text = None if path is None else _text(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        # A driver that is gone, or that has no answer just now.
        return None


def _megabytes(path: Path, name: str) -> float | None:
    """A line `name:  123 kB` of a file of the kernel, in 10^6 bytes."""
    for line in (_text(path) or "").splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) * 1024 / _MEGABYTE, 1)
    return None


def _disk(folder: Path | None) -> tuple[float | None, bool | None]:
    """Free for others than root, in 10^6 bytes, and whether nothing can be written."""
    if folder is None:
        return None, None
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None, None
    return round(disk.f_bavail * disk.f_frsize / _MEGABYTE, 1), bool(disk.f_flag & os.ST_RDONLY)
