"""The meter three ways: levels alone, with third octaves, and scipy's filters beside it.

    python -m benchmarks.levels [--json] [--quick]

CPU time per second of sound at 48 kHz, in batch, taken in turn on one core. It fails when the bank
of third octaves is less than three times as fast as scipy at the full rate; the goals in per cent
of a core depend on the machine, and are printed with it.
"""

import argparse
from collections.abc import Callable
from importlib.metadata import version

import msgspec
import numpy as np
from scipy.signal import butter, sosfilt

from benchmarks.common import Conditions, Timing, conditions, dump, interleave, pin
from edge_agent.acoustics.bands import EXACT_HZ, Bank
from edge_agent.acoustics.weighting import Float
from edge_agent.config import LevelsConfig
from edge_agent.levels import Levels
from edge_agent.records import Block, Samples

_RATE = 48000
_SECONDS = 10
_LEAST_RATIO = 3.0
_GOALS_PERCENT = {"levels": 0.15, "levels and third octaves": 0.35}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What this benchmark prints."""

    conditions: Conditions
    meters: dict[str, Timing]
    goals_percent: dict[str, float]
    bank_to_scipy: float
    bank_to_scipy_hold: float


def main() -> int:
    """Run it; 1 when the bank is not three times as fast as scipy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    options = parser.parse_args()
    pin()
    rounds = 3 if options.quick else 9
    meters = interleave(_candidates(), rounds=rounds, seconds=_SECONDS)
    ratio = meters["scipy, 31 bands at the full rate"].median_ms / meters["third octaves"].median_ms
    result = Result(
        conditions=conditions(scipy=version("scipy")),
        meters=meters,
        goals_percent=_GOALS_PERCENT,
        bank_to_scipy=round(ratio, 2),
        bank_to_scipy_hold=_LEAST_RATIO,
    )
    if options.json:
        dump(result)
    else:
        _print(result)
    return int(ratio < _LEAST_RATIO)


def _candidates() -> dict[str, Callable[[], object]]:
    noise = 0.1 * np.random.default_rng(1).standard_normal(_RATE * _SECONDS)
    samples = noise.astype(np.float32)
    bank = Bank(_RATE)
    filters = [
        butter(6, [hz / 10**0.05, hz * 10**0.05], "bandpass", fs=_RATE, output="sos")
        for hz in EXACT_HZ
    ]
    two = LevelsConfig(slow_indicators=())
    return {
        "LAeq and LAFmax": _meter(samples, two),
        "levels": _meter(samples, LevelsConfig()),
        "levels and third octaves": _meter(samples, LevelsConfig(third_octaves=True)),
        "third octaves": lambda: _banked(bank, noise),
        "scipy, 31 bands at the full rate": lambda: [sosfilt(sos, noise) for sos in filters],
    }


def _meter(samples: Samples, settings: LevelsConfig) -> Callable[[], object]:
    """A meter goes on from call to call, as one in the street does."""
    levels = Levels(settings)
    size = _RATE // 4
    first = 0

    def measure() -> None:
        nonlocal first
        for begin in range(0, len(samples), size):
            levels.feed(
                Block(
                    microphone="mic",
                    samples=samples[begin : begin + size],
                    rate=_RATE,
                    bandwidth_hz=_RATE / 2,
                    first=first,
                    start_ns=first * 1_000_000_000 // _RATE,
                    synced=True,
                )
            )
            first += size

    return measure


def _banked(bank: Bank, samples: Float) -> None:
    for begin in range(0, len(samples), _RATE):
        bank.feed(samples[begin : begin + _RATE])
        bank.take()


def _print(result: Result) -> None:
    print(result.conditions)
    for name, found in result.meters.items():
        share, factor = found.median_ms / 10, 1000 / found.median_ms
        goal = result.goals_percent.get(name)
        goal_text = f", goal {goal} %" if goal else ""
        print(f"{name:34} {found} ms/s = {share:.2f} % of a core{goal_text}; {factor:.0f} x")
    print(
        f"third octaves are {result.bank_to_scipy} times as fast as scipy "
        f"(hold {result.bank_to_scipy_hold:g})"
    )


if __name__ == "__main__":
    raise SystemExit(main())
