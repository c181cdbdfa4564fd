"""One third-octave filter: a Butterworth band-pass of order 6 as a sum of one-pole filters.

By the bilinear transform at the meter's rate, both edges prewarped. Its twelve poles are six
conjugate pairs, so with the poles of positive frequencies alone

    H(z) = P(z) + conj P(conj z),        P(z) = d/2 + sum of r_k / (z - p_k)

P hardly hears negative frequencies, which leaves it a slow envelope on a carrier: its squared
magnitude, twice, has the mean square of the band already at every few samples. For the same reason
a low band runs at a low rate by keeping each n-th sample of P's response (poles p^n): it is then
the filter of the full rate still, and not one that the bilinear transform bent anew. A band close
to half of the rate is not free of negative frequencies, and is taken as it is.
"""

import math
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

_Complex: TypeAlias = npt.NDArray[np.complex128]

ORDER = 6
_EDGE = 10**0.05
# By its middle relative to its rate: how far apart a band's output is looked at. What two tones
# that seem alike there add to each other's mean square is then below -50 dB (0.03 dB).
_SPACING = ((0.14, 16), (0.27, 8), (0.334, 4))
# Above this part of the full rate P lets through too much of low tones, 74 dB below them and less.
# A real output has no fixed phase, so it takes a spacing at which no tone of the band recurs.
_REAL_FROM = 0.3
_SPACING_IF_REAL = 2


class BandPass(msgspec.Struct, frozen=True, kw_only=True):
    """A band's filter at its own rate, and where its output is looked at."""

    poles: _Complex
    """Those of positive frequencies, (ORDER,)."""
    residues: _Complex
    direct: float
    analytic: bool
    """The output is that of P alone, complex; else it is that of H."""
    spacing: int
    """Samples from one look at the output to the next."""


def band_pass(exact_hz: float, rate: float, fewer: int) -> BandPass:
    """The filter about `exact_hz` of sound at `rate` Hz, for each `fewer`-th sample of it."""
    poles, residues, direct = _designed(exact_hz, rate)
    analytic = exact_hz < _REAL_FROM * rate
    relative = exact_hz * fewer / rate
    spacings = (spacing for below, spacing in _SPACING if relative < below)
    return BandPass(
        poles=poles**fewer,
        residues=fewer * residues * poles ** (fewer - 1),
        direct=fewer * direct,
        analytic=analytic,
        spacing=next(spacings) if analytic else _SPACING_IF_REAL,
    )


def _designed(exact_hz: float, rate: float) -> tuple[_Complex, _Complex, float]:
    """Poles of positive frequencies, their residues, and d, at the full rate."""
    low, high = (math.tan(math.pi * exact_hz * edge / rate) for edge in (1 / _EDGE, _EDGE))
    width, centre2 = high - low, low * high
    angles = np.pi * (2 * np.arange(1, ORDER + 1) + ORDER - 1) / (2 * ORDER)
    halved = np.exp(1j * angles) * width / 2
    roots = np.sqrt(halved**2 - centre2)
    analogue = np.concatenate([halved + roots, halved - roots])
    poles = (1 + analogue) / (1 - analogue)
    # Zeros: half of them at z = 1, half at z = -1. The band-pass has 0 dB at its warped centre.
    middle = np.exp(2j * math.atan(math.sqrt(centre2)))
    direct = float(abs(np.prod(middle - poles) / (middle**2 - 1) ** ORDER))
    upper = poles[poles.imag > 0]
    residues = np.array(
        [
            direct * (pole**2 - 1) ** ORDER / np.prod(pole - poles[np.abs(poles - pole) > 0])
            for pole in upper
        ]
    )
    return upper, residues, direct
