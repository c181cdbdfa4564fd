"""A microphone's frequency response, and the filter that takes it out of the sound.

The response tells by how much the microphone reads too high at each frequency, relative to 1 kHz,
where the calibration's offset holds. The correction is its mirror image: a sum of second-order
sections with fixed poles, two to the octave, whose numerators follow from a linear least-squares
fit to the minimum-phase target (B. Bank's fixed-pole design). In modal form each section is one
complex state s' = p s + x, so that blocks run as in `weighting`, at a scan of elementwise products.

Measured (docs/decisions.md): within 0.13 dB of a smooth response from 20 Hz to 20 kHz; what
is finer than half an octave is smoothed.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.acoustics.weighting import Float

ANCHOR_HZ = 1000.0
_Complex = npt.NDArray[np.complex128]

_LOWEST_POLE_HZ = 8.0
_POLES_PER_OCTAVE = 2
_REFINEMENTS = 8
_TARGET_POINTS = 1 << 18
"""Of the spectrum that the phase is computed from: 0.2 Hz apart."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a microphone reads too high, by frequency."""

    hz: tuple[float, ...]
    """Rising, from at most to at least 1 kHz."""
    deviation_db: tuple[float, ...]
    """For each of `hz`; positive where the microphone reads too high."""
    sha256: str
    """Of the file that says so, in hex."""

    def correction_db(self, hz: Float) -> Float:
        """What is to be added at these frequencies, 0 at 1 kHz.

        Between two frequencies of the file it is linear in their logarithm, beyond them constant.
        """
        known = np.log(self.hz)
        deviations = np.interp(np.log(hz), known, self.deviation_db)
        anchor = np.interp(np.log(ANCHOR_HZ), known, self.deviation_db)
        return np.asarray(anchor - deviations)


class Correction:
    """Takes a microphone's response out of a stream, a frame at a time.

    Args:
        response: Of the microphone.
        rate: Hz.
        step: Samples in a block.
        steps: The most blocks in a frame.
    """

    def __init__(self, response: Response, rate: int, step: int, steps: int) -> None:
        poles = _poles(rate)
        direct, residues = _fitted(response, rate, poles)
        ages = np.arange(step)
        # What a state gives to each sample of the block after it: 2 Re(c p^(j+1) s).
        given = 2 * residues[:, np.newaxis] * poles[:, np.newaxis] ** (ages + 1)
        self._observe = np.stack([given.real, -given.imag], axis=1).reshape(-1, step)
        impulse = 2 * (residues[:, np.newaxis] * poles[:, np.newaxis] ** ages).sum(axis=0).real
        impulse[0] += direct
        self._toeplitz = np.zeros((step, step))
        for j in range(step):
            self._toeplitz[j, j:] = impulse[: step - j]
        drive = poles[np.newaxis] ** (step - 1 - ages)[:, np.newaxis]
        self._drive = np.ascontiguousarray(drive).view(np.float64)
        self._powers: list[_Complex] = []
        distance = 1
        while distance <= steps:
            self._powers.append(poles ** (step * distance))
            distance *= 2
        self._state = np.zeros(len(poles), np.complex128)

    def filter(self, blocks: Float) -> Float:
        """Corrected samples, (steps, step) float64 like `blocks`; the state moves on."""
        states = np.empty((len(blocks) + 1, len(self._state)), np.complex128)
        states[0] = self._state
        np.matmul(blocks, self._drive, out=states[1:].view(np.float64))
        distance = 1
        for power in self._powers:
            if distance > len(blocks):
                break
            states[distance:] += states[:-distance] * power
            distance *= 2
        self._state = states[-1].copy()
        return np.asarray(blocks @ self._toeplitz + states[:-1].view(np.float64) @ self._observe)

    def reset(self) -> None:
        """Forget the past: the stream begins anew."""
        self._state[:] = 0.0


def _poles(rate: int) -> _Complex:
    """One of each pair, as wide as they are apart, which leaves no ripple between them."""
    top_hz = 0.458 * rate
    count = int(np.ceil(np.log2(top_hz / _LOWEST_POLE_HZ) * _POLES_PER_OCTAVE)) + 1
    angles = 2 * np.pi * np.geomspace(_LOWEST_POLE_HZ, top_hz, count) / rate
    return np.asarray(np.exp((1j - (2 ** (1 / _POLES_PER_OCTAVE) - 1)) * angles))


def _fitted(response: Response, rate: int, poles: _Complex) -> tuple[float, _Complex]:
    """The direct path and the residue of each pole, 0 dB at 1 kHz."""
    hz = np.geomspace(_LOWEST_POLE_HZ / 2, 0.4998 * rate, 500)
    basis = _basis(hz, rate, poles)
    target = _minimum_phase(response, rate, hz)
    weights = 1 / np.abs(target)
    rows = basis * weights[:, np.newaxis]
    matrix = np.vstack([rows.real, rows.imag])
    scale = np.linalg.norm(matrix, axis=0)
    inverse = np.linalg.pinv(matrix / scale, rcond=1e-12)
    solution = np.zeros(len(scale))
    for _ in range(1 + _REFINEMENTS):
        wanted = np.concatenate([(target * weights).real, (target * weights).imag])
        solution = (inverse @ wanted) / scale
        # The level counts, not the phase: the phase that was reached becomes the target.
        target = np.abs(target) * np.exp(1j * np.angle(basis @ solution))
    anchor = _basis(np.array([ANCHOR_HZ]), rate, poles) @ solution
    solution /= float(np.abs(anchor[0]))
    return float(solution[0]), solution[1::2] + 1j * solution[2::2]


def _basis(hz: Float, rate: int, poles: _Complex) -> _Complex:
    """Responses (n, 1 + 2 poles) of the direct path and of each residue's two parts."""
    delay = np.exp(-2j * np.pi * hz / rate)[:, np.newaxis]
    upper, lower = 1 / (1 - poles * delay), 1 / (1 - poles.conj() * delay)
    columns = np.empty((len(hz), 1 + 2 * len(poles)), np.complex128)
    columns[:, 0] = 1
    columns[:, 1::2] = upper + lower
    columns[:, 2::2] = 1j * (upper - lower)
    return columns


def _minimum_phase(response: Response, rate: int, hz: Float) -> _Complex:
    """The correction as a complex response, with the least phase that its level allows."""
    grid = np.fft.rfftfreq(_TARGET_POINTS, 1 / rate)
    level = response.correction_db(np.maximum(grid, grid[1] / 2)) * (np.log(10) / 20)
    # The cepstrum folded onto its causal half.
    cepstrum = np.fft.irfft(level, _TARGET_POINTS)
    cepstrum[1 : _TARGET_POINTS // 2] *= 2
    cepstrum[_TARGET_POINTS // 2 + 1 :] = 0
    logarithm = np.fft.rfft(cepstrum)
    phase = np.interp(hz, grid, logarithm.imag)
    return np.asarray(10 ** (response.correction_db(hz) / 20) * np.exp(1j * phase))
