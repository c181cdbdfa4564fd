"""Minutes, quarters of an hour and hours of UTC, merged from the seconds of one microphone.

A period is told when its last second is, or, where that was not heard, with the first second after
it. Seconds of different calibrations are not mixed: the period then begins anew, and `heard_s` says
so. After a restart the seconds of the hour that the store still has are merged first, and the hour
is the same as if nothing had happened.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from edge_agent.acoustics import tallies
from edge_agent.acoustics.bands import NOMINAL_HZ
from edge_agent.energies import shares
from edge_agent.records import Bands, LevelReading, Tally

Earlier: TypeAlias = Callable[[int, int], Iterable[LevelReading]]
"""The seconds that an earlier start measured between two times, nanoseconds UTC."""

PERIODS_S = (60, 900, 3600)
_SECOND_NS = 1_000_000_000


class Periods:
    """Merges readings of a second into slower ones.

    Args:
        indicators: What the slower readings give; without any there are none.
        earlier: What an earlier start measured; asked once, when the first minute is over, since
            at the start there is other work to do.
    """

    def __init__(self, indicators: tuple[str, ...], earlier: Earlier | None = None) -> None:
        self._indicators = indicators
        self._earlier = earlier
        self._since_start: list[LevelReading] = []
        self._open: list[list[LevelReading]] = [[] for _ in PERIODS_S]

    def feed(self, second: LevelReading) -> list[LevelReading]:
        """The periods that this second completes or leaves behind, shorter ones first."""
        if not self._indicators:
            return []
        told = self._merge(second)
        if self._earlier is None:
            return told
        self._since_start.append(second)
        return self._merged_again(self._earlier) if told else []

    def _merged_again(self, earlier: Earlier) -> list[LevelReading]:
        """What has not been told yet of this hour, with what was measured before the start."""
        first = self._since_start[0]
        before = [
            one
            for one in earlier(_begin_ns(first, -1), first.start_ns)
            if one.synced == first.synced
        ]
        self._open = [[] for _ in PERIODS_S]
        told = [one for part in (*before, *self._since_start) for one in self._merge(part)]
        self._earlier = None
        self._since_start = []
        return [one for one in told if one.made_ns >= first.made_ns]

    def _merge(self, second: LevelReading) -> list[LevelReading]:
        told: list[LevelReading] = []
        for index, parts in enumerate(self._open):
            if parts and _begin_ns(parts[0], index) != _begin_ns(second, index):
                told += self._close(index, second.made_ns)
        return [*told, *self._add(0, second, second.made_ns)]

    def _add(self, index: int, part: LevelReading, made_ns: int) -> list[LevelReading]:
        parts = self._open[index]
        if parts and parts[-1].calibration != part.calibration:
            parts.clear()
        parts.append(part)
        end_ns = _begin_ns(part, index) + PERIODS_S[index] * _SECOND_NS
        if part.start_ns + part.period_s * _SECOND_NS < end_ns:
            return []
        return self._close(index, made_ns)

    def _close(self, index: int, made_ns: int) -> list[LevelReading]:
        parts, self._open[index] = self._open[index], []
        whole = _reading(
            parts, PERIODS_S[index], _begin_ns(parts[0], index), made_ns, self._indicators
        )
        if index + 1 == len(PERIODS_S):
            return [whole]
        above = self._open[index + 1]
        told: list[LevelReading] = []
        # A clock that was set back may have left the period above open elsewhere.
        if above and _begin_ns(above[0], index + 1) != _begin_ns(whole, index + 1):
            told = self._close(index + 1, made_ns)
        return [whole, *told, *self._add(index + 1, whole, made_ns)]


def _begin_ns(part: LevelReading, index: int) -> int:
    period_ns = PERIODS_S[index] * _SECOND_NS
    return part.start_ns // period_ns * period_ns


def _reading(
    parts: list[LevelReading],
    period_s: int,
    start_ns: int,
    made_ns: int,
    indicators: tuple[str, ...],
) -> LevelReading:
    tally = tallies.merge(part.tally for part in parts)
    calibration = parts[-1].calibration
    offset_db = calibration.offset_db if calibration else 0.0
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for indicator in indicators:
        name = indicator if calibration else f"{indicator}_dbfs"
        level_dbfs = tallies.level(tally, indicator)
        values[name] = shifted(level_dbfs, offset_db)
        if level_dbfs is None:
            reasons[name] = _reason(tally)
    return LevelReading(
        id="",
        microphone=parts[-1].microphone,
        period_s=period_s,
        start_ns=start_ns,
        made_ns=made_ns,
        values=values,
        reasons=reasons,
        heard_s=tally.heard_us / 1e6,
        bandwidth_hz=min(part.bandwidth_hz for part in parts),
        overload=tally.overload_s > 0,
        under_range=tally.under_range_s > 0,
        calibration=calibration,
        synced=all(part.synced for part in parts),
        bands=bands_of(tallies.band_levels(tally), offset_db),
        shares=shares(tally.heard, shifted(tallies.level(tally, "LAeq"), offset_db)),
        tally=tally,
    )


def shifted(level_dbfs: float | None, offset_db: float) -> float | None:
    """A level on the calibrated scale, or on full scale's with offset 0."""
    return None if level_dbfs is None else level_dbfs + offset_db


def bands_of(levels_dbfs: tuple[float | None, ...], offset_db: float) -> Bands | None:
    """Third octaves as a reading has them; None where none were measured."""
    if not levels_dbfs:
        return None
    return Bands(
        hz=NOMINAL_HZ[: len(levels_dbfs)],
        levels=tuple(shifted(level_dbfs, offset_db) for level_dbfs in levels_dbfs),
    )


def _reason(tally: Tally) -> str:
    if tally.heard_us:
        return "settling"
    return "silent_input" if tally.silent_us else "not_heard"
