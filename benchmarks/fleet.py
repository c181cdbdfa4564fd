"""A fleet of 10,000 devices in 40 combinations of layers: seconds and memory of each command.

    python -m benchmarks.fleet [--json] [--quick]

Every command runs as a process of its own, from the interpreter's start to its exit, several times;
the median is held against the limit and fails the benchmark when it is above.
"""

import argparse
import itertools
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

_MOST_MB: Final = 250.0
# Runs the command line in this process and tells its peak, counted from its own start.
CHILD: Final = """
import sys
from edge_agent.cli import cli
try:
    cli(sys.argv[1:])
finally:
    with open("/proc/self/status") as status:
        print(next(line for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""
BOARDS: Final = ("pi-zero-2w", "pi-4")
MICROPHONES: Final = ("i2s-ics43434", "umik-1")
GROUPS: Final = ("city-noise", "city-noise uplink-lte")
SITES: Final = 5


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a command took, over its runs."""

    seconds: float
    """Median."""
    low_s: float
    high_s: float
    peak_mb: float
    """The highest."""
    hold_s: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What this benchmark prints."""

    conditions: Conditions
    devices: int
    hold_mb: float
    costs: dict[str, Cost]


def main() -> int:
    """Run it; 1 when something is slower or larger than it may be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="each command once")
    options = parser.parse_args()
    pin()
    devices = 10_000
    with tempfile.TemporaryDirectory(prefix="earshot-fleet-bench-") as place:
        costs = _costs(Path(place), devices, rounds=1 if options.quick else 3)
    result = Result(
        conditions=conditions(**{name: version(name) for name in ("msgspec", "PyYAML", "click")}),
        devices=devices,
        hold_mb=_MOST_MB,
        costs=costs,
    )
    if options.json:
        dump(result)
    else:
        _print(result)
    return int(
        any(cost.seconds > cost.hold_s or cost.peak_mb > _MOST_MB for cost in costs.values())
    )


def make(folder: Path, devices: int) -> None:
    """A fleet of so many devices in 40 combinations, without findings."""
    _run(["fleet", "init", str(folder)], folder.parent)
    site = (folder / "sites" / "example-city.yaml").read_text(encoding="utf-8")
    for number in range(SITES):
        text = site.replace("  tls: {}", "  tls: {}\n  drain_per_s: 2.0")
        text = text.replace("  port: 8883", f'  port: 8883\n  client_id: "{number}-${{device}}"')
        (folder / "sites" / f"city-{number}.yaml").write_text(text, encoding="utf-8")
    kinds = list(itertools.product(BOARDS, MICROPHONES, range(SITES), GROUPS))
    rows = ["device,board,mic,site,groups,lat,lon,lab_offset_db,lab_date,outbox.max_mb"]
    for number in range(devices):
        board, microphone, city, groups = kinds[number % len(kinds)]
        lat, lon = 53.4 + number // 100 * 1e-3, 9.8 + number % 100 * 1e-3
        own = "48" if number % 3 == 0 else ""
        rows.append(
            f"ear-{number:05},{board},{microphone},city-{city},{groups},{lat:.4f},{lon:.4f},"
            f"119.8,2026-10-02,{own}"
        )
    (folder / "fleet.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _costs(place: Path, devices: int, rounds: int) -> dict[str, Cost]:
    folder = place / "fleet"
    make(folder, devices)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        user = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", *user, *arguments], cwd=folder, check=True)
    base = (folder / "base.yaml").read_text(encoding="utf-8")
    fresh = [_run(["fleet", "render", "--out", f"../out{i}"], folder) for i in range(rounds)]
    costs = {
        "check": _cost(["fleet", "check"], folder, rounds, 3.0),
        "render": _summed(fresh, 6.0),
        "render again": _cost(["fleet", "render", "--out", "../out0"], folder, rounds, 6.0),
        "diff, unchanged": _cost(["fleet", "diff"], folder, rounds, 6.0),
    }
    (folder / "base.yaml").write_text(
        base.replace("ack_timeout_s: 20.0", "ack_timeout_s: 30.0"), encoding="utf-8"
    )
    costs["diff, all changed"] = _cost(["fleet", "diff"], folder, rounds, 6.0)
    (folder / "base.yaml").write_text(
        base.replace("ack_timeout_s: 20.0", "ack_timeout_s: none"), encoding="utf-8"
    )
    costs["check, error in base.yaml"] = _cost(["fleet", "check"], folder, rounds, 4.0, code=1)
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    whole = place / "out0" / "ear-00000" / "config.json"
    costs["config check"] = _cost(["config", "check", str(whole)], folder, rounds, 0.3)
    return costs


def _cost(arguments: list[str], folder: Path, rounds: int, hold_s: float, code: int = 0) -> Cost:
    return _summed([_run(arguments, folder, code) for _ in range(rounds)], hold_s)


def _summed(runs: list[tuple[float, float]], hold_s: float) -> Cost:
    seconds = [run[0] for run in runs]
    return Cost(
        seconds=round(statistics.median(seconds), 3),
        low_s=round(min(seconds), 3),
        high_s=round(max(seconds), 3),
        peak_mb=round(max(run[1] for run in runs), 1),
        hold_s=hold_s,
    )


def _run(arguments: list[str], folder: Path, code: int = 0) -> tuple[float, float]:
    """Seconds and peak in MB of one run."""
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - before
    peak = [line for line in done.stderr.splitlines() if line.startswith("VmHWM")]
    if done.returncode != code or not peak:
        raise RuntimeError(f"{' '.join(arguments)}: {done.returncode}: {done.stderr}")
    return seconds, int(peak[0].split()[1]) * 1024 / 1e6


def _print(result: Result) -> None:
    print(
        f"{result.conditions.cpu}, core {result.conditions.pinned_to}, load "
        f"{result.conditions.load_1min}, Python {result.conditions.python}"
    )
    print(f"{result.devices} devices, 40 combinations: seconds, median (range), peak MB")
    for name, cost in result.costs.items():
        print(
            f"  {name:26} {cost.seconds:6.2f} ({cost.low_s:.2f}-{cost.high_s:.2f}), at most "
            f"{cost.hold_s:g}   {cost.peak_mb:6.1f}, at most {result.hold_mb:g}"
        )


if __name__ == "__main__":
    sys.exit(main())
