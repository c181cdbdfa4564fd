"""The time weightings F and S of IEC 61672-1:2013, clause 5.8, and the plain mean beside them.

The squared weighted signal is averaged exactly at every sample, with tau = 0.125 s (F) or 1 s (S),
and read on the meter's grid (about 1 ms). Only a maximum between two grid points is missed: at most
10 lg e^(1/112) = 0.04 dB.
"""

from typing import Literal, TypeAlias

import numpy as np

from edge_agent.acoustics.weighting import Float
from edge_agent.records import Samples

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
        samples = rate * np.array([TAU_S[speed] for speed in speeds])[:, None]
        # A steady tone reads its mean square.
        weights = (1 - np.exp(-1 / samples)) * np.exp(-ages / samples)
        self._weights = np.vstack([np.full(step, 1 / step), weights]).T.astype(np.float32)
        self._decays = np.exp(-step / samples) ** np.arange(1, _PIECE + 1)
        self._mean_squares = np.zeros(len(speeds))

    def feed(self, squares: Samples) -> list[Float]:
        """Of `squares` (steps, step): mean squares (steps,), then a reading per step and speed."""
        # A row for each, in one stretch of memory, and no longer float32: the recursion remembers.
        reduced = (squares @ self._weights).T.astype(np.float64, order="C")
        return [reduced[0], *self._scan(reduced[1:])]

    def reset(self) -> None:
        """Forget the past: the stream begins anew."""
        self._mean_squares[:] = 0.0

    def _scan(self, increments: Float) -> Float:
        """The recursion y = decay y + increment along the rows, in pieces."""
        readings = np.empty_like(increments)
        for first in range(0, increments.shape[1], _PIECE):
            piece = readings[:, first : first + _PIECE]
            decays = self._decays[:, : piece.shape[1]]
            np.divide(increments[:, first : first + _PIECE], decays, out=piece)
            piece[:, 0] += self._mean_squares
            np.cumsum(piece, axis=1, out=piece)
            piece *= decays
            self._mean_squares[:] = piece[:, -1]
        return readings
