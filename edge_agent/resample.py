"""Conversion of sample rates: soxr at quality HQ, the same for training and for the street.

The converter holds samples back and gives them in bursts, so the time of an output sample follows
from its index and never from the moment it came out.
"""

import numpy as np
import soxr

from edge_agent.records import Samples

_QUALITY = "HQ"


class Resampler:
    """A stream of one channel at another rate; equal rates pass through.

    Args:
        rate_in: Hz, of what is pushed.
        rate_out: Hz, of what is given.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._stream = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(
                rate_in, rate_out, num_channels=1, dtype="float32", quality=_QUALITY
            )

    def push(self, samples: Samples) -> Samples:
        """Take the next samples, (n,); give what can be given already, often none."""
        return self._convert(samples, last=False)

    def flush(self) -> Samples:
        """What the filter still holds at the end of a stream, then start anew."""
        rest = self._convert(np.empty(0, np.float32), last=True)
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget the stream: the next sample is the first of a new one."""
        if self._stream is not None:
            self._stream.clear()

    def _convert(self, samples: Samples, *, last: bool) -> Samples:
        if self._stream is None:
            return samples
        converted: Samples = self._stream.resample_chunk(samples, last=last)
        return converted


def resample(samples: Samples, rate_in: int, rate_out: int) -> Samples:
    """A whole recording, (n,), at another rate."""
    if rate_in == rate_out:
        return samples
    converted: Samples = soxr.resample(samples, rate_in, rate_out, quality=_QUALITY)
    return converted
