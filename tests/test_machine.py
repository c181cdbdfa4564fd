"""The machine's facts, from folders as a Pi's kernel lays them out, and from the real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.machine import Machine, hardware

SECOND_NS = 1_000_000_000
ROLLUP = (
    "55d0c0000000-7ffd3f5fe000 ---p 00000000 00:00 0    [rollup]\nRss: {rss} kB\nPss: {pss} kB\n"
)


class Pi:
    """A root folder with what a Raspberry Pi shows in `sys` and `proc`.

    Args:
        root: Where it is built.
        soc: The folder of the chip, which differs by board.
    """

    def __init__(self, root: Path, soc: str = "soc") -> None:
        self.root = root
        # The processor's zone is not the first.
        self._zone(0, "gpu-thermal", "99000")
        self._zone(1, "cpu-thermal", "54231")
        self.word = self._file(f"sys/devices/platform/{soc}/{soc}:firmware/get_throttled", "0")
        self._file("sys/class/hwmon/hwmon0/name", "cpu_thermal")
        self._file("sys/class/hwmon/hwmon1/name", "rpi_volt")
        self.alarm = self._file("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0")
        self.temperature = root / "sys/class/thermal/thermal_zone1/temp"
        self._file("proc/meminfo", "MemTotal: 948304 kB\nMemFree: 1 kB\nMemAvailable: 600000 kB")
        self.pss("self", 50_000)
        self._file("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")

    def pss(self, process: str, kilobytes: int) -> None:
        text = ROLLUP.format(rss=2 * kilobytes, pss=kilobytes)
        self._file(f"proc/{process}/smaps_rollup", text)

    def _zone(self, number: int, kind: str, thousandths: str) -> None:
        self._file(f"sys/class/thermal/thermal_zone{number}/type", kind)
        self._file(f"sys/class/thermal/thermal_zone{number}/temp", thousandths)

    def _file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
        return path


@pytest.fixture
def pi(tmp_path: Path) -> Pi:
    return Pi(tmp_path)


def faults_at(machine: Machine, second: float) -> set[str]:
    return machine.faults(round(second * SECOND_NS))


def test_a_healthy_pi_tells_everything(pi: Pi) -> None:
    pi.pss("4711", 12_000)
    machine = Machine(pi.root, pi.root)
    assert faults_at(machine, 0) == set()
    told = machine.health(0, [4711])
    assert told.cpu_c == 54.2
    assert (told.throttled, told.throttled_since_boot) == (False, False)
    assert (told.undervoltage, told.undervoltage_since_boot) == (False, False)
    # kB of the kernel are 1024 bytes, megabytes are 10^6.
    assert (told.pss_mb, told.capture_pss_mb, told.mem_available_mb) == (51.2, 12.3, 614.4)
    assert hardware(pi.root) == "Raspberry Pi 4 Model B Rev 1.5"


def test_what_is_not_there_is_none_and_no_fault(tmp_path: Path) -> None:
    machine = Machine(None, tmp_path)
    assert faults_at(machine, 0) == set()
    told = machine.health(0, [4711])
    assert [getattr(told, name) for name in told.__struct_fields__] == [None] * 10
    assert hardware(tmp_path) == os.uname().machine


@pytest.mark.parametrize("soc", ["soc", "soc@107c000000"])
@pytest.mark.parametrize(
    ("word", "undervoltage", "throttled"),
    [
        ("1", (True, True), (False, False)),
        ("2", (False, False), (True, True)),
        ("4", (False, False), (True, True)),
        ("8", (False, False), (True, True)),
        ("10000", (False, True), (False, False)),
        ("20000", (False, False), (False, True)),
        ("40000", (False, False), (False, True)),
        ("80008", (False, False), (True, True)),
        ("50005", (True, True), (True, True)),
    ],
)
def test_each_bit_of_the_firmwares_word_has_its_meaning(
    tmp_path: Path,
    soc: str,
    word: str,
    undervoltage: tuple[bool, bool],
    throttled: tuple[bool, bool],
) -> None:
    pi = Pi(tmp_path, soc)
    pi.word.write_text(f"{word}\n")
    machine = Machine(None, pi.root)
    faults = faults_at(machine, 0)
    told = machine.health(0, [])
    assert (told.undervoltage, told.undervoltage_since_boot) == undervoltage
    assert (told.throttled, told.throttled_since_boot) == throttled
    assert ("undervoltage" in faults, "throttled" in faults) == (undervoltage[0], throttled[0])


def test_a_word_that_is_always_0_is_no_information_where_the_supply_alarm_disagrees(pi: Pi) -> None:
    machine = Machine(None, pi.root)
    pi.alarm.write_text("1\n")
    assert faults_at(machine, 0) == {"undervoltage"}
    pi.alarm.write_text("0\n")
    faults_at(machine, 1)
    told = machine.health(SECOND_NS, [])
    assert (told.throttled, told.throttled_since_boot) == (None, None)
    # The alarm is believed, and remembered.
    assert (told.undervoltage, told.undervoltage_since_boot) == (False, True)


def test_a_word_that_has_spoken_is_believed_although_the_alarm_is_quicker(pi: Pi) -> None:
    machine = Machine(None, pi.root)
    pi.word.write_text("40000\n")
    faults_at(machine, 0)
    # The kernel has cleared the kept bits, and a short undervoltage is over.
    pi.word.write_text("0\n")
    pi.alarm.write_text("1\n")
    faults_at(machine, 1)
    told = machine.health(SECOND_NS, [])
    assert (told.throttled, told.throttled_since_boot) == (False, True)
    assert (told.undervoltage, told.undervoltage_since_boot) == (True, True)


@pytest.mark.parametrize("fault", ["undervoltage", "throttled"])
def test_what_flickers_comes_at_once_and_goes_after_a_minute_without(pi: Pi, fault: str) -> None:
    machine = Machine(None, pi.root)
    there = {"undervoltage": "1", "throttled": "4"}[fault]
    changes = []
    last: set[str] = set()
    # Two seconds of ten for a minute, and then peace.
    for second in range(180):
        pi.word.write_text(there if second < 60 and second % 10 < 2 else "0")
        found = faults_at(machine, second)
        if found != last:
            changes.append((second, found))
        last = found
    assert changes == [(0, {fault}), (51 + 60, set())]


def test_heat_comes_at_80_degrees_and_goes_below_75(pi: Pi) -> None:
    machine = Machine(None, pi.root)
    told = []
    for second, degrees in enumerate((79.9, 80, 76, 81, 75, 74.9, 79)):
        pi.temperature.write_text(f"{degrees * 1000:.0f}\n")
        told.append("hot" in faults_at(machine, second))
    assert told == [False, True, True, True, True, False, False]


def test_a_thermometer_that_fails_says_nothing(pi: Pi) -> None:
    machine = Machine(None, pi.root)
    pi.temperature.write_text("81000\n")
    assert faults_at(machine, 0) == {"hot"}
    pi.temperature.unlink()
    assert faults_at(machine, 1) == set()
    assert machine.health(SECOND_NS, []).cpu_c is None


def test_memory_is_read_once_a_minute(pi: Pi) -> None:
    machine = Machine(None, pi.root)
    assert machine.health(0, []).pss_mb == 51.2
    pi.pss("self", 100_000)
    assert machine.health(59 * SECOND_NS, []).pss_mb == 51.2
    assert machine.health(60 * SECOND_NS, []).pss_mb == 102.4


def test_a_sum_that_lacks_a_capture_process_is_not_told(pi: Pi) -> None:
    pi.pss("11", 10_000)
    pi.pss("12", 20_000)
    assert Machine(None, pi.root).health(0, [11, 12]).capture_pss_mb == 30.7
    assert Machine(None, pi.root).health(0, [11, 13]).capture_pss_mb is None


def test_the_real_kernel_is_understood(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True
    ) as other:
        machine = Machine(tmp_path)
        faults_at(machine, 0)
        told = machine.health(0, [other.pid])
        other.communicate("\n", timeout=30)
    # This process may have TensorFlow in it: its share is at most what is resident.
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    assert told.pss_mb is not None
    assert told.capture_pss_mb is not None
    assert 0.2 * resident_mb < told.pss_mb < 1.1 * resident_mb
    assert 1 < told.capture_pss_mb < 100
    assert told.mem_available_mb is not None
    assert told.mem_available_mb > 100
    assert told.disk_free_mb is not None
    assert told.disk_read_only is False


DISKS = """
import subprocess, sys
from pathlib import Path
from edge_agent.machine import Machine

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=70m", "none", str(folder)], check=True)
machine = Machine(folder)
for number, megabytes in enumerate((0, 15, 25, 15, 12)):
    (folder / "fill").write_bytes(bytes(megabytes * 1_000_000))
    print("disk_low" in machine.faults(number), machine.health(number, []).disk_read_only)
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
machine.faults(9)
print(machine.health(9, []).disk_read_only)
"""


def test_a_small_disk_that_fills_is_low_and_one_without_writing_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--user", "--map-root-user", sys.executable, "-c", DISKS, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"no mount may be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    # Of 73.4 MB are free: 73, 58, 48, 58, 61.
    low = [False, False, True, True, False]
    assert done.stdout.splitlines() == [f"{one} False" for one in low] + ["True"]
