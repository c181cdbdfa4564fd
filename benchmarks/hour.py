"""One process of the front end's benchmark: a file of raw float32, worked through by one of both.

    python -m benchmarks.hour fast|exact|librosa FILE

It imports as little as it can, since its memory is measured too; what it prints is one JSON object.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames

SETTINGS = FrontendSettings()


def main() -> None:
    """Warm up on a second of silence, then time the file."""
    who, path = sys.argv[1], Path(sys.argv[2])
    call = (
        _librosa(path) if who == "librosa" else _frames("fast" if who == "fast" else "exact", path)
    )
    before = time.process_time_ns()
    call()
    cpu_ms = (time.process_time_ns() - before) / 1e6
    json.dump({"cpu_ms": cpu_ms, "peak_mib": _peak_mib()}, sys.stdout)


def _frames(mode: Literal["exact", "fast"], path: Path) -> Callable[[], object]:
    """The front end needs one second at a time."""
    frames = Frames(SETTINGS, mode)
    second = np.zeros(SETTINGS.rate, np.float32)
    memory = second.view(np.uint8).data
    frames.push(second)
    frames.reset()

    def call() -> None:
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(memory):
                frames.push(second[: size // second.itemsize])
        frames.flush()

    return call


def _librosa(path: Path) -> Callable[[], object]:
    """For librosa, which needs the whole of it at once."""
    from benchmarks.frontend import librosa_levels

    librosa_levels(np.zeros(SETTINGS.rate, np.float32))
    return lambda: librosa_levels(np.fromfile(path, np.float32))


def _peak_mib() -> float:
    """Most memory this process ever held; counted from its own start, not its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
