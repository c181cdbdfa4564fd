"""Where a source's own samples lay at an end of the scale, told of the sound that is made of them.

A resampler rounds a peak off and a mean of channels hides one, so whether a converter clipped can
be asked only of what it gave.
"""

import numpy as np
import numpy.typing as npt

from edge_agent.records import OVERLOAD, Samples

_NONE = np.empty(0, np.int64)


class Overloads:
    """Overloaded samples of one stretch of sound, by their place in what it is resampled to.

    Args:
        rate_in: Hz, of the source.
        rate_out: Hz, of the blocks.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._rate_in = rate_in
        self._rate_out = rate_out
        self._pushed = 0
        self._taken = 0
        self._waiting: npt.NDArray[np.int64] = _NONE

    def push(self, samples: Samples) -> None:
        """Judge the next samples of the source, (n,) or (n, channels)."""
        loudest = np.abs(samples)
        if loudest.size and loudest.max() >= OVERLOAD:
            at = np.flatnonzero((loudest >= OVERLOAD).reshape(len(samples), -1).any(axis=1))
            places = (self._pushed + at) * self._rate_out // self._rate_in
            self._waiting = np.concatenate([self._waiting, places])
        self._pushed += len(samples)

    def take(self, count: int) -> npt.NDArray[np.int64]:
        """Those within the next `count` resampled samples, 0 to `count` - 1, rising."""
        end = self._taken + count
        waiting = self._waiting
        split = int(np.searchsorted(waiting, end))
        self._waiting = waiting[split:]
        within = waiting[:split] - self._taken
        self._taken = end
        return within

    def reset(self) -> None:
        """Begin a new stretch; what was not taken is forgotten."""
        self._pushed = self._taken = 0
        self._waiting = _NONE
