"""What seconds add up to, in integers: merging is exact in any order, through any restart.

Each second enters with its levels rounded to 0.01 dB, which is also how they are stored, so that an
hour is the same whether its seconds come from the meter or from the disk. Energies are added, never
decibels; extremes are compared, histograms of LAF counted together.
"""

import math
from collections.abc import Iterable, Mapping

import msgspec

from edge_agent.acoustics.percentiles import exceeded, merged
from edge_agent.energies import merged as energies_merged
from edge_agent.energies import scaled
from edge_agent.records import Tally

# 10^18 is a full-scale sine for a microsecond: at -140 dBFS a microsecond is still 10^4.
_UNIT = 1e18
_MEANS = {"LAeq": "A", "LCeq": "C", "LZeq": "Z", "LAE": "A"}
_HIGHEST = ("LAFmax", "LASmax", "LCpeak")
_LOWEST = ("LAFmin",)


def hundredths(level_db: float) -> int:
    """A level as a tally holds it."""
    return round(100 * level_db)


def energy(level_dbfs: float, heard_us: int) -> int:
    """The energy of a level that was heard for so long."""
    return heard_us * round(_UNIT * 10 ** (hundredths(level_dbfs) / 1000))


def level_of(energy: int, heard_us: int) -> float | None:
    """The level, dBFS, of an energy; None where there is none."""
    if energy == 0 or heard_us == 0:
        return None
    return 10 * math.log10(energy / (heard_us * _UNIT))


def of_second(
    levels_dbfs: Mapping[str, float],
    heard_us: int,
    fast: dict[int, int],
    bands_dbfs: Iterable[float | None],
    *,
    overload: bool,
    under_range: bool,
) -> Tally:
    """The tally of one second.

    Args:
        levels_dbfs: By indicator; what did not settle is left out.
        heard_us: Microseconds that were heard.
        fast: Histogram of its samples of LAF.
        bands_dbfs: Third octaves from 20 Hz up, None for silence; empty where not measured.
        overload: It had an overload.
        under_range: Its level drowned in the microphone's own noise.
    """
    bands = tuple(
        0 if level_dbfs is None else energy(level_dbfs, heard_us) for level_dbfs in bands_dbfs
    )
    return Tally(
        heard_us=heard_us,
        energies={
            weight: energy(levels_dbfs[name], heard_us)
            for name, weight in _MEANS.items()
            if name in levels_dbfs and name != "LAE"
        },
        highest={name: hundredths(levels_dbfs[name]) for name in _HIGHEST if name in levels_dbfs},
        lowest={name: hundredths(levels_dbfs[name]) for name in _LOWEST if name in levels_dbfs},
        fast=fast,
        bands=bands,
        bands_us=heard_us if bands else 0,
        overload_s=int(overload),
        under_range_s=int(under_range),
    )


def merge(tallies: Iterable[Tally]) -> Tally:
    """All of them together, in whatever order and however grouped."""
    parts = tuple(tallies)
    energies: dict[str, int] = {}
    highest: dict[str, int] = {}
    lowest: dict[str, int] = {}
    for part in parts:
        for weight, amount in part.energies.items():
            energies[weight] = energies.get(weight, 0) + amount
        for name, level in part.highest.items():
            highest[name] = max(highest.get(name, level), level)
        for name, level in part.lowest.items():
            lowest[name] = min(lowest.get(name, level), level)
    # The rates of a stream differ at most in how many bands they carry.
    with_bands = [part.bands for part in parts if part.bands]
    return Tally(
        heard_us=sum(part.heard_us for part in parts),
        silent_us=sum(part.silent_us for part in parts),
        energies=energies,
        highest=highest,
        lowest=lowest,
        fast=merged(part.fast for part in parts),
        bands=tuple(map(sum, zip(*with_bands, strict=False))),
        bands_us=sum(part.bands_us for part in parts),
        overload_s=sum(part.overload_s for part in parts),
        under_range_s=sum(part.under_range_s for part in parts),
        heard=energies_merged(part.heard for part in parts),
    )


def moved(tally: Tally, by_db: float) -> Tally:
    """The tally as if everything had been louder by so much; histograms move by whole tenths."""
    factor = 10 ** (by_db / 10)
    return msgspec.structs.replace(
        tally,
        energies={weight: round(amount * factor) for weight, amount in tally.energies.items()},
        highest={name: level + hundredths(by_db) for name, level in tally.highest.items()},
        lowest={name: level + hundredths(by_db) for name, level in tally.lowest.items()},
        fast={level + round(10 * by_db): count for level, count in tally.fast.items()},
        bands=tuple(round(amount * factor) for amount in tally.bands),
        heard=scaled(tally.heard, factor),
    )


def level(tally: Tally, indicator: str) -> float | None:
    """An indicator of a tally, dBFS; None where nothing was heard or nothing had settled."""
    if indicator in _MEANS:
        mean = level_of(tally.energies.get(_MEANS[indicator], 0), tally.heard_us)
        if mean is None or indicator != "LAE":
            return mean
        return mean + 10 * math.log10(tally.heard_us / 1e6)
    if indicator in _HIGHEST:
        found = tally.highest.get(indicator)
    elif indicator in _LOWEST:
        found = tally.lowest.get(indicator)
    else:
        return exceeded(tally.fast, int(indicator[1:])) if tally.fast else None
    return None if found is None else found / 100


def band_levels(tally: Tally) -> tuple[float | None, ...]:
    """The third octaves of a tally, dBFS, from 20 Hz up."""
    return tuple(level_of(amount, tally.bands_us) for amount in tally.bands)
