"""The arbiter of third octaves: scipy's filters at the full rate, each by itself."""

import numpy as np
from pyoctaveband import OctaveFilterBank
from scipy.signal import butter, sosfilt

from edge_agent.acoustics.bands import EXACT_HZ, Bank
from edge_agent.acoustics.weighting import Float

RATE = 48000
_EDGE = 10**0.05
# A whole number of blocks in every stage: what goes in comes out, nothing waits.
_WHOLE = 6144
# PyOctaveBand's levels are re 20 uPa.
_PASCAL_DB = 20 * np.log10(1 / 20e-6)


def let_out(samples: Float, seconds: float = 2.0) -> Float:
    """The samples and the silence in which every band fades away."""
    length = len(samples) + round(seconds * RATE)
    return np.pad(samples, (0, -(-length // _WHOLE) * _WHOLE - len(samples)))


def ours_db(samples: Float) -> Float:
    """Level of each band, dB of the mean square, as the meter's bank has it."""
    bank = Bank(RATE)
    bank.feed(samples)
    return np.asarray(10 * np.log10(taken(bank)))


def taken(bank: Bank) -> Float:
    """Mean squares, where each band had a whole block."""
    return np.array(bank.take(), dtype=np.float64)


def scipys_db(samples: Float, exact_hz: tuple[float, ...] = EXACT_HZ) -> Float:
    """The same by Butterworth band-passes of order 6 at the full rate."""
    levels = []
    for middle_hz in exact_hz:
        edges = [middle_hz / _EDGE, middle_hz * _EDGE]
        filtered = sosfilt(butter(6, edges, "bandpass", fs=RATE, output="sos"), samples)
        levels.append(10 * np.log10(np.mean(np.square(filtered))))
    return np.array(levels)


_BANK = OctaveFilterBank(RATE, fraction=3, limits=[20, 20000])


def pyoctavebands_db(samples: Float) -> Float:
    """The same by PyOctaveBand as it comes, order 6."""
    levels = _BANK.filter(samples)[0]
    return np.asarray(np.asarray(levels, dtype=np.float64) - _PASCAL_DB)
