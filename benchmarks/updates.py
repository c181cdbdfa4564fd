"""Signed updates: what publishing for 10,000 devices takes, and what a look of one device costs.

    python -m benchmarks.updates [--json] [--quick]

Every command runs as a process of its own, several times; the median is held against the limit and
fails the benchmark when it is above. Publishing is held by the clock on the wall, a look by its CPU
time, as the device spends the rest of it waiting for the server.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.common import Conditions, conditions, dump, pin
from benchmarks.fleet import CHILD, make
from tests.offices import serving

_DEVICES: Final = 10_000
_DEVICE: Final = "ear-00000"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a command."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a command took, over its runs."""

    seconds: float
    """Median."""
    low_s: float
    high_s: float
    hold_s: float
    peak_mb: float
    """The highest."""
    hold_mb: float = 250.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What this benchmark prints."""

    conditions: Conditions
    devices: int
    costs: dict[str, Cost]


def main() -> int:
    """Run it; 1 when something is slower or larger than it may be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="each publication once")
    options = parser.parse_args()
    pin()
    with tempfile.TemporaryDirectory(prefix="earshot-updates-bench-") as place:
        costs = _costs(Path(place), rounds=1 if options.quick else 3)
    names = ("tuf", "securesystemslib", "cryptography", "msgspec")
    result = Result(
        conditions=conditions(**{name: version(name) for name in names}),
        devices=_DEVICES,
        costs=costs,
    )
    if options.json:
        dump(result)
    else:
        _print(result)
    return int(any(one.seconds > one.hold_s or one.peak_mb > one.hold_mb for one in costs.values()))


def _costs(place: Path, rounds: int) -> dict[str, Cost]:
    fleet = place / "fleet"
    make(fleet, _DEVICES)
    runs = []
    for number in range(rounds):
        repo, keys = f"repo{number}", f"keys{number}"
        signed = ["--dir", "fleet", "--keys", keys, "--repo", repo]
        _run(["fleet", "keys", "init", *signed], place)
        runs.append(_run(["fleet", "publish", *signed], place))
    signed = ["--dir", "fleet", "--keys", "keys0", "--repo", "repo0"]
    again = [_run(["fleet", "publish", *signed], place) for _ in range(rounds)]
    refreshed = [
        _run(["fleet", "publish", "--keys", "keys0", "--repo", "repo0", "--refresh"], place)
        for _ in range(rounds)
    ]
    _device(place)
    with serving(place / "repo0") as server:
        look = ["update", "--settings", "etc/updates.json", "--repo", server.url, "--trust-clock"]
        first = [_fresh(place, look) for _ in range(5)]
        looks = [_run(look, place) for _ in range(9)]
    return {
        "publish, all changed": _summed([run.wall_s for run in runs], runs, 8.0),
        "publish, unchanged": _summed([run.wall_s for run in again], again, 8.0),
        "publish --refresh": _summed([run.wall_s for run in refreshed], refreshed, 8.0),
        "update, first look, CPU": _summed([run.cpu_s for run in first], first, 1.0),
        "update without news, CPU": _summed([run.cpu_s for run in looks], looks, 0.3),
    }


def _device(place: Path) -> None:
    """One that has what is published for it."""
    etc = place / "etc"
    etc.mkdir()
    _run(["fleet", "render", "--dir", "fleet", "--out", "build", _DEVICE], place)
    for name, to in (("config.json", "agent.json"), ("release.json", "release.json")):
        (etc / to).write_bytes((place / "build" / _DEVICE / name).read_bytes())
    root = place / "repo0" / "metadata" / "1.root.json"
    (etc / "updates-root.json").write_bytes(root.read_bytes())
    settings = {"repository": "repo0", "device": _DEVICE, "state_dir": str(place / "var")}
    (etc / "updates.json").write_bytes(msgspec.json.encode(settings))
    _run(["config", "guard", "--settings", "etc/updates.json"], place)


def _fresh(place: Path, look: list[str]) -> Run:
    """A look that remembers no other."""
    (place / "var" / "seen.json").unlink(missing_ok=True)
    return _run(look, place)


def _summed(seconds: list[float], runs: list[Run], hold_s: float) -> Cost:
    return Cost(
        seconds=round(statistics.median(seconds), 3),
        low_s=round(min(seconds), 3),
        high_s=round(max(seconds), 3),
        peak_mb=round(max(run.peak_mb for run in runs), 1),
        hold_s=hold_s,
    )


def _run(arguments: list[str], folder: Path) -> Run:
    root = str(Path(__file__).resolve().parent.parent)
    before = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    with process.stderr as stderr:
        said = stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = [line for line in said.splitlines() if line.startswith("VmHWM")]
    if process.returncode != 0 or not peak:
        raise RuntimeError(f"{' '.join(arguments)}: {process.returncode}: {said}")
    return Run(
        wall_s=time.monotonic() - before,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=int(peak[0].split()[1]) * 1024 / 1e6,
    )


def _print(result: Result) -> None:
    print(
        f"{result.conditions.cpu}, core {result.conditions.pinned_to}, load "
        f"{result.conditions.load_1min}, Python {result.conditions.python}"
    )
    print(f"{result.devices} devices: seconds, median (range), peak MB")
    for name, cost in result.costs.items():
        print(
            f"  {name:26} {cost.seconds:6.2f} ({cost.low_s:.2f}-{cost.high_s:.2f}), at most "
            f"{cost.hold_s:g}   {cost.peak_mb:6.1f}, at most {cost.hold_mb:g}"
        )


if __name__ == "__main__":
    sys.exit(main())
