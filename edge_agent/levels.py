"""The meter: blocks in, a reading for each UTC second out.

Levels by IEC 61672-1:2013, on the scale where the RMS of a full-scale sine is 0 dBFS (AES17), peaks
too: a full-scale sine has an LCpeak of +3.01. The signal is measured on a grid of about 1 ms that
begins with the stream; an interval is the grid steps whose middle lies in its UTC second, so a
second may be a step longer or shorter where the sound card's clock is not the wall clock. Time that
was measured is not measured again: where a block is stamped a little back, as when a stream begins,
its steps up to there count in no second.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.acoustics import tallies
from edge_agent.acoustics.ballistics import Ballistics, Speed
from edge_agent.acoustics.bands import Bank, held
from edge_agent.acoustics.percentiles import histogram
from edge_agent.acoustics.periods import bands_of, shifted
from edge_agent.acoustics.response import Correction, Response
from edge_agent.acoustics.weighting import RATES, Float, Weight, Weighting
from edge_agent.config import LevelsConfig
from edge_agent.records import OVERLOAD, Block, Calibration, LevelReading, Samples, Tally

GRID = {48000: (48, 250), 44100: (49, 225), 32000: (32, 250)}
"""By rate: samples in a grid step, steps in a frame of 0.25 s."""
_SECOND_NS = 1_000_000_000
# The RMS of a full-scale sine, not of a square, is 0 dBFS.
_SINE_DB = 10 * math.log10(2)
# Where nothing moves, a resampler ripples by less than this fraction of the value it stands at.
_RIPPLE = 1e-6
# No converter gives such a mean square (the last bit of 24 is 6e-15): it is the filters' memory,
# dying away in digital silence.
_NOTHING = 1e-16
# `noise_floor_dbfs` lies 3 dB below the microphone's own noise, and at 7 dB above it the noise adds
# 0.8 dB to a level, which is class 1's limit of linearity (IEC 61672-1:2013, 5.6).
_UNDER_RANGE_DB = 10.0
# Eight times the time constant of F, five times that of S: from there on less than 0.03 dB is
# missing of F and S, however loud it was before.
_SETTLED_S: dict[Speed, float] = {"F": 1.0, "S": 5.0}


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame, weighted; arrays with a row or an element per grid step."""

    raw: Samples
    sound: Float | Samples
    """The same, or corrected by the microphone's response."""
    mean: Float
    """Mean squares, A-weighted."""
    others: dict[Weight, Samples]
    """Samples by weightings other than A."""
    fast: Float
    slow: Float | None
    settled: dict[Speed, int]
    """The first step at which F or S has settled."""
    sampled: npt.NDArray[np.bool_]
    """Steps at whose end LAF is sampled for the percentiles."""
    overloaded: npt.NDArray[np.bool_] | None
    """Steps in which the source said that it clipped, if there are any."""


class _Interval:
    """What one UTC second has gathered so far; mean squares relative to full scale."""

    def __init__(self, second: int, block: Block) -> None:
        self.second = second
        self.microphone = block.microphone
        self.bandwidth_hz = block.bandwidth_hz
        self.synced = block.synced
        self.steps = 0
        self.energies: dict[Weight, float] = {}
        self.fast_max = 0.0
        self.fast_min = math.inf
        self.slow_max = 0.0
        self.peak = 0.0
        self.sampled: list[float] = []
        self.raw_min = math.inf
        self.raw_max = -math.inf
        self._own_samples = block.overloads is None
        self._overloaded = False

    def add(self, frame: _Frame, first: int, last: int) -> None:
        """Add the frame's steps from `first` up to `last`."""
        part = slice(first, last)
        self.steps += last - first
        self._gather("A", float(frame.mean[part].sum()))
        for weight, samples in frame.others.items():
            row = samples[part].ravel()
            self._gather(weight, float(row @ row) / samples.shape[1])
            if weight == "C":
                self.peak = max(self.peak, float(row.max()), -float(row.min()))
        self.fast_max = max(self.fast_max, float(frame.fast[part].max()))
        settled = slice(max(first, frame.settled["F"]), last)
        fast = frame.fast[settled]
        least = float(fast.min(initial=math.inf))
        if least <= _NOTHING:
            least = float(fast.min(initial=math.inf, where=fast > _NOTHING))
        self.fast_min = min(self.fast_min, least)
        self.sampled += [
            value for value in fast[frame.sampled[settled]].tolist() if value > _NOTHING
        ]
        if frame.slow is not None:
            slow = frame.slow[max(first, frame.settled["S"]) : last]
            self.slow_max = max(self.slow_max, float(slow.max(initial=0.0)))
        raw = frame.raw[part].ravel()
        self.raw_min = min(self.raw_min, float(raw.min()))
        self.raw_max = max(self.raw_max, float(raw.max()))
        if frame.overloaded is not None and frame.overloaded[part].any():
            self._overloaded = True

    def _gather(self, weight: Weight, energy: float) -> None:
        self.energies[weight] = self.energies.get(weight, 0.0) + energy

    @property
    def silent(self) -> bool:
        """All raw samples were equal: a dead microphone, not a quiet street."""
        return self.raw_max - self.raw_min <= _RIPPLE * max(self.raw_max, -self.raw_min)

    @property
    def overload(self) -> bool:
        """Some sample of the source was at an end of the scale."""
        clipped = self._own_samples and max(self.raw_max, -self.raw_min) >= OVERLOAD
        return clipped or self._overloaded

    def levels_dbfs(self) -> dict[str, float]:
        """What was measured, by indicator; what did not settle is left out."""
        mean_squares = {
            **{f"L{weight}eq": energy / self.steps for weight, energy in self.energies.items()},
            "LAFmax": self.fast_max,
            "LAFmin": self.fast_min if math.isfinite(self.fast_min) else 0.0,
            "LASmax": self.slow_max,
            "LCpeak": self.peak**2,
        }
        return {name: _dbfs(value) for name, value in mean_squares.items() if value > _NOTHING}


class Levels:
    """The meter of one microphone. Its rate is that of the first block.

    Args:
        settings: Which indicators; what none of them needs is not measured.
        calibration: Of the microphone; None gives dBFS, and names that say so.
        noise_floor_dbfs: Of the microphone, as configured; None: under-range is not known.
        response: Of the microphone; None: levels are not corrected.
    """

    def __init__(
        self,
        settings: LevelsConfig,
        calibration: Calibration | None = None,
        noise_floor_dbfs: float | None = None,
        response: Response | None = None,
    ) -> None:
        self._calibration = calibration
        self._noise_floor_dbfs = noise_floor_dbfs
        suffix = "" if calibration else "_dbfs"
        self._published = {f"{name}{suffix}": name for name in settings.indicators}
        measured = {*settings.indicators, *settings.slow_indicators}
        self._weights: tuple[Weight, ...] = ("A",)
        if measured & {"LCeq", "LCpeak"}:
            self._weights += ("C",)
        if "LZeq" in measured:
            self._weights += ("Z",)
        self._speeds: tuple[Speed, ...] = ("F", "S") if "LASmax" in measured else ("F",)
        self._third_octaves = settings.third_octaves
        self._response = response
        self._measured_ns = 0
        self._block: Block | None = None
        self._interval: _Interval | None = None
        self._set_up(RATES[0])

    def _set_up(self, rate: int) -> None:
        self._rate = rate
        self._step, steps = GRID[rate]
        self._weighting = Weighting(rate, self._step, steps, self._weights)
        self._correction = (
            None if self._response is None else Correction(self._response, rate, self._step, steps)
        )
        self._ballistics = Ballistics(rate, self._step, self._speeds)
        self._bank = Bank(rate) if self._third_octaves else None
        self._frame = np.empty(steps * self._step, dtype=np.float32)
        self._squares = np.empty((steps, self._step), np.float32)
        self._overloaded: npt.NDArray[np.bool_] | None = None
        self._filled = 0
        self._next_step_ns = 0
        self._since_reset = 0
        # The middle of each step of a frame, and of the one after it.
        middles = (np.arange(steps + 1) + 0.5) * self._step * (_SECOND_NS / rate)
        self._middles_ns = np.round(middles).astype(np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """The indicators as published: `LAeq`, or `LAeq_dbfs` without calibration."""
        return tuple(self._published)

    def feed(self, block: Block) -> list[LevelReading]:
        """The readings that this block completes.

        Raises:
            ValueError: The meter cannot take the block's rate, or it is not that of the first.
        """
        if block.rate != self._rate:
            if self._block is not None or block.rate not in GRID:
                taken = self._rate if self._block else ", ".join(map(str, GRID))
                raise ValueError(f"{block.rate} Hz, the meter takes {taken}")
            self._set_up(block.rate)
        readings: list[LevelReading] = []
        if block.missed:
            readings = self._measure()
            if self._correction is not None:
                self._correction.reset()
            self._weighting.reset()
            self._ballistics.reset()
            self._since_reset = 0
            if self._bank is not None:
                self._bank.reset()
        self._block = block
        used = 0
        while used < len(block.samples):
            if self._filled == 0:
                start_ns = block.start_ns + used * _SECOND_NS / self._rate
                # To the microsecond: finer digits would depend on the cuts.
                self._next_step_ns = round(start_ns / 1000) * 1000
            taken = min(len(self._frame) - self._filled, len(block.samples) - used)
            self._frame[self._filled : self._filled + taken] = block.samples[used : used + taken]
            if block.overloads is not None:
                self._mark(block.overloads, used, taken)
            self._filled += taken
            used += taken
            if self._filled == len(self._frame):
                readings += self._measure()
        return readings

    def next_made_ns(self) -> int:
        """No reading still to come is made before this, unless the clock is set back."""
        return (self._middle_ns(0) // _SECOND_NS + 1) * _SECOND_NS

    def finish(self) -> list[LevelReading]:
        """What the last samples complete; a part of a second gives no reading."""
        readings = self._measure()
        self._interval = None
        return readings

    def _mark(self, overloads: npt.NDArray[np.int64], used: int, taken: int) -> None:
        """Mark the steps of the frame that a block's overloads fall into."""
        within = overloads[(overloads >= used) & (overloads < used + taken)]
        if within.size:
            if self._overloaded is None:
                self._overloaded = np.zeros(len(self._frame) // self._step, np.bool_)
            self._overloaded[(self._filled + within - used) // self._step] = True

    def _middle_ns(self, step: int) -> int:
        return self._next_step_ns + int(self._middles_ns[step])

    def _measure(self) -> list[LevelReading]:
        """Measure the whole steps of the frame; less than a step is dropped, and not heard."""
        steps = self._filled // self._step
        overloaded, self._overloaded = self._overloaded, None
        self._filled = 0
        if steps == 0:
            return []
        middles_ns = self._next_step_ns + self._middles_ns[: steps + 1]
        frame = self._weighted(steps, middles_ns, overloaded)
        seconds = middles_ns // _SECOND_NS
        readings = []
        # Time measured before is skipped, unless the clock was set back by more.
        back_ns = self._measured_ns - self._next_step_ns
        step_ns = self._step * _SECOND_NS / self._rate
        first = min(steps, round(back_ns / step_ns)) if 0 < back_ns < _SECOND_NS else 0
        while first < steps:
            second = int(seconds[first])
            if self._interval is not None and self._interval.second != second:
                readings.append(self._close(self._interval))
            if self._interval is None:
                assert self._block is not None, "a frame is filled from a block"
                self._interval = _Interval(second, self._block)
            last = min(steps, int(np.searchsorted(seconds, second, side="right")))
            self._interval.add(frame, first, last)
            if self._bank is not None:
                self._bank.feed(frame.sound[first:last].ravel())
            if seconds[last] != second:
                readings.append(self._close(self._interval))
            first = last
        self._next_step_ns += round(steps * step_ns)
        self._measured_ns = self._next_step_ns
        return readings

    def _weighted(
        self,
        steps: int,
        middles_ns: npt.NDArray[np.int64],
        overloaded: npt.NDArray[np.bool_] | None,
    ) -> _Frame:
        raw = self._frame[: steps * self._step].reshape(steps, self._step)
        sound = raw.astype(np.float64)
        if self._correction is not None:
            sound = self._correction.filter(sound)
        weighted = dict(zip(self._weights, self._weighting.filter(sound), strict=True))
        squares = np.square(weighted.pop("A"), out=self._squares[:steps])
        mean, fast, *slow = self._ballistics.feed(squares)
        # LAF at the grid point nearest to each eighth of a second.
        eighths = middles_ns // (_SECOND_NS // 8)
        frame = _Frame(
            raw=raw,
            sound=raw if self._correction is None else sound,
            mean=mean,
            others=weighted,
            fast=fast,
            slow=slow[0] if slow else None,
            settled={
                speed: self._settled_at(seconds, steps) for speed, seconds in _SETTLED_S.items()
            },
            sampled=eighths[1:] != eighths[:-1],
            overloaded=overloaded,
        )
        self._since_reset += steps
        return frame

    def _settled_at(self, seconds: float, steps: int) -> int:
        needed = round(seconds * self._rate / self._step)
        return min(steps, max(0, needed - self._since_reset))

    def _close(self, interval: _Interval) -> LevelReading:
        self._interval = None
        bands = self._bank.take() if self._bank is not None else []
        if interval.bandwidth_hz < self._rate / 2:
            # Above there is only what the resampler left.
            bands = bands[: held(interval.bandwidth_hz)]
        heard_s = interval.steps * self._step / self._rate
        levels = {} if interval.silent else interval.levels_dbfs()
        offset_db = self._calibration.offset_db if self._calibration else 0.0
        values: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        for name, indicator in self._published.items():
            level_dbfs = _published(levels, indicator, heard_s)
            values[name] = shifted(level_dbfs, offset_db)
            if level_dbfs is None:
                reasons[name] = "settling" if "LAeq" in levels else "silent_input"
        floor_dbfs = self._noise_floor_dbfs
        under_range = (
            floor_dbfs is not None
            and "LAeq" in levels
            and levels["LAeq"] < floor_dbfs + _UNDER_RANGE_DB
        )
        bands_dbfs = tuple(_dbfs(value) if value and "LAeq" in levels else None for value in bands)
        return LevelReading(
            id="",
            microphone=interval.microphone,
            period_s=1,
            start_ns=interval.second * _SECOND_NS,
            made_ns=(interval.second + 1) * _SECOND_NS,
            values=values,
            reasons=reasons,
            heard_s=heard_s,
            bandwidth_hz=interval.bandwidth_hz,
            overload=interval.overload,
            under_range=under_range,
            calibration=self._calibration,
            synced=interval.synced,
            bands=bands_of(bands_dbfs, offset_db),
            tally=_tally(interval, levels, bands_dbfs, heard_s, under_range=under_range),
        )


def _published(levels: dict[str, float], indicator: str, heard_s: float) -> float | None:
    if indicator == "LAE" and "LAeq" in levels:
        return levels["LAeq"] + 10 * math.log10(heard_s)
    return levels.get(indicator)


def _tally(
    interval: _Interval,
    levels: dict[str, float],
    bands_dbfs: tuple[float | None, ...],
    heard_s: float,
    *,
    under_range: bool,
) -> Tally:
    heard_us = round(heard_s * 1e6)
    if "LAeq" not in levels:
        return Tally(silent_us=heard_us, overload_s=int(interval.overload))
    return tallies.of_second(
        levels,
        heard_us,
        histogram(10 * np.log10(np.array(interval.sampled)) + _SINE_DB),
        bands_dbfs,
        overload=interval.overload,
        under_range=under_range,
    )


def _dbfs(mean_square: float) -> float:
    return 10 * math.log10(mean_square) + _SINE_DB
