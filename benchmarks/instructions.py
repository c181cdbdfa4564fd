"""One stage of the agent for so many seconds of sound, and nothing else: for a counter beside it.

    python -m benchmarks.instructions STAGE SECONDS

What a stage takes per second of sound is the difference between two lengths, so that start and
imports fall out; `scripts/arm64/count` does it on the Pi's instruction set. No clock is asked.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_agent import resources
from edge_agent.bundle import Bundle, load
from edge_agent.classifier import Classifier
from edge_agent.clock import SimulatedClock
from edge_agent.config import Config, LevelsConfig, SiteConfig
from edge_agent.frontend import Patches
from edge_agent.ids import Ids
from edge_agent.levels import Levels
from edge_agent.messages import Encoder
from edge_agent.outbox import Outbox
from edge_agent.pipeline import Pipeline
from edge_agent.records import Block, LevelReading, Samples, Stamp
from edge_agent.resample import Resampler

_RATE = 48_000
_BLOCK = _RATE // 4
_NS = 1_000_000_000


def main() -> None:
    """Run it."""
    stage, seconds = sys.argv[1], int(sys.argv[2])
    STAGES[stage](seconds)


def _levels(seconds: int) -> None:
    meter = Levels(LevelsConfig())
    for block in _blocks(seconds):
        meter.feed(block)


def _resample(seconds: int) -> None:
    resampler = Resampler(_RATE, 16_000)
    for block in _blocks(seconds):
        resampler.push(block.samples)


def _front_end(seconds: int) -> None:
    patches = Patches(_bundle().frontend)
    noise = _noise(4000)
    for _ in range(4 * seconds):
        patches.push(noise)


def _network(seconds: int) -> None:
    bundle = _bundle()
    classifier = Classifier(bundle)
    # 4.17 decisions a second, on whole numbers: 25 in six.
    for _ in range(25 * seconds // 6):
        classifier.scores(bundle.golden.features[1])


def _messages(seconds: int) -> None:
    """A level a second, encoded, put into the outbox on the disk, taken and acknowledged."""
    ids = Ids(0, 0)
    encoder = Encoder(SiteConfig(), "earshot", {}, "street", "ab" * 32, ids.boot)
    clock = SimulatedClock()
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), clock, max_bytes=10_000_000)
        for second in range(seconds):
            stamp = Stamp(utc_ns=second * _NS, synced=False, up_ms=second * 1000)
            outbox.add(encoder.encode(_reading(ids.new(second * _NS), second), stamp))
            clock.wait(1)
            outbox.turn()
            for row in outbox.take(10, 10):
                outbox.acknowledge(row.key)
        outbox.close()


def _pipeline(seconds: int) -> None:
    """All but messages: from blocks to records."""
    bundle = _bundle()
    pipeline = Pipeline(Config(), bundle, Classifier(bundle), Ids(0, 0).new)
    for block in _blocks(seconds):
        pipeline.feed(block)


STAGES: dict[str, Callable[[int], None]] = {
    "levels": _levels,
    "resample": _resample,
    "front end": _front_end,
    "network": _network,
    "messages": _messages,
    "pipeline": _pipeline,
}


def _bundle() -> Bundle:
    return load(resources.root() / "models" / "street")


def _noise(length: int) -> Samples:
    noise = np.random.default_rng(1).standard_normal(length)
    return np.asarray(0.05 * noise, np.float32)


def _blocks(seconds: int) -> list[Block]:
    noise = _noise(_BLOCK)
    return [
        Block(
            microphone="mic",
            samples=noise,
            rate=_RATE,
            bandwidth_hz=_RATE / 2,
            first=n * _BLOCK,
            start_ns=n * _NS // 4,
            synced=False,
        )
        for n in range(4 * seconds)
    ]


def _reading(of_id: str, second: int) -> LevelReading:
    return LevelReading(
        id=of_id,
        microphone="mic",
        period_s=1,
        start_ns=second * _NS,
        made_ns=(second + 1) * _NS,
        values={"LAeq_dbfs": -50.0, "LAFmax_dbfs": -45.0},
        reasons={},
        heard_s=1.0,
        bandwidth_hz=_RATE / 2,
        overload=False,
        under_range=False,
        calibration=None,
        synced=False,
    )


if __name__ == "__main__":
    main()
