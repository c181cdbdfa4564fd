"""The meter: blocks in, a reading for each UTC second out.

LAeq and LAFmax by IEC 61672-1:2013, on the scale where the RMS of a full-scale sine is 0 dBFS
(AES17). The signal is measured on a grid of 1 ms that begins with the stream; an interval is the
grid steps whose middle lies in its UTC second, so a second may be a step longer or shorter where
the sound card's clock is not the wall clock. Time that was measured is not measured again: where a
block is stamped a little back, as when a stream begins, its steps up to there count in no second.
"""

import math

import numpy as np

from edge_agent.acoustics.ballistics import FastWeighting
from edge_agent.acoustics.response import Correction, Response
from edge_agent.acoustics.weighting import RATES, AWeighting, Float
from edge_agent.config import Indicator, LevelsConfig
from edge_agent.records import Block, Calibration, LevelReading, Samples

_SECOND_NS = 1_000_000_000
_STEP_NS = 1_000_000
_FRAME_STEPS = 250
# The RMS of a full-scale sine, not of a square, is 0 dBFS.
_SINE_DB = 10 * math.log10(2)
# At or beyond this fraction of full scale the converter is taken to have clipped.
_OVERLOAD = 0.999


class _Interval:
    """What one UTC second has gathered so far."""

    def __init__(self, second: int, block: Block) -> None:
        self.second = second
        self.microphone = block.microphone
        self.bandwidth_hz = block.bandwidth_hz
        self.synced = block.synced
        self.steps = 0
        self.energy = 0.0
        self.fast_max = 0.0
        self.raw_min = math.inf
        self.raw_max = -math.inf

    def add(self, energy: Float, fast: Float, raw: Samples) -> None:
        """Add grid steps: mean squares (n,), F readings (n,), the raw samples (n, step)."""
        self.steps += len(energy)
        self.energy += math.fsum(energy)
        self.fast_max = max(self.fast_max, float(fast.max()))
        self.raw_min = min(self.raw_min, float(raw.min()))
        self.raw_max = max(self.raw_max, float(raw.max()))

    @property
    def silent(self) -> bool:
        """All raw samples were equal: a dead microphone, not a quiet street."""
        return self.raw_min == self.raw_max

    @property
    def overload(self) -> bool:
        """Some raw sample was at an end of the scale."""
        return max(self.raw_max, -self.raw_min) >= _OVERLOAD

    def mean_square(self, indicator: Indicator) -> float:
        """The weighted mean square that the indicator is the level of."""
        return self.energy / self.steps if indicator == "LAeq" else self.fast_max


class Levels:
    """The meter of one microphone.

    Args:
        settings: Which indicators.
        calibration: Of the microphone; None gives dBFS, and names that say so.
        response: Of the microphone; None: levels are not corrected.
    """

    def __init__(
        self,
        settings: LevelsConfig,
        calibration: Calibration | None = None,
        response: Response | None = None,
    ) -> None:
        self._calibration = calibration
        suffix = "" if calibration else "_dbfs"
        self._published = {f"{name}{suffix}": name for name in settings.indicators}
        self._rate = RATES[0]
        self._step = self._rate // 1000
        self._weighting = AWeighting(self._rate, self._step, _FRAME_STEPS)
        self._correction = (
            None if response is None else Correction(response, self._rate, self._step, _FRAME_STEPS)
        )
        self._fast = FastWeighting(self._rate, self._step)
        self._frame = np.empty(_FRAME_STEPS * self._step, dtype=np.float32)
        self._filled = 0
        self._next_step_ns = 0
        self._measured_ns = 0
        self._block: Block | None = None
        self._interval: _Interval | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The indicators as published: `LAeq`, or `LAeq_dbfs` without calibration."""
        return tuple(self._published)

    def feed(self, block: Block) -> list[LevelReading]:
        """The readings that this block completes.

        Raises:
            ValueError: The block is not at 48 kHz.
        """
        if block.rate != self._rate:
            raise ValueError(f"{block.rate} Hz, the meter takes {self._rate}")
        readings: list[LevelReading] = []
        if block.missed:
            readings = self._measure()
            if self._correction is not None:
                self._correction.reset()
            self._weighting.reset()
            self._fast.reset()
        self._block = block
        used = 0
        while used < len(block.samples):
            if self._filled == 0:
                self._next_step_ns = block.start_ns + round(used * 1e9 / self._rate)
            taken = min(len(self._frame) - self._filled, len(block.samples) - used)
            self._frame[self._filled : self._filled + taken] = block.samples[used : used + taken]
            self._filled += taken
            used += taken
            if self._filled == len(self._frame):
                readings += self._measure()
        return readings

    def next_made_ns(self) -> int:
        """No reading still to come is made before this, unless the clock is set back."""
        return (_second_of(self._next_step_ns) + 1) * _SECOND_NS

    def finish(self) -> list[LevelReading]:
        """What the last samples complete; a part of a second gives no reading."""
        readings = self._measure()
        self._interval = None
        return readings

    def _measure(self) -> list[LevelReading]:
        """Measure the whole steps of the frame; less than a step is dropped, and not heard."""
        steps = self._filled // self._step
        self._filled = 0
        if steps == 0:
            return []
        raw = self._frame[: steps * self._step].reshape(steps, self._step)
        sound = raw.astype(np.float64)
        if self._correction is not None:
            sound = self._correction.filter(sound)
        squares = np.square(self._weighting.filter(sound))
        energy = squares.mean(axis=1)
        fast = self._fast.feed(squares)
        readings = []
        first = min(steps, self._steps_again())
        self._next_step_ns += first * _STEP_NS
        while first < steps:
            second = _second_of(self._next_step_ns)
            if self._interval is not None and self._interval.second != second:
                readings.append(self._close(self._interval))
            if self._interval is None:
                assert self._block is not None, "a frame is filled from a block"
                self._interval = _Interval(second, self._block)
            count = min(steps - first, _steps_to_end(self._next_step_ns, second))
            part = slice(first, first + count)
            self._interval.add(energy[part], fast[part], raw[part])
            first += count
            self._next_step_ns += count * _STEP_NS
            if _second_of(self._next_step_ns) != second:
                readings.append(self._close(self._interval))
        self._measured_ns = self._next_step_ns
        return readings

    def _steps_again(self) -> int:
        """Steps that lie in time measured before, unless the clock was set back."""
        back_ns = self._measured_ns - self._next_step_ns
        return round(back_ns / _STEP_NS) if 0 < back_ns < _SECOND_NS else 0

    def _close(self, interval: _Interval) -> LevelReading:
        self._interval = None
        offset_db = self._calibration.offset_db if self._calibration else 0.0
        values: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        for name, indicator in self._published.items():
            mean_square = interval.mean_square(indicator)
            if interval.silent or mean_square == 0.0:
                values[name] = None
                reasons[name] = "silent_input"
            else:
                values[name] = 10 * math.log10(mean_square) + _SINE_DB + offset_db
        return LevelReading(
            id="",
            microphone=interval.microphone,
            period_s=1,
            start_ns=interval.second * _SECOND_NS,
            made_ns=(interval.second + 1) * _SECOND_NS,
            values=values,
            reasons=reasons,
            heard_s=interval.steps * _STEP_NS / _SECOND_NS,
            bandwidth_hz=interval.bandwidth_hz,
            overload=interval.overload,
            under_range=False,
            calibration=self._calibration,
            synced=interval.synced,
        )


def _second_of(step_ns: int) -> int:
    """The UTC second that the middle of the step starting at `step_ns` lies in."""
    return (step_ns + _STEP_NS // 2) // _SECOND_NS


def _steps_to_end(step_ns: int, second: int) -> int:
    """Steps from the one at `step_ns` up to the end of `second`, at least one."""
    return max(1, -((step_ns + _STEP_NS // 2 - (second + 1) * _SECOND_NS) // _STEP_NS))
