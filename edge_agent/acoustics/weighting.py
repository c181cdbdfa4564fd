"""The A frequency weighting of IEC 61672-1:2013 as an IIR filter, in numpy without a Python loop.

The filter is a cascade: matched-z sections for the low poles of Annex E and two fitted biquads in
place of the pole pair at 12.2 kHz, which no bilinear or matched-z design keeps within 0.05 dB at
these rates. It runs as a block state-space: for a block x of `STEP` samples that starts in state s,

    y = T x + O s        s' = M s + B x

so that everything but the recursion over blocks is a matrix product, and the recursion is a
doubling scan of eight passes. Frames have one fixed shape, since BLAS rounds by shape: that is what
makes the result independent of how the stream was cut.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float: TypeAlias = npt.NDArray[np.float64]

# IEC 61672-1:2013, Annex E: the poles follow from 1000 Hz, 10^1.5, 10^3.9 and 10^2.45.
_F1_HZ = 20.598997057618
_F2_HZ = 107.652648643046
_F3_HZ = 737.862230736290

# Biquads b1, b2, a1, a2 (b0 = a0 = 1), fitted to the analytic A and C curves from 10 Hz to 20 kHz
# together; the largest deviation is 0.0008 dB. tests/test_weighting.py recomputes it.
_FITTED = {
    48000: (
        (1.074113599688, 0.268409396770, 0.432662826001, -0.128905547491),
        (0.160197510945, -0.000718632320, 0.094426268599, -0.060272894053),
    ),
}

RATES = tuple(_FITTED)
"""Rates in Hz that the meter takes."""


def sections(rate: int) -> list[tuple[Float, Float]]:
    """The cascade at `rate` Hz as pairs of polynomials (b, a) in z^-1, 0 dB at 1 kHz."""
    high_passes = [
        (np.array([1.0, -1.0]), np.array([1.0, -np.exp(-2 * np.pi * pole_hz / rate)]))
        for pole_hz in (_F1_HZ, _F1_HZ, _F2_HZ, _F3_HZ)
    ]
    biquads = [
        (np.array([1.0, b1, b2]), np.array([1.0, a1, a2])) for b1, b2, a1, a2 in _FITTED[rate]
    ]
    cascade = high_passes + biquads
    z = np.exp(2j * np.pi * 1000.0 / rate)
    gain = 1.0
    for b, a in cascade:
        gain *= float(abs(np.polyval(b[::-1], 1 / z) / np.polyval(a[::-1], 1 / z)))
    first_b, first_a = cascade[0]
    return [(first_b / gain, first_a), *cascade[1:]]


class AWeighting:
    """A-weights a stream, a frame at a time.

    Args:
        rate: Hz, one of `RATES`.
        step: Samples in a block of the state-space.
        steps: The most blocks in a frame.
    """

    def __init__(self, rate: int, step: int, steps: int) -> None:
        a, b, c, d = _state_space(sections(rate))
        order = len(a)
        self._observe = np.empty((order, step))
        response = np.empty(step)
        response[0] = d
        state = b.copy()
        row = c.copy()
        for j in range(step):
            self._observe[:, j] = row
            row = row @ a
            if j + 1 < step:
                response[j + 1] = c @ state
                state = a @ state
        self._toeplitz = np.zeros((step, step))
        for j in range(step):
            self._toeplitz[j, j:] = response[: step - j]
        self._drive = np.empty((step, order))
        column = b.copy()
        for j in range(step - 1, -1, -1):
            self._drive[j] = column
            column = a @ column
        power = np.linalg.matrix_power(a, step)
        self._powers: list[Float] = []
        distance = 1
        while distance <= steps:
            self._powers.append(power.T.copy())
            power = power @ power
            distance *= 2
        self._state = np.zeros(order)

    def filter(self, blocks: Float) -> Float:
        """Weighted samples, (steps, step) float64 like `blocks`; the state moves on."""
        states = np.empty((len(blocks) + 1, len(self._state)))
        states[0] = self._state
        states[1:] = blocks @ self._drive
        distance = 1
        for power in self._powers:
            if distance > len(blocks):
                break
            states[distance:] += states[:-distance] @ power
            distance *= 2
        self._state = states[-1].copy()
        return np.asarray(blocks @ self._toeplitz + states[:-1] @ self._observe)

    def reset(self) -> None:
        """Forget the past: the stream begins anew."""
        self._state[:] = 0.0


def _state_space(cascade: list[tuple[Float, Float]]) -> tuple[Float, Float, Float, float]:
    """A, B, C, D of sections in series, each in observer form."""
    a = np.zeros((0, 0))
    b = np.zeros(0)
    c = np.zeros(0)
    d = 1.0
    for numerator, denominator in cascade:
        order = len(denominator) - 1
        a2 = np.eye(order, k=1)
        a2[:, 0] -= denominator[1:]
        b2 = numerator[1:] - denominator[1:] * numerator[0]
        c2 = np.eye(order)[0]
        a = np.block([[a, np.zeros((len(a), order))], [np.outer(b2, c), a2]])
        b = np.concatenate([b, b2 * d])
        c = np.concatenate([c * numerator[0], c2])
        d *= float(numerator[0])
    return a, b, c, d
