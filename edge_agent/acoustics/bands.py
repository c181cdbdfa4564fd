"""Third-octave bands of IEC 61260-1:2014, class 1, from 20 Hz to what the rate carries.

Each band is the band-pass of `bandpass`, its six poles side by side as one-pole filters. Low bands
run at low rates: three stages, each at a fourth of the rate before it. A stage works blocks of
samples x from the states s before them,

    y = T x + O s        s' = M s + B x        with M diagonal

where y is a band's output at some places of the block only, enough for its mean square. The
recursion over blocks is worked in groups of blocks, a step of all groups at a time, so that numpy
has few and long rows to do; the rest are matrix products. All work arrays are made once: fresh ones
would cost as much again in page faults.

In float32, which halves the cost: its noise is 130 dB below the loudest sound in whatever band.

Not compensated: the filters' delay (a third of a second at 20 Hz), and a rest of up to a block
(0.02 s below 1.25 kHz) that waits for its block to fill and counts in the next second.
"""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.acoustics.bandpass import ORDER, BandPass, band_pass
from edge_agent.acoustics.decimation import BY, Decimator
from edge_agent.acoustics.weighting import Float
from edge_agent.records import Samples

_Complex: TypeAlias = npt.NDArray[np.complex64]

NOMINAL_HZ = (
    *(20.0, 25.0, 31.5, 40.0, 50.0, 63.0, 80.0, 100.0, 125.0, 160.0, 200.0, 250.0, 315.0, 400.0),
    *(500.0, 630.0, 800.0, 1000.0, 1250.0, 1600.0, 2000.0, 2500.0, 3150.0, 4000.0, 5000.0),
    *(6300.0, 8000.0, 10000.0, 12500.0, 16000.0, 20000.0),
)
EXACT_HZ = tuple(10 ** (tenths / 10) for tenths in range(13, 44))
"""IEC 61260-1:2014, 5.4, with G = 10^0.3: the filters use these, the nominal ones are names."""

_EDGE = 10**0.05
_STAGES = 3
# What a resampler lets through whole, of half of the rate that it began from (soxr at HQ: 0.913).
_RESAMPLED_WHOLE = 0.912
# Samples in a block, blocks in a group, groups worked at once: a frame of the meter at 48 kHz.
_BLOCK = 64
_GROUP = 12
_GROUPS = 16
# Below this a pole's past is beyond float32; powers near its least number would be slow besides.
_FORGOTTEN = 1e-12


def carried(rate: int) -> int:
    """How many of the bands have their upper edge below half of `rate` Hz."""
    return sum(exact_hz * _EDGE < rate / 2 for exact_hz in EXACT_HZ)


def held(bandwidth_hz: float) -> int:
    """How many bands are whole in sound that was resampled from twice `bandwidth_hz`."""
    return sum(exact_hz * _EDGE <= _RESAMPLED_WHOLE * bandwidth_hz for exact_hz in EXACT_HZ)


def stage_of(exact_hz: float, rate: int) -> int:
    """The last stage in which the band still lies below a third of the stage's rate."""
    return min(_STAGES - 1, max(0, math.floor(math.log(rate / (3 * exact_hz), BY))))


class Bank:
    """The mean squares of all bands, over stretches of a stream.

    Args:
        rate: Hz of the stream.
    """

    def __init__(self, rate: int) -> None:
        bands: list[list[BandPass]] = [[] for _ in range(_STAGES)]
        for exact_hz in EXACT_HZ[: carried(rate)]:
            stage = stage_of(exact_hz, rate)
            bands[stage].append(band_pass(exact_hz, rate, BY**stage))
        self._stages = [_Stage(inside) for inside in bands]

    def feed(self, samples: Float | Samples) -> None:
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

    def _push(self, number: int, samples: Float | Samples) -> None:
        stage = self._stages[number]
        used = 0
        while used < len(samples):
            used += stage.fill(samples[used:])
            if stage.full:
                self._work(number)

    def _work(self, number: int) -> None:
        fewer = self._stages[number].work()
        if number + 1 < _STAGES:
            self._push(number + 1, fewer)

    def _flush(self) -> None:
        for number in range(_STAGES):
            self._work(number)


class _Stage:
    """The bands that run at one rate, from low to high.

    Rows of work arrays are blocks, the first of each group, then the second of each: a step of the
    recursion is then one stretch of memory.
    """

    def __init__(self, bands: list[BandPass]) -> None:
        count = self._count = len(bands)
        modes = self._modes = count * ORDER
        poles = np.concatenate([band.poles for band in bands])
        # Driven by x_0 .. x_(L-1), the state at the block's end is the sum of p^(L-1-j) x_j.
        ages = poles ** np.arange(_BLOCK - 1, -1, -1)[:, None]
        driven = [_driven(band) for band in bands]
        self._matrix = np.hstack([ages.view(np.float64), *driven]).astype(np.float32)
        # Bands with equally many outputs share a product.
        widths = [part.shape[1] for part in driven]
        self._first = [sum(widths[:band]) for band in range(count + 1)]
        self._alike = [
            (band, band + widths.count(width))
            for band, width in enumerate(widths)
            if width not in widths[:band]
        ]
        self._observe = [
            np.array([_observed(band) for band in bands[first:last]], np.float32)
            for first, last in self._alike
        ]
        # Half of a complex output's squared magnitude is missing in its real counterpart.
        self._weights = np.repeat(
            [band.spacing * (2.0 if band.analytic else 1.0) for band in bands], widths
        )

        self._power = _tiled(poles**_BLOCK, _GROUPS)
        self._powers = np.array(
            [_tiled(poles ** (_BLOCK * age), _GROUPS) for age in range(1, _GROUP + 1)]
        )
        self._leaps: list[_Complex] = []
        distance = 1
        while distance < _GROUPS:
            leap = _tiled(poles ** (_BLOCK * _GROUP * distance), _GROUPS)
            if not leap.any():
                break
            self._leaps.append(leap)
            distance *= 2

        rows = _GROUPS * _GROUP
        self._pending: Samples = np.empty(rows * _BLOCK, np.float32)
        self._filled = 0
        self._inputs = np.empty((rows, _BLOCK), np.float32)
        self._product = np.empty((rows, self._matrix.shape[1]), np.float32)
        self._states = np.empty((_GROUP + 1) * _GROUPS * modes, np.complex64)
        self._moved = np.empty(_GROUP * _GROUPS * modes, np.complex64)
        self._outputs = np.empty((rows, self._first[-1]), np.float32)
        self._ones = np.ones(rows, np.float32)
        self._state = np.zeros(modes, np.complex64)
        self._squares = np.zeros(self._first[-1])
        self._samples = 0
        self._decimator = Decimator(_BLOCK)

    @property
    def full(self) -> bool:
        """No more samples can wait."""
        return self._filled == len(self._pending)

    def fill(self, samples: Float | Samples) -> int:
        """Let samples wait until there are enough; how many were taken."""
        taken = min(len(samples), len(self._pending) - self._filled)
        self._pending[self._filled : self._filled + taken] = samples[:taken]
        self._filled += taken
        return taken

    def work(self) -> Samples:
        """Filter what makes whole blocks; what the next stage gets of it."""
        whole = self._filled // _BLOCK * _BLOCK
        if whole == 0:
            return np.empty(0, np.float32)
        blocks = self._pending[:whole].reshape(-1, _BLOCK)
        self._filter(blocks)
        fewer = self._decimator.feed(blocks)
        self._filled -= whole
        self._pending[: self._filled] = self._pending[whole : whole + self._filled].copy()
        return fewer

    def take(self) -> list[float | None]:
        """Mean square of each band since the last time."""
        samples, self._samples = self._samples, 0
        squares = self._squares * self._weights
        self._squares[:] = 0.0
        if not samples:
            return [None] * self._count
        return [float(value) / samples for value in np.add.reduceat(squares, self._first[:-1])]

    def reset(self) -> None:
        """Forget the filters' past, and what waits."""
        self._state[:] = 0.0
        self._filled = 0
        self._decimator.reset()

    def _filter(self, blocks: Samples) -> None:
        full, rest = divmod(len(blocks), _GROUP)
        groups = full + (rest > 0)
        rows, modes = groups * _GROUP, self._modes
        inputs = self._inputs[:rows].reshape(_GROUP, groups, _BLOCK)
        inputs[:, :full] = blocks[: full * _GROUP].reshape(full, _GROUP, _BLOCK).transpose(1, 0, 2)
        if rest:
            inputs[:rest, full] = blocks[full * _GROUP :]
            inputs[rest:, full] = 0.0
        product = np.matmul(self._inputs[:rows], self._matrix, out=self._product[:rows])

        states = self._recursion(product[:, : 2 * modes], groups)
        last = len(blocks) - 1
        self._state = states[last % _GROUP + 1, last // _GROUP].copy()

        outputs = self._outputs[:rows]
        before = states[:-1].view(np.float32).reshape(rows, self._count, 2 * ORDER)
        for (first, end), observe in zip(self._alike, self._observe, strict=True):
            part = outputs[:, self._first[first] : self._first[end]].reshape(rows, end - first, -1)
            np.matmul(before[:, first:end].transpose(1, 0, 2), observe, out=part.transpose(1, 0, 2))
        outputs += product[:, 2 * modes :]
        if rest:
            # Blocks that are not there would ring on.
            outputs.reshape(_GROUP, groups, -1)[rest:, full] = 0.0
        np.square(outputs, out=outputs)
        self._squares += self._ones[:rows] @ outputs
        self._samples += blocks.size

    def _recursion(self, drives: Samples, groups: int) -> _Complex:
        """The states before each block and after it, (_GROUP + 1, groups, modes)."""
        modes = self._modes
        size = groups * modes
        states = self._states[: (_GROUP + 1) * size].reshape(_GROUP + 1, groups, modes)
        states.view(np.float32)[1:] = drives.reshape(_GROUP, groups, 2 * modes)
        moved = self._moved[:size].reshape(groups, modes)
        for place in range(2, _GROUP + 1):
            np.multiply(states[place - 1], self._power[:groups], out=moved)
            states[place] += moved
        # From group to group by a doubling scan: what each begins with.
        begins = states[0]
        begins[0] = self._state
        begins[1:] = states[-1, :-1]
        distance = 1
        for leap in self._leaps:
            if distance >= groups:
                break
            begins[distance:] += begins[:-distance] * leap[: groups - distance]
            distance *= 2
        all_moved = self._moved[: _GROUP * size].reshape(_GROUP, groups, modes)
        states[1:] += np.multiply(begins, self._powers[:, :groups], out=all_moved)
        return states


def _tiled(powers: npt.NDArray[np.complex128], count: int) -> _Complex:
    """The same row `count` times: numpy multiplies long rows, and repeats short ones slowly."""
    kept = np.where(np.abs(powers) < _FORGOTTEN, 0.0, powers)
    return np.tile(kept, (count, 1)).astype(np.complex64)


def _looks(band: BandPass) -> npt.NDArray[np.int_]:
    return np.arange(band.spacing - 1, _BLOCK, band.spacing)


def _columns(band: BandPass, complex_rows: npt.NDArray[np.complex128]) -> Float:
    """Of an output of P, what is looked at: real and imaginary part, or twice the real one."""
    if band.analytic:
        return np.ascontiguousarray(complex_rows).view(np.float64)
    return 2 * complex_rows.real


def _driven(band: BandPass) -> Float:
    """T: what each sample of a block gives the looks in it."""
    ages = np.arange(_BLOCK - 1)
    response = np.concatenate(
        [[band.direct / 2], (band.residues * band.poles ** ages[:, None]).sum(axis=1)]
    )
    age = _looks(band) - np.arange(_BLOCK)[:, None]
    return _columns(band, np.where(age >= 0, response[np.maximum(age, 0)], 0.0))


def _observed(band: BandPass) -> Float:
    """O: what real and imaginary part of each mode give the looks, (2 * ORDER, looks)."""
    seen = band.residues[:, None] * band.poles[:, None] ** _looks(band)
    return np.stack([_columns(band, seen), _columns(band, 1j * seen)], axis=1).reshape(
        2 * ORDER, -1
    )
