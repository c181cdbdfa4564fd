"""Every fourth sample behind a low-pass, a block of samples at a time, as matrix products."""

import numpy as np

from edge_agent.acoustics.weighting import Float
from edge_agent.records import Samples

BY = 4
# Flat within 0.001 dB up to 0.094 of the rate, the upper edge of the highest band below; what folds
# into the bands, from 0.156 of the rate up, is 80 dB down.
_TAPS = 85
_BETA = 8.0


def low_pass() -> Float:
    """The impulse response, with a gain of 1 at 0 Hz."""
    place = np.arange(_TAPS) - _TAPS // 2
    response = np.sinc(place / BY) * np.kaiser(_TAPS, _BETA)
    return np.asarray(response / response.sum())


class Decimator:
    """Decimates a stream.

    Args:
        block: Samples in a block, a multiple of `BY`.
    """

    def __init__(self, block: int) -> None:
        response = low_pass()
        reach = -(-(_TAPS - 1) // block)
        # What a block gives its own outputs, and those of the blocks after it.
        self._matrices: list[Samples] = []
        for later in range(reach + 1):
            age = later * block + BY * np.arange(block // BY) - np.arange(block)[:, None]
            taps = np.where((age >= 0) & (age < _TAPS), response[np.clip(age, 0, _TAPS - 1)], 0.0)
            self._matrices.append(taps.astype(np.float32))
        self._past: Samples = np.zeros((reach, block), np.float32)

    def feed(self, blocks: Samples) -> Samples:
        """Of `blocks` (n, block) a fourth as many samples, in one row."""
        reach, count = len(self._past), len(blocks)
        joined = np.concatenate([self._past, blocks])
        kept = blocks @ self._matrices[0]
        for later in range(1, reach + 1):
            kept += joined[reach - later : reach - later + count] @ self._matrices[later]
        self._past = joined[count:].copy()
        return kept.ravel()

    def reset(self) -> None:
        """Forget the past."""
        self._past[:] = 0.0
