"""The frequency weightings A, C and Z of IEC 61672-1:2013, in numpy without a Python loop.

A and C are one cascade: matched-z sections for the low poles of Annex E and two fitted biquads in
place of the pole pair at 12.2 kHz, which no bilinear or matched-z design keeps within 0.05 dB at
these rates. C is read before the last two sections, A after them. Z is flat but for a first-order
high-pass at 1 Hz (-0.04 dB at 10 Hz), which takes the converter's offset away. All of it runs as
one block state-space: for a block x of a few samples that starts in state s,

    y = T x + O s        s' = M s + B x

so that everything but the recursion over blocks is a matrix product. The recursion is worked in
groups of blocks: inside a group by another product, from group to group by a doubling scan. Work
arrays are made once, since fresh pages cost as much as the arithmetic. Frames have one fixed shape,
since BLAS rounds by shape: that is what makes the result independent of how the stream was cut.

States are float64, for they remember; what is read from them is float32, at half the cost: its
noise is 130 dB below the largest sample, offset of the converter included.
"""

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.records import Samples

Float: TypeAlias = npt.NDArray[np.float64]
Weight: TypeAlias = Literal["A", "C", "Z"]

# IEC 61672-1:2013, Annex E: the poles follow from 1000 Hz, 10^1.5, 10^3.9 and 10^2.45.
_F1_HZ = 20.598997057618
_F2_HZ = 107.652648643046
_F3_HZ = 737.862230736290
# Ours: low enough for Z's flat range, which begins at 10 Hz.
_Z_HZ = 1.0

# Biquads b1, b2, a1, a2 (b0 = a0 = 1), fitted to the analytic A and C curves from 10 Hz to the
# highest third octave together; the largest deviation is 0.0008 dB at 48 kHz, 0.0012 at 44.1 kHz
# and 0.010 at 32 kHz. tests/test_weighting.py recomputes it.
_FITTED = {
    48000: (
        (1.074113599688, 0.268409396770, 0.432662826001, -0.128905547491),
        (0.160197510945, -0.000718632320, 0.094426268599, -0.060272894053),
    ),
    44100: (
        (0.933221997469, 0.141052408127, 0.192990775675, -0.065346051476),
        (0.446302908236, -0.005819969698, 0.538841140392, -0.126490066959),
    ),
    32000: (
        (1.793774440841, 0.800533380806, 1.351061871129, 0.433831159303),
        (0.814743482630, 0.135949041629, 0.817598402427, -0.134795415799),
    ),
}

RATES = tuple(_FITTED)
"""Rates in Hz that the meter takes."""

_Section: TypeAlias = tuple[Float, Float]
_Space: TypeAlias = tuple[Float, Float, Float, float]


def sections(rate: int, weight: Weight) -> list[_Section]:
    """The cascade at `rate` Hz as polynomials (b, a) in z^-1; 0 dB at 1 kHz."""
    if weight == "Z":
        pole = np.exp(-2 * np.pi * _Z_HZ / rate)
        return [(np.array([1.0, -1.0]) * (1 + pole) / 2, np.array([1.0, -pole]))]
    biquads = [
        (np.array([1.0, b1, b2]), np.array([1.0, a1, a2])) for b1, b2, a1, a2 in _FITTED[rate]
    ]
    cascade = [_high_pass(_F1_HZ, rate), _high_pass(_F1_HZ, rate), *biquads]
    if weight == "A":
        cascade += [_high_pass(_F2_HZ, rate), _high_pass(_F3_HZ, rate)]
    first_b, first_a = cascade[0]
    return [(first_b / _gain_at_1_khz(cascade, rate), first_a), *cascade[1:]]


class Weighting:
    """Weights a stream, a frame at a time.

    Args:
        rate: Hz, one of `RATES`.
        step: Samples in a block of the state-space.
        steps: The most blocks in a frame.
        weights: Which to compute; fewer cost less.
    """

    def __init__(self, rate: int, step: int, steps: int, weights: tuple[Weight, ...]) -> None:
        self._step = step
        a, b, outputs = _joined(rate, weights)
        order = len(a)
        # T above O: a row of samples and the state before them give a row of an output.
        self._matrices = [_output_matrix(a, b, c, d, step).astype(np.float32) for c, d in outputs]
        self._drive = _drive(a, b, step)
        self._group = _group_of(steps)
        power = np.linalg.matrix_power(a, step)
        self._inside, self._carry = _group_matrices(power, self._group)
        groups = steps // self._group
        leap = np.linalg.matrix_power(power, self._group)
        self._leaps: list[Float] = []
        distance = 1
        while distance <= groups:
            self._leaps.append(leap.T.copy())
            leap = leap @ leap
            distance *= 2
        self._state = np.zeros(order)
        self._driven = np.empty((groups, self._group * order))
        self._states = np.empty((groups, (self._group + 1) * order))
        self._inputs = np.empty((steps, step + order), np.float32)
        self._outputs = np.empty((len(outputs), steps, step), np.float32)

    def filter(self, blocks: Float) -> Samples:
        """Weighted samples (weights, steps, step) of `blocks` (steps, step).

        The state moves on. What comes back is overwritten by the next call.
        """
        count, order = len(blocks), len(self._state)
        inputs = self._inputs[:count]
        inputs[:, : self._step] = blocks
        groups = -(-count // self._group)
        driven = self._driven[:groups]
        drives = driven.reshape(-1, order)
        np.matmul(blocks, self._drive, out=drives[:count])
        # A frame cut short: what is not there drives nothing, and its states are not used.
        drives[count:] = 0.0
        states = np.matmul(driven, self._inside, out=self._states[:groups])
        ends = np.empty((groups + 1, order))
        ends[0] = self._state
        ends[1:] = states[:, -order:]
        distance = 1
        for leap in self._leaps:
            if distance > groups:
                break
            ends[distance:] += ends[:-distance] @ leap
            distance *= 2
        states += ends[:-1] @ self._carry
        each = states.reshape(groups, self._group + 1, order)
        inputs[:, self._step :] = each[:, :-1].reshape(-1, order)[:count]
        last = count - 1
        self._state = each[last // self._group, last % self._group + 1].copy()
        outputs = self._outputs[:, :count]
        for matrix, output in zip(self._matrices, outputs, strict=True):
            np.matmul(inputs, matrix, out=output)
        return outputs

    def reset(self) -> None:
        """Forget the past: the stream begins anew."""
        self._state[:] = 0.0


def _group_of(steps: int) -> int:
    """A divisor of `steps` near its root: then both halves of the recursion are short."""
    root = int(np.sqrt(steps))
    return next(group for group in range(root, 0, -1) if steps % group == 0)


def _output_matrix(a: Float, b: Float, c: Float, d: float, step: int) -> Float:
    """T over O of one output: (step + order, step)."""
    matrix = np.zeros((step + len(a), step))
    response = np.empty(step)
    response[0] = d
    state, row = b.copy(), c.copy()
    for j in range(step):
        matrix[step:, j] = row
        row = row @ a
        if j + 1 < step:
            response[j + 1] = c @ state
            state = a @ state
    for j in range(step):
        matrix[j, j:step] = response[: step - j]
    return matrix


def _drive(a: Float, b: Float, step: int) -> Float:
    """B: what each sample of a block leaves in the state at its end, (step, order)."""
    drive = np.empty((step, len(a)))
    column = b.copy()
    for j in range(step - 1, -1, -1):
        drive[j] = column
        column = a @ column
    return drive


def _group_matrices(power: Float, group: int) -> tuple[Float, Float]:
    """What the drives of a group, and the state before it, give each state in it.

    Column block j belongs to the state before block j of the group, the last one to its end.
    """
    order = len(power)
    inside = np.zeros((group * order, (group + 1) * order))
    carry = np.empty((order, (group + 1) * order))
    moved = np.eye(order)
    for age in range(group + 1):
        carry[:, age * order : (age + 1) * order] = moved.T
        for j in range(group - age):
            column = (j + age + 1) * order
            inside[j * order : (j + 1) * order, column : column + order] = moved.T
        moved = power @ moved
    return inside, carry


def _high_pass(pole_hz: float, rate: int) -> _Section:
    return np.array([1.0, -1.0]), np.array([1.0, -np.exp(-2 * np.pi * pole_hz / rate)])


def _gain_at_1_khz(cascade: list[_Section], rate: int) -> float:
    z = np.exp(2j * np.pi * 1000.0 / rate)
    gain = 1.0
    for b, a in cascade:
        gain *= float(abs(np.polyval(b[::-1], 1 / z) / np.polyval(a[::-1], 1 / z)))
    return gain


def _joined(
    rate: int, weights: tuple[Weight, ...]
) -> tuple[Float, Float, list[tuple[Float, float]]]:
    """A, B and each weighting's (C, D) of one state-space; A and C share their states."""
    shared = [weight for weight in weights if weight != "Z"]
    cascade = sections(rate, "A" if "A" in shared else "C") if shared else []
    z_a, z_b, z_c, z_d = _state_space(sections(rate, "Z") if "Z" in weights else [])
    a, b, c, d = _state_space(cascade)
    order, z_order = len(a), len(z_a)
    joint = np.block([[a, np.zeros((order, z_order))], [np.zeros((z_order, order)), z_a]])
    outputs: list[tuple[Float, float]] = []
    for weight in weights:
        if weight == "Z":
            outputs.append((np.concatenate([np.zeros(order), z_c]), z_d))
        elif weight == "C" and "A" in shared:
            part = cascade[:-2]
            _, _, part_c, part_d = _state_space(part)
            # The cascade's first section holds A's gain; C has its own.
            gain = 1 / _gain_at_1_khz(part, rate)
            row = np.concatenate([gain * part_c, np.zeros(order - len(part_c) + z_order)])
            outputs.append((row, gain * part_d))
        else:
            outputs.append((np.concatenate([c, np.zeros(z_order)]), d))
    return joint, np.concatenate([b, z_b]), outputs


def _state_space(cascade: list[_Section]) -> _Space:
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
