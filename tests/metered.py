"""Sound cut into blocks, and what the meter reads of it."""

from itertools import pairwise

import numpy as np

from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from edge_agent.records import Block, LevelReading, Samples

RATE = 48000
SECOND_NS = 1_000_000_000


def blocks(
    samples: Samples,
    cuts: list[int],
    start_ns: int = 0,
    missed_at: dict[int, int] | None = None,
    rate: int = RATE,
) -> list[Block]:
    """The samples cut at `cuts`; `missed_at` says how many were lost before a cut."""
    edges = [0, *cuts, len(samples)]
    made = []
    lost = 0
    for begin, end in pairwise(edges):
        missed = (missed_at or {}).get(begin, 0)
        lost += missed
        first = begin + lost
        made.append(
            Block(
                microphone="mic",
                samples=samples[begin:end],
                rate=rate,
                bandwidth_hz=rate / 2,
                first=first,
                start_ns=start_ns + round(first * 1e9 / rate),
                synced=False,
                missed=missed,
            )
        )
    return made


def measured(pieces: list[Block], meter: Levels | None = None) -> list[LevelReading]:
    meter = meter or Levels(LevelsConfig())
    readings = [reading for block in pieces for reading in meter.feed(block)]
    return readings + meter.finish()


def sine(frequency_hz: float, seconds: float, amplitude: float = 1.0, rate: int = RATE) -> Samples:
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def level(reading: LevelReading, name: str) -> float:
    value = reading.values[name]
    assert value is not None
    return value
