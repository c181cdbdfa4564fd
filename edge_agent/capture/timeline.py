"""The time of captured sound: a line from sample index to UTC that follows the clock slowly.

Sample counts are laid on the monotonic clock, and the monotonic clock on UTC, each by a line of
its own: a block that comes late is told from a wall clock that was set. Either line is corrected
by at most 500 ppm (a crystal is within 100), so that times never run back, except where the wall
clock was set by more than half a second: then the line starts anew with the next block.
"""

from edge_agent.clock import Clock

_NS = 1_000_000_000
_TIME_CONSTANT_S = 120.0
_SLEW = 500e-6
_STEP_NS = _NS // 2
_LOST_AFTER_S = 10.0
_SETTLING_S = 5.0
"""A block is late at times but never early, so at first the line moves to the earliest."""


class Timeline:
    """Stamps the blocks of one stream.

    Args:
        clock: Who says what time it is.
        rate: Samples per second of the stream, Hz.
    """

    def __init__(self, clock: Clock, rate: int) -> None:
        self._clock = clock
        self._rate = rate
        self._offset_ns = clock.utc_ns() - clock.monotonic_ns()
        self._anchored = False
        self._first = 0
        self._line_ns = 0.0
        self._late_s = 0.0
        self._settled_s = 0.0

    def restart(self) -> None:
        """Lay the next block where it arrives: there was a gap of unknown length before it."""
        self._anchored = False

    def late_samples(self, first: int, monotonic_ns: int) -> int:
        """How far behind its place in the stream a block was captured; 0 before the first."""
        if not self._anchored:
            return 0
        return round((monotonic_ns - self._place_ns(first)) * self._rate / _NS)

    def stamp(self, first: int, samples: int, monotonic_ns: int) -> tuple[int, bool]:
        """Time of a block's first sample (nanoseconds UTC), and whether the clock is synchronised.

        Args:
            first: Index of the block's first sample in the stream, lost samples counted.
            samples: Length of the block.
            monotonic_ns: When its first sample was captured, as far as its arrival tells.
        """
        duration_s = samples / self._rate
        self._follow_sound(first, duration_s, monotonic_ns)
        self._follow_utc(duration_s)
        return round(self._line_ns) + self._offset_ns, self._clock.synced()

    def _place_ns(self, first: int) -> float:
        return self._line_ns + (first - self._first) * _NS / self._rate

    def _follow_sound(self, first: int, duration_s: float, monotonic_ns: int) -> None:
        place_ns = self._place_ns(first)
        error_ns = monotonic_ns - place_ns
        # A burst after a stall is late for a moment; what stays late lost sound before it.
        self._late_s = self._late_s + duration_s if error_ns > _STEP_NS else 0.0
        if not self._anchored or self._late_s > _LOST_AFTER_S:
            self._anchored, self._late_s, self._settled_s = True, 0.0, 0.0
            place_ns = float(monotonic_ns)
        elif error_ns < 0 and self._settled_s < _SETTLING_S:
            place_ns += max(error_ns, -duration_s * _NS / 2)
        else:
            place_ns += _slewed(error_ns, duration_s)
        self._settled_s += duration_s
        self._first, self._line_ns = first, place_ns

    def _follow_utc(self, duration_s: float) -> None:
        error_ns = self._clock.utc_ns() - self._clock.monotonic_ns() - self._offset_ns
        if abs(error_ns) > _STEP_NS:
            self._offset_ns += error_ns
        else:
            self._offset_ns += round(_slewed(error_ns, duration_s))


def _slewed(error_ns: float, duration_s: float) -> float:
    most_ns = _SLEW * duration_s * _NS
    return max(-most_ns, min(most_ns, error_ns * duration_s / _TIME_CONSTANT_S))
