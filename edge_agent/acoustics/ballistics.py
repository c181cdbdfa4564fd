"""The time weightings F and S of IEC 61672-1:2013, clause 5.8, and the plain mean beside them.

The squared weighted signal is averaged exactly at every sample, with tau = 0.125 s (F) or 1 s (S),
and read on the meter's grid (about 1 ms). Only a maximum between two grid points is missed: at most
10 lg e^(1/112) = 0.04 dB.
"""

from typing import Literal, TypeAlias

import numpy as np

from edge_agent.acoustics.weighting import Float

Speed: TypeAlias = Literal["F", "S"]

TAU_S: dict[Speed, float] = {"F": 0.125, "S": 1.0}
"""Time constants, s: IEC 61672-1:2013, 3.8."""

# The scan divides by powers of the decay. All terms are positive, so nothing cancels, and over 250
# steps of 1.1 ms the powers stay within a factor of 10.
_PIECE = 250


class Ballistics:
    """The mean square of each grid step of a stream, and its F- and S-weighted mean squares.

    Args:
        rate: Hz.
        step: Samples between two readings.
        speeds: Which to compute.
    """

    def __init__(self, rate: int, step: int, speeds: tuple[Speed, ...]) -> None:
        ages = np.arange(step - 1, -1, -1)
        self._weights = np.empty((step, 1 + len(speeds)))
        self._weights[:, 0] = 1 / step
        self._decays = []
        for number, speed in enumerate(speeds, start=1):
            samples = rate * TAU_S[speed]
            # A steady tone reads its mean square.
            self._weights[:, number] = (1 - np.exp(-1 / samples)) * np.exp(-ages / samples)
            self._decays.append(np.exp(-step / samples) ** np.arange(1, _PIECE + 1))
        self._mean_squares = [0.0] * len(speeds)

    def feed(self, squares: Float) -> list[Float]:
        """Of `squares` (steps, step): mean squares (steps,), then a reading per step and speed."""
        reduced = squares @ self._weights
        return [
            reduced[:, 0],
            *(self._scan(number, reduced[:, number + 1]) for number in range(len(self._decays))),
        ]

    def reset(self) -> None:
        """Forget the past: the stream begins anew."""
        self._mean_squares = [0.0] * len(self._mean_squares)

    def _scan(self, number: int, increments: Float) -> Float:
        """The recursion y = decay y + increment, in pieces."""
        readings = np.empty(len(increments))
        for first in range(0, len(increments), _PIECE):
            piece = readings[first : first + _PIECE]
            decays = self._decays[number][: len(piece)]
            np.divide(increments[first : first + _PIECE], decays, out=piece)
            piece[0] += self._mean_squares[number]
            np.cumsum(piece, out=piece)
            piece *= decays
            self._mean_squares[number] = float(piece[-1])
        return readings
