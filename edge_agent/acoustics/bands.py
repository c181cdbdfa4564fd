"""Third-octave bands of IEC 61260-1:2014, class 1, from 20 Hz to what the rate carries.

Each band is a Butterworth band-pass of order 6 (twelve poles) by the bilinear transform with both
edges prewarped. Low bands run at low rates: five stages, each at a fourth of the rate before it,
by two half-band filters. A band runs in modal form, its six pole pairs side by side as complex
one-pole filters, a block of samples at a time:

    y = T x + O s        s' = M s + B x        with M diagonal

so that the recursion over blocks is an elementwise doubling scan and the rest are matrix products.
All work arrays are made once: fresh ones would cost as much again in page faults.

Not compensated: the filters' delay (a third of a second at 20 Hz), and a rest of up to a block
(0.13 s below 80 Hz) that waits for its block to fill and counts in the next second.
"""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.acoustics.weighting import Float

_Complex: TypeAlias = npt.NDArray[np.complex128]

ORDER = 6
NOMINAL_HZ = (
    *(20.0, 25.0, 31.5, 40.0, 50.0, 63.0, 80.0, 100.0, 125.0, 160.0, 200.0, 250.0, 315.0, 400.0),
    *(500.0, 630.0, 800.0, 1000.0, 1250.0, 1600.0, 2000.0, 2500.0, 3150.0, 4000.0, 5000.0),
    *(6300.0, 8000.0, 10000.0, 12500.0, 16000.0, 20000.0),
)
EXACT_HZ = tuple(10 ** (tenths / 10) for tenths in range(13, 44))
"""IEC 61260-1:2014, 5.4, with G = 10^0.3: the filters use these, the nominal ones are names."""

_EDGE = 10**0.05
_STAGES = 5
# Samples in a block by stage, and blocks worked at once: they fit the second-level cache.
_BLOCK = (32, 32, 24, 24, 24)
_MOST_BLOCKS = 250
# Below this a pole's past is beyond float64.
_FORGOTTEN = 1e-16


def carried(rate: int) -> int:
    """How many of the bands have their upper edge below half of `rate` Hz."""
    return sum(exact_hz * _EDGE < rate / 2 for exact_hz in EXACT_HZ)


def stage_of(exact_hz: float, rate: int) -> int:
    """The last stage in which the band still lies below a third of the stage's rate."""
    return min(_STAGES - 1, max(0, math.floor(math.log(rate / (3 * exact_hz), 4))))


class Bank:
    """The mean squares of all bands, over stretches of a stream.

    Args:
        rate: Hz of the stream.
    """

    def __init__(self, rate: int) -> None:
        bands: list[list[float]] = [[] for _ in range(_STAGES)]
        for exact_hz in EXACT_HZ[: carried(rate)]:
            bands[stage_of(exact_hz, rate)].append(exact_hz)
        self._stages = [
            _Stage([design(exact_hz, rate / 4**number) for exact_hz in inside], _BLOCK[number])
            for number, inside in enumerate(bands)
        ]

    def feed(self, samples: Float) -> None:
        """Filter samples (n,); the state moves on."""
        self._push(0, samples)

    def take(self) -> list[float | None]:
        """Mean squares since the last time, from 20 Hz up; None before a whole block."""
        self._flush()
        return [value for stage in reversed(self._stages) for value in stage.take()]

    def reset(self) -> None:
        """Forget the filters' past, not what they have gathered since the last time."""
        self._flush()
        for stage in self._stages:
            stage.reset()

    def _push(self, number: int, samples: Float) -> None:
        stage = self._stages[number]
        used = 0
        while used < len(samples):
            used += stage.fill(samples[used:])
            if stage.full:
                self._work(number)

    def _work(self, number: int) -> None:
        below = self._stages[number].work()
        if number + 1 < _STAGES:
            self._push(number + 1, below)

    def _flush(self) -> None:
        for number in range(_STAGES):
            self._work(number)


def design(exact_hz: float, rate: float) -> tuple[_Complex, _Complex, float]:
    """A band's digital filter: six poles (their conjugates are meant too), residues, direct gain.

    H(z) = d + sum of r_k / (z - p_k) and its conjugate.
    """
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


class _Stage:
    """The bands that run at one rate, and the way down to the next.

    Args:
        designs: Of each band.
        block: Samples in a block.
    """

    def __init__(self, designs: list[tuple[_Complex, _Complex, float]], block: int) -> None:
        self._block = block
        count = self._count = len(designs)
        poles = np.array([pole for pole, _, _ in designs])
        residues = np.array([residue for _, residue, _ in designs])
        modes = count * ORDER
        # Driven by x_0 .. x_(L-1), the state at the block's end is the sum of p^(L-1-j) x_j.
        ages = poles.reshape(1, modes) ** np.arange(block - 1, -1, -1)[:, None]
        # The state s gives 2 Re(r p^j s) at sample j.
        output = 2 * residues[:, :, None] * poles[:, :, None] ** np.arange(block)
        self._observe = np.empty((count, 2 * ORDER, block))
        self._observe[:, 0::2] = output.real
        self._observe[:, 1::2] = -output.imag
        response = np.empty((count, block))
        response[:, 0] = [direct for _, _, direct in designs]
        # Just after an impulse the state is 1 in each mode.
        response[:, 1:] = output.real.sum(axis=1)[:, : block - 1]
        # One product gives both: a mode's real and imaginary part side by side, then the outputs.
        self._matrix = np.zeros((block, 2 * modes + count * block))
        self._matrix[:, : 2 * modes] = ages.view(np.float64)
        for band in range(count):
            first = 2 * modes + band * block
            for j in range(block):
                self._matrix[j, first + j : first + block] = response[band, : block - j]
        self._powers: list[_Complex] = []
        distance = 1
        while distance <= _MOST_BLOCKS:
            power = poles.reshape(modes) ** (block * distance)
            if float(np.abs(power).max()) < _FORGOTTEN:
                break
            self._powers.append(power)
            distance *= 2
        self._states = np.zeros((_MOST_BLOCKS + 1, modes), np.complex128)
        self._moved = np.empty((_MOST_BLOCKS, modes), np.complex128)
        self._product = np.empty((_MOST_BLOCKS, self._matrix.shape[1]))
        self._output = np.empty(count * _MOST_BLOCKS * block)
        self._pending = np.empty(_MOST_BLOCKS * block)
        self._filled = 0
        self._halves = (HalfBand(*FIRST_HALF), HalfBand(*SECOND_HALF))
        self._squares = np.zeros(count)
        self._samples = 0

    @property
    def full(self) -> bool:
        """No more samples can wait."""
        return self._filled == len(self._pending)

    def fill(self, samples: Float) -> int:
        """Let samples wait until there are enough; how many were taken."""
        taken = min(len(samples), len(self._pending) - self._filled)
        self._pending[self._filled : self._filled + taken] = samples[:taken]
        self._filled += taken
        return taken

    def work(self) -> Float:
        """Filter what makes whole blocks; what the next stage gets of it."""
        whole = self._filled // self._block * self._block
        if whole == 0:
            return np.empty(0)
        samples = self._pending[:whole]
        self._filter(samples.reshape(-1, self._block))
        below = self._halves[1].feed(self._halves[0].feed(samples))
        self._filled -= whole
        self._pending[: self._filled] = self._pending[whole : whole + self._filled].copy()
        return below

    def take(self) -> list[float | None]:
        """Mean square of each band since the last time."""
        samples, self._samples = self._samples, 0
        squares, self._squares = self._squares, np.zeros_like(self._squares)
        return [float(value) / samples if samples else None for value in squares]

    def reset(self) -> None:
        """Forget the filters' past, and what waits."""
        self._states[0] = 0.0
        self._filled = 0
        for half in self._halves:
            half.reset()

    def _filter(self, blocks: Float) -> None:
        count, modes = len(blocks), self._states.shape[1]
        product = np.matmul(blocks, self._matrix, out=self._product[:count])
        states = self._states[: count + 1]
        states.view(np.float64)[1:] = product[:, : 2 * modes]
        distance = 1
        for power in self._powers:
            if distance > count:
                break
            moved = np.multiply(states[:-distance], power, out=self._moved[: count + 1 - distance])
            states[distance:] += moved
            distance *= 2
        before = states[:-1].view(np.float64).reshape(count, self._count, 2 * ORDER)
        room = self._output[: self._count * count * self._block]
        output = room.reshape(self._count, count, self._block)
        np.matmul(before.transpose(1, 0, 2), self._observe, out=output)
        driven = product[:, 2 * modes :].reshape(count, self._count, self._block)
        output += driven.transpose(1, 0, 2)
        for band, flat in enumerate(output.reshape(self._count, -1)):
            self._squares[band] += flat @ flat
        self._samples += blocks.size
        self._states[0] = states[count]


# Taps and Kaiser's beta: the pass band is flat within 0.0013 dB up to the highest band of the stage
# below, and what folds into it is 77 dB down.
FIRST_HALF = (23, 8.0)
SECOND_HALF = (47, 7.5)


class HalfBand:
    """Keeps every second sample behind a half-band low-pass, whatever lengths it is fed.

    Args:
        taps: Odd, with an odd half.
        beta: Of the Kaiser window.
    """

    def __init__(self, taps: int, beta: float) -> None:
        self._taps = taps
        response = half_band(taps, beta)
        self._middle = float(response[taps // 2])
        self._pairs = [float(tap) for tap in response[taps // 2 + 1 :: 2]]
        self._rest = np.zeros(taps - 1)

    def feed(self, samples: Float) -> Float:
        """Half as many samples; an odd one over waits in the state."""
        joined = np.concatenate([self._rest, samples])
        count = max(0, (len(joined) - self._taps) // 2 + 1)
        self._rest = joined[2 * count :].copy()
        even, odd = joined[0::2].copy(), joined[1::2]
        centre = self._taps // 2
        kept = self._middle * odd[centre // 2 : centre // 2 + count]
        pair = np.empty(count)
        for number, tap in enumerate(self._pairs):
            low, high = centre // 2 - number, centre // 2 + number + 1
            np.add(even[low : low + count], even[high : high + count], out=pair)
            pair *= tap
            kept += pair
        return kept

    def reset(self) -> None:
        """Forget the past."""
        self._rest = np.zeros(self._taps - 1)


def half_band(taps: int, beta: float) -> Float:
    """The impulse response, with a gain of 1 at 0 Hz."""
    place = np.arange(taps) - taps // 2
    response = np.sinc(place / 2) * np.kaiser(taps, beta)
    return np.asarray(response / response.sum())
