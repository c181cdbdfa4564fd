"""Finds a known sound in bytes: whether what a program wrote holds any of what it heard."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

LEAST_RUN = 8
"""So many samples in a row are no chance, in a sound of random samples."""
_MOST = 256  # bytes that are compared to either side
_BLOCK = 4  # any run of 8 holds a whole block of 4 that begins at a multiple of 4

_Keys: TypeAlias = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]


class KnownSound:
    """Random 16-bit samples, as raw sound and as the forms in which a program may hold them."""

    def __init__(self, samples: npt.NDArray[np.int16]) -> None:
        self.pcm = samples.astype("<i2").tobytes()
        self._forms = [samples.astype("<i2"), (samples / 32768).astype("<f4")]
        self._keys = [_keys(form) for form in self._forms]

    def longest_run(self, data: bytes) -> int:
        """The most samples in a row that stand in `data`, at whatever byte they begin.

        Runs shorter than `LEAST_RUN` may be missed, and the longest are measured in part.
        """
        return max(
            _longest(data, form.tobytes(), form.itemsize, keys)
            for form, keys in zip(self._forms, self._keys, strict=True)
        )

    def leaks_into(self, data: bytes) -> bool:
        """Whether `data` holds any of the sound."""
        return self.longest_run(data) >= LEAST_RUN


def random_sound(seconds: float, seed: int = 1) -> KnownSound:
    """Noise at 48 kHz and -20 dBFS."""
    normal = np.random.default_rng(seed).normal(0, 0.1 * 2**15, round(48_000 * seconds))
    return KnownSound(normal.astype(np.int16))


def _keys(form: npt.NDArray[np.generic]) -> _Keys:
    """The first eight bytes of each block, sorted, and where in the sound it begins."""
    whole = len(form) // _BLOCK * _BLOCK
    words = np.frombuffer(form[:whole].tobytes(), "<u8")[:: _BLOCK * form.itemsize // 8]
    order = np.argsort(words, kind="stable")
    return words[order], order * _BLOCK * form.itemsize


def _longest(data: bytes, sound: bytes, size: int, keys: _Keys) -> int:
    known, places = keys
    longest = 0
    for shift in range(min(8, len(data) - 7)):
        words = np.frombuffer(data[shift : shift + (len(data) - shift) // 8 * 8], "<u8")
        first, last = (np.searchsorted(known, words, side) for side in ("left", "right"))
        for word in np.flatnonzero(last > first).tolist():
            here = shift + 8 * word
            for there in places[first[word] : last[word]].tolist():
                longest = max(longest, _run(data, here, sound, there, size))
    return longest


def _run(data: bytes, here: int, sound: bytes, there: int, size: int) -> int:
    """How many samples agree around a place in the data and one in the sound."""
    ahead = _agree(data[here : here + _MOST], sound[there : there + _MOST], size)
    before = data[max(0, here - _MOST) : here], sound[max(0, there - _MOST) : there]
    return ahead + _agree(before[0][::-1], before[1][::-1], size)


def _agree(data: bytes, sound: bytes, size: int) -> int:
    """With how many samples both begin."""
    count = min(len(data), len(sound)) // size * size
    differ = np.frombuffer(data[:count], np.uint8) != np.frombuffer(sound[:count], np.uint8)
    return (int(np.argmax(differ)) if differ.any() else count) // size
