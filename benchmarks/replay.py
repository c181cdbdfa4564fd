"""The whole path by `replay`: CPU by stage, memory over an hour, start to first decision.

    python -m benchmarks.replay [--json] [--quick]

It fails when an hour's peak of memory is more than 5 MiB above that of five minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.common import Conditions, Timing, conditions, dump, interleave, pin
from edge_agent import messages, resources, written
from edge_agent.bundle import Bundle, load
from edge_agent.capture.files import RecordingSource
from edge_agent.classifier import Classifier
from edge_agent.config import AlertConfig, Config
from edge_agent.frontend import Patches
from edge_agent.ids import Ids
from edge_agent.levels import Levels
from edge_agent.pipeline import Pipeline
from edge_agent.records import Block, Record, Samples, Stamp
from edge_agent.resample import Resampler

_MOST_GROWTH_MIB = 5.0
_CONFIG = Config(alerts={"loud": AlertConfig(indicator="LAeq", above_dbfs=-30.0, for_s=3)})
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """One process that replays a recording."""

    minutes: float
    cpu_ms_per_s: float
    peak_mib: float
    first_decision_s: float
    """Process start to first prediction, reading from a file."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What this benchmark prints."""

    conditions: Conditions
    stages: dict[str, Timing]
    whole: list[Whole]
    growth_mib: float
    growth_hold_mib: float


def main() -> int:
    """Run it; 1 when memory grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fifteen minutes instead of an hour")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        json.dump(_replay(options.child), sys.stdout)
        return 0
    pin()
    with tempfile.TemporaryDirectory() as folder:
        short = _street(Path(folder, "short.wav"), minutes=1)
        stages = interleave(_stages(short), rounds=3 if options.quick else 7, seconds=60)
        whole = [
            _process(_street(Path(folder, "whole.wav"), minutes), minutes)
            for minutes in (5, 15 if options.quick else 60)
        ]
    growth_mib = whole[1].peak_mib - whole[0].peak_mib
    result = Result(
        conditions=conditions(**{name: version(name) for name in ("ai-edge-litert", "soxr")}),
        stages=stages,
        whole=whole,
        growth_mib=round(growth_mib, 2),
        growth_hold_mib=_MOST_GROWTH_MIB,
    )
    if options.json:
        dump(result)
    else:
        _print(result)
    return int(growth_mib > _MOST_GROWTH_MIB)


def _stages(path: Path) -> dict[str, Callable[[], object]]:
    """Each stage alone, on what the stage before it gives for a minute of sound."""
    bundle = load(resources.root() / "models" / "street")
    classifier = Classifier(bundle)
    blocks = _blocks(path)
    resampled = [Resampler(48000, bundle.frontend.rate).push(block.samples) for block in blocks]
    patches = Patches(bundle.frontend).batch(np.concatenate(resampled))
    records = _records(bundle, blocks)

    def meter() -> None:
        levels = Levels(_CONFIG.levels)
        for block in blocks:
            levels.feed(block)

    def resample() -> None:
        resampler = Resampler(48000, bundle.frontend.rate)
        for block in blocks:
            resampler.push(block.samples)

    def front_end() -> None:
        front = Patches(bundle.frontend)
        for samples in resampled:
            front.push(samples)

    def classify() -> None:
        for patch in patches:
            classifier.scores(patch)

    def encode() -> None:
        encoder = messages.Encoder(
            _CONFIG.site, "earshot", _CONFIG.alerts, bundle.name, bundle.model_sha256, "0" * 16
        )
        for record in records:
            stamp = Stamp(utc_ns=record.made_ns, synced=False, up_ms=0)
            for message in encoder.encode(record, stamp):
                written.json_line(message)

    return {
        "read": lambda: _blocks(path),
        "levels": meter,
        "resample": resample,
        "front end": front_end,
        "classifier": classify,
        "encode": encode,
        "whole pipeline": lambda: _records(bundle, blocks),
    }


def _blocks(path: Path) -> list[Block]:
    source = RecordingSource("mic", path, start_ns=0)
    blocks = []
    while not source.ended:
        block = source.read(0)
        if block is not None:
            blocks.append(block)
    source.close()
    return blocks


def _records(bundle: Bundle, blocks: list[Block]) -> list[Record]:
    pipeline = Pipeline(_CONFIG, bundle, Classifier(bundle), Ids(0).new)
    return [record for block in blocks for record in pipeline.feed(block)] + pipeline.finish()


class _Noting:
    """A classifier that remembers when it was first asked."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.labels = classifier.labels
        self.first_s: float | None = None

    def scores(self, features: Samples) -> Samples:
        scores = self._classifier.scores(features)
        if self.first_s is None:
            self.first_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        return scores


def _replay(path: Path) -> dict[str, float]:
    bundle = load(resources.root() / "models" / "street")
    classifier = _Noting(Classifier(bundle))
    pipeline = Pipeline(_CONFIG, bundle, classifier, Ids(0).new)
    source = RecordingSource("mic", path, start_ns=0)
    while not source.ended:
        block = source.read(0)
        if block is not None:
            pipeline.feed(block)
    pipeline.finish()
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return {
        "cpu_s": time.process_time(),
        "peak_mib": int(peak.split()[1]) / 1024,
        "first_decision_s": (classifier.first_s or 0.0) - started_ticks / _TICKS_PER_S,
    }


def _process(path: Path, minutes: float) -> Whole:
    command = [sys.executable, "-m", "benchmarks.replay", "--child", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    return Whole(
        minutes=minutes,
        cpu_ms_per_s=round(found["cpu_s"] * 1000 / (60 * minutes), 3),
        peak_mib=round(found["peak_mib"], 1),
        first_decision_s=round(found["first_decision_s"], 2),
    )


def _street(path: Path, minutes: float) -> Path:
    """Noise whose loudness wanders, with a tone now and then, 16-bit at 48 kHz."""
    rng = np.random.default_rng(0)
    t = np.arange(48000) / 48000
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        for second in range(round(60 * minutes)):
            loudness = 0.02 * (1.5 + np.sin(second / 7))
            sound = loudness * rng.standard_normal(48000)
            if second % 30 < 5:
                sound += 0.2 * np.sin(2 * np.pi * (600 + 300 * np.sin(2 * np.pi * t)) * t)
            file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def _print(result: Result) -> None:
    print(
        f"{result.conditions.cpu}, core {result.conditions.pinned_to}, load "
        f"{result.conditions.load_1min}, Python {result.conditions.python}, numpy "
        f"{result.conditions.numpy}"
    )
    print("CPU ms per second of sound: median (range)")
    for name, timing in result.stages.items():
        print(f"  {name:15} {timing}")
    for whole in result.whole:
        print(
            f"replay of {whole.minutes:g} min: {whole.cpu_ms_per_s} ms per s, peak "
            f"{whole.peak_mib} MiB, first decision {whole.first_decision_s} s after the start"
        )
    print(f"growth {result.growth_mib} MiB, at most {result.growth_hold_mib}")


if __name__ == "__main__":
    sys.exit(main())
