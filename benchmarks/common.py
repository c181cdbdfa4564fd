"""What every benchmark shares: one core, candidates in turn, medians with spread, conditions."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """CPU milliseconds per second of sound, over the rounds."""

    median_ms: float
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        return f"{self.median_ms:.3f} ({self.low_ms:.3f}-{self.high_ms:.3f})"


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures were made: without it they mean nothing."""

    cpu: str
    cores: int
    pinned_to: int
    load_1min: float
    kernel: str
    python: str
    numpy: str
    blas_threads: str
    libraries: dict[str, str]


def pin() -> int:
    """Keep this process, and what it starts, on one core."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def conditions(**libraries: str) -> Conditions:
    """The machine as it is now; `libraries` are names and versions to record."""
    return Conditions(
        cpu=_cpu(),
        cores=os.cpu_count() or 0,
        pinned_to=min(os.sched_getaffinity(0)),
        load_1min=round(os.getloadavg()[0], 2),
        kernel=platform.release(),
        python=platform.python_version(),
        numpy=np.__version__,
        blas_threads=os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
        libraries=libraries,
    )


def interleave(
    candidates: Mapping[str, Callable[[], object]], rounds: int, seconds: float
) -> dict[str, Timing]:
    """CPU time of each candidate, taken in turn so that a busy minute hits all of them.

    Args:
        candidates: What to call, by name; each is called once beforehand.
        rounds: How often each is timed.
        seconds: Sound that one call works through.
    """
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    for _ in range(rounds):
        for name, call in candidates.items():
            before = time.process_time_ns()
            call()
            found[name].append((time.process_time_ns() - before) / 1e6 / seconds)
    return {name: timing(values) for name, values in found.items()}


def timing(values_ms: list[float]) -> Timing:
    """Median and range of what was timed."""
    return Timing(
        median_ms=statistics.median(values_ms), low_ms=min(values_ms), high_ms=max(values_ms)
    )


def dump(result: msgspec.Struct) -> None:
    """The whole result as one JSON object on stdout."""
    json.dump(msgspec.to_builtins(result), sys.stdout)
    print()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()
