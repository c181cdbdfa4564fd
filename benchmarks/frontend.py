"""The front end against librosa: whole minutes, an hour from a file, streams; CPU per second.

    python -m benchmarks.frontend [--json] [--quick]

A ratio says how many times faster `fast` is than librosa in the same run; one below what is to be
held fails the benchmark, a goal is only reported. librosa has no stream: it is called on each
piece with the samples of context that it needs, as soon as a frame is complete. Two forms of that
are shown, as most of the first goes into building the mel basis on every call.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.common import (
    Conditions,
    Timing,
    conditions,
    dump,
    interleave,
    pin,
    timing,
)
from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames
from edge_agent.records import Samples

SETTINGS = FrontendSettings()
MFCC = FrontendSettings(kind="mfcc")
RATE = SETTINGS.rate
MINUTE_S = 60
STREAM_S = 10
# By row: the ratio to librosa below which the benchmark fails, and the one that is wished for.
HOLD_AND_GOAL = {
    "batch log-mel": (2.2, 2.8),
    "batch MFCC": (2.1, 2.6),
    "hour": (5.5, 8.0),
    "stream 10 ms": (75.0, 110.0),
    "stream 100 ms": (24.0, 35.0),
    "stream 250 ms": (11.0, 16.0),
    "stream 1000 ms": (5.2, 7.5),
}
EXACT_HOLD, EXACT_GOAL = 1.2, 1.4
PEAK_HOLD_MIB = 40.0
GROWTH_HOLD_MIB = 2.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One way of working through sound, by both."""

    name: str
    librosa: Timing
    librosa_ready_basis: Timing | None
    fast: Timing
    exact: Timing
    ratio: float
    hold: float
    goal: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Peak resident memory of whole processes, MiB."""

    hour_s: int
    fast: float
    fast_minute: float
    exact: float
    librosa: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured, and what fell short."""

    benchmark: str
    conditions: Conditions
    rows: list[Row]
    memory: Memory
    below_hold: list[str]
    below_goal: list[str]


class LibrosaStream:
    """librosa on pieces: the context a frame needs is kept, and each call gets whole frames.

    Args:
        ready_basis: Multiply by a basis made once, instead of letting librosa make it each time.
    """

    def __init__(self, *, ready_basis: bool) -> None:
        self._levels = _ready_levels(_librosa_basis()) if ready_basis else librosa_levels
        self._held = np.empty(0, np.float32)

    def push(self, samples: Samples) -> None:
        """Take a piece; compute every frame that it completes."""
        self._held = np.concatenate((self._held, samples))
        if self._held.size < SETTINGS.n_fft:
            return
        frames = 1 + (self._held.size - SETTINGS.n_fft) // SETTINGS.hop
        self._levels(self._held[: SETTINGS.n_fft + (frames - 1) * SETTINGS.hop])
        self._held = self._held[frames * SETTINGS.hop :]


def librosa_levels(samples: Samples) -> npt.NDArray[np.float32]:
    """Log-mel as a user of librosa writes it."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=samples,
        sr=RATE,
        n_fft=SETTINGS.n_fft,
        hop_length=SETTINGS.hop,
        center=False,
        n_mels=SETTINGS.n_mels,
        fmin=SETTINGS.fmin,
        fmax=SETTINGS.fmax,
    )
    return np.asarray(librosa.power_to_db(power, top_db=None))


def librosa_mfcc(samples: Samples) -> npt.NDArray[np.float32]:
    """MFCCs of those levels."""
    import librosa

    return np.asarray(librosa.feature.mfcc(S=librosa_levels(samples), n_mfcc=MFCC.n_mfcc))


def _librosa_basis() -> npt.NDArray[np.float32]:
    import librosa

    basis = librosa.filters.mel(
        sr=RATE,
        n_fft=SETTINGS.n_fft,
        n_mels=SETTINGS.n_mels,
        fmin=SETTINGS.fmin,
        fmax=SETTINGS.fmax,
    )
    return np.asarray(basis)


def _ready_levels(basis: npt.NDArray[np.float32]) -> Callable[[Samples], object]:
    import librosa

    def levels(samples: Samples) -> object:
        spectrum = librosa.stft(
            samples, n_fft=SETTINGS.n_fft, hop_length=SETTINGS.hop, center=False
        )
        return librosa.power_to_db(basis @ np.abs(spectrum) ** 2, top_db=None)

    return levels


def main() -> int:
    """Measure, print, and say by the exit code whether everything held."""
    parser = argparse.ArgumentParser(description="The front end against librosa.")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, five minutes an hour")
    options = parser.parse_args()
    result = _measure(rounds=3 if options.quick else 9, hour_s=300 if options.quick else 3600)
    if options.json:
        dump(result)
    else:
        _print(result)
    return 1 if result.below_hold else 0


def _measure(rounds: int, hour_s: int) -> Result:
    pin()
    sound = _noise(MINUTE_S)
    rows = [_batch("batch log-mel", SETTINGS, librosa_levels, sound, rounds)]
    rows.append(_batch("batch MFCC", MFCC, librosa_mfcc, sound, rounds))
    hour, memory = _hour(hour_s, times=1 if hour_s < 3600 else 3)
    rows.append(hour)
    rows += [_stream(piece_ms, sound, rounds) for piece_ms in (10, 100, 250, 1000)]
    return Result(
        benchmark="frontend",
        conditions=conditions(librosa=version("librosa"), scipy=version("scipy")),
        rows=rows,
        memory=memory,
        below_hold=_short(rows, "hold", EXACT_HOLD) + _too_much(memory),
        below_goal=_short(rows, "goal", EXACT_GOAL),
    )


def _noise(seconds: int) -> Samples:
    rng = np.random.default_rng(3)
    return (0.1 * rng.standard_normal(seconds * RATE)).astype(np.float32)


def _batch(
    name: str,
    settings: FrontendSettings,
    librosa_form: Callable[[Samples], object],
    sound: Samples,
    rounds: int,
) -> Row:
    fast, exact = Frames(settings, "fast"), Frames(settings, "exact")
    found = interleave(
        {
            "librosa": lambda: librosa_form(sound),
            "fast": lambda: fast.batch(sound),
            "exact": lambda: exact.batch(sound),
        },
        rounds,
        MINUTE_S,
    )
    return _row(name, found)


def _stream(piece_ms: int, sound: Samples, rounds: int) -> Row:
    piece = piece_ms * RATE // 1000
    pieces = [sound[i : i + piece] for i in range(0, STREAM_S * RATE, piece)]

    def through(push: Callable[[Samples], object]) -> Callable[[], None]:
        def call() -> None:
            for samples in pieces:
                push(samples)

        return call

    found = interleave(
        {
            "librosa": through(LibrosaStream(ready_basis=False).push),
            "ready": through(LibrosaStream(ready_basis=True).push),
            "fast": through(Frames(SETTINGS, "fast").push),
            "exact": through(Frames(SETTINGS, "exact").push),
        },
        rounds,
        STREAM_S,
    )
    return _row(f"stream {piece_ms} ms", found)


def _row(name: str, found: dict[str, Timing]) -> Row:
    hold, goal = HOLD_AND_GOAL[name]
    return Row(
        name=name,
        librosa=found["librosa"],
        librosa_ready_basis=found.get("ready"),
        fast=found["fast"],
        exact=found["exact"],
        ratio=found["librosa"].median_ms / found["fast"].median_ms,
        hold=hold,
        goal=goal,
    )


def _hour(hour_s: int, times: int) -> tuple[Row, Memory]:
    """An hour of raw samples in a file, each time in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        hour, minute = Path(folder) / "hour.f32", Path(folder) / "minute.f32"
        _write(hour, hour_s)
        _write(minute, MINUTE_S)
        cpu: dict[str, list[float]] = {"librosa": [], "fast": [], "exact": []}
        peak: dict[str, float] = {}
        for _ in range(times):
            for who, values in cpu.items():
                seconds_ms, peak_of = _in_a_child(who, hour)
                values.append(seconds_ms / hour_s)
                peak[who] = max(peak_of, peak.get(who, 0.0))
        _, of_a_minute = _in_a_child("fast", minute)
    memory = Memory(hour_s=hour_s, fast_minute=of_a_minute, **peak)
    return _row("hour", {who: timing(values) for who, values in cpu.items()}), memory


def _write(path: Path, seconds: int) -> None:
    minute = _noise(min(seconds, MINUTE_S))
    with path.open("wb") as file:
        for _ in range(seconds * RATE // minute.size):
            minute.tofile(file)


def _in_a_child(who: str, path: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.hour", who, str(path)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return float(answer["cpu_ms"]), float(answer["peak_mib"])


def _short(rows: list[Row], limit: str, exact_limit: float) -> list[str]:
    found = [
        f"{row.name}: {row.ratio:.2f} of {getattr(row, limit)}"
        for row in rows
        if row.ratio < getattr(row, limit)
    ]
    exact = rows[0].librosa.median_ms / rows[0].exact.median_ms
    return found + ([f"exact: {exact:.2f} of {exact_limit}"] if exact < exact_limit else [])


def _too_much(memory: Memory) -> list[str]:
    found = []
    if memory.fast > PEAK_HOLD_MIB:
        found.append(f"memory: {memory.fast:.1f} MiB, at most {PEAK_HOLD_MIB}")
    if memory.fast > memory.fast_minute + GROWTH_HOLD_MIB:
        found.append(f"memory grows: {memory.fast_minute:.1f} to {memory.fast:.1f} MiB")
    return found


def _print(result: Result) -> None:
    print("CPU ms per second of sound: median (range); ratio of librosa to fast")
    print(f"{'':15}{'librosa':>25}{'ready basis':>25}{'fast':>22}{'exact':>22}  ratio  hold  goal")
    for row in result.rows:
        ready = row.librosa_ready_basis or ""
        print(
            f"{row.name:15}{row.librosa!s:>25}{ready!s:>25}{row.fast!s:>22}{row.exact!s:>22}"
            f"{row.ratio:7.2f}{row.hold:6.1f}{row.goal:6.1f}"
        )
    memory = result.memory
    print(
        f"peak MiB of {memory.hour_s} s: fast {memory.fast:.1f} (a minute "
        f"{memory.fast_minute:.1f}), exact {memory.exact:.1f}, librosa {memory.librosa:.0f}"
    )
    print("below hold:", "; ".join(result.below_hold) or "nothing")
    print("below goal:", "; ".join(result.below_goal) or "nothing")
    print("conditions:", json.dumps(msgspec.to_builtins(result.conditions)))


if __name__ == "__main__":
    sys.exit(main())
