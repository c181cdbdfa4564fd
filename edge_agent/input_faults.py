"""What a microphone's sound says about the microphone: dead, stuck, dc, clipped, too quiet.

Judged in frames of a quarter of a second on a grid of the samples, so that nothing depends on how
the blocks were cut. Time is time heard: through a gap, what stands stands.
"""

from collections import deque

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.records import OVERLOAD, Block, LevelReading, Samples

FRAME_S = 0.25
_CLEAR_S = 10.0
_ONE_VALUE = 2e-6
"""A resampler ripples by less, and no converter's step is so small that sound would hide in it."""
_DC = 0.05
_DC_TO_AC = 3.0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When a fault comes and goes, counted in what is judged: frames, or seconds' levels."""

    raise_after: int
    clear_after: int
    window: int = 1
    """How many of the last are looked at."""
    limit: float = 0.0
    """The share of the window that may be ill in health."""


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_S)


RULES = {
    "clipped": Rule(
        raise_after=_frames(60), clear_after=_frames(_CLEAR_S), window=_frames(60), limit=0.01
    ),
    "dc": Rule(raise_after=_frames(60), clear_after=_frames(_CLEAR_S)),
    "dead": Rule(raise_after=_frames(5), clear_after=_frames(_CLEAR_S)),
    "stuck": Rule(raise_after=_frames(5), clear_after=_frames(_CLEAR_S)),
    "too_quiet": Rule(raise_after=600, clear_after=round(_CLEAR_S)),
}
"""All faults of the input. `too_quiet` is judged by each second's level."""


class Watch:
    """One fault with its hysteresis.

    It comes when its condition held for `raise_after` in a row and holds at this very moment, and
    goes when the condition did not hold for `clear_after` in a row: so it stands for at least the
    one time and stays away for at least the other.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._window: deque[bool] = deque((False,) * rule.window)
        self._ill = 0
        self._run = 0
        self.standing = False

    def feed(self, ill: bool) -> None:
        """Take the next judgement."""
        self._window.append(ill)
        self._ill += ill - self._window.popleft()
        unwell = self._ill > self._rule.limit * self._rule.window
        self._run = self._run + 1 if unwell != self.standing else 0
        # Only the ill moment raises: one bang is in the window for a minute, and no fault.
        if not self.standing and ill and self._run >= self._rule.raise_after:
            self.standing, self._run = True, 0
        elif self.standing and self._run >= self._rule.clear_after:
            self.standing, self._run = False, 0


class InputFaults:
    """The faults of one microphone's input.

    Args:
        noise_floor_dbfs: An LAeq below this for ten minutes is too quiet; None: never is.
    """

    def __init__(self, noise_floor_dbfs: float | None = None) -> None:
        self._floor_dbfs = noise_floor_dbfs
        self._watches = {name: Watch(rule) for name, rule in RULES.items()}
        self._frame = np.empty(0, np.float32)
        self._filled = 0

    @property
    def standing(self) -> tuple[str, ...]:
        """Those that hold now, sorted."""
        return tuple(name for name, watch in self._watches.items() if watch.standing)

    def block(self, block: Block) -> None:
        """Judge the frames that this block completes."""
        size = round(block.rate * FRAME_S)
        if len(self._frame) != size:
            self._frame, self._filled = np.empty(size, np.float32), 0
        if block.missed:
            self._filled = 0
        used = 0
        while used < len(block.samples):
            if self._filled == 0 and used + size <= len(block.samples):
                self._judge(block.samples[used : used + size])
                used += size
                continue
            taken = min(size - self._filled, len(block.samples) - used)
            self._frame[self._filled : self._filled + taken] = block.samples[used : used + taken]
            self._filled += taken
            used += taken
            if self._filled == size:
                self._filled = 0
                self._judge(self._frame)

    def reading(self, reading: LevelReading) -> None:
        """Judge a second's level; one without a level says nothing."""
        if self._floor_dbfs is None:
            return
        offset_db = reading.calibration.offset_db if reading.calibration else 0.0
        level_db = reading.values.get("LAeq" if reading.calibration else "LAeq_dbfs")
        if level_db is not None:
            self._watches["too_quiet"].feed(level_db - offset_db < self._floor_dbfs)

    def _judge(self, frame: Samples) -> None:
        low, high = float(np.minimum.reduce(frame)), float(np.maximum.reduce(frame))
        one_value = high - low <= _ONE_VALUE
        dead = low == high == 0.0
        self._watches["dead"].feed(dead)
        self._watches["stuck"].feed(one_value and not dead)
        # What does not move has its own name: it has neither a mean to speak of nor peaks.
        self._watches["dc"].feed(not one_value and max(-low, high) > _DC and _has_dc(frame))
        self._watches["clipped"].feed(not one_value and _is_clipped(frame, low, high))


def _has_dc(frame: Samples) -> bool:
    mean = float(np.add.reduce(frame)) / len(frame)
    return abs(mean) > _DC and abs(mean) > _DC_TO_AC * float(frame.std())


def _is_clipped(frame: Samples, low: float, high: float) -> bool:
    """Whether three samples in a row lie at one end of the scale."""
    return (high >= OVERLOAD and _has_run(frame >= OVERLOAD)) or (
        low <= -OVERLOAD and _has_run(frame <= -OVERLOAD)
    )


def _has_run(at: npt.NDArray[np.bool_]) -> bool:
    """Whether three in a row are true."""
    return bool((at[:-2] & at[1:-1] & at[2:]).any())
