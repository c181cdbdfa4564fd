"""Two short recordings by arithmetic on integers, so that every machine makes the same bytes."""

import math
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.int64]

_TABLE = np.array([round(32767 * math.sin(2 * math.pi * n / 4096)) for n in range(4096)])


def write_all(folder: Path) -> dict[str, Path]:
    """Both as WAV files, by name."""
    siren, street = folder / "siren.wav", folder / "street.wav"
    _write(siren, _siren(48_000)[:, None], 48_000)
    left = _street(44_100)
    # The other channel is half as loud: the mean of both is heard.
    _write(street, np.stack((left, left // 2), axis=1), 44_100)
    return {path.stem: path for path in (siren, street)}


def _siren(rate: int) -> Wide:
    """A wail between 600 and 1500 Hz for 5 of 7 seconds, over noise at -40 dBFS."""
    t = np.arange(7 * rate)
    # Up for two seconds and down for two.
    turn = np.abs((t + 2 * rate) % (4 * rate) - 2 * rate)
    pitch_hz = 600 + 900 * turn // (2 * rate)
    phase = np.cumsum(pitch_hz)
    tone = sum(
        amplitude * _sine(order * phase, rate)
        for order, amplitude in ((1, 100), (2, 20), (3, 12), (4, 6))
    )
    sounding = (t >= rate) & (t < 6 * rate)
    return _noise(len(t), 1) // 60 + np.where(sounding, tone // 300, 0)


def _street(rate: int) -> Wide:
    """A horn of two notes twice, then blows of a hammer, 14 a second."""
    t = np.arange(8 * rate)
    horn = np.zeros_like(t)
    for note_hz in (420, 500):
        for order in range(1, 17):
            # Strongest at the fifth harmonic, about 2.2 kHz.
            horn += max(12 - 2 * abs(order - 5), 2) * _sine(order * note_hz * t, rate)
    blast = ((t >= rate) & (t < 3 * rate // 2)) | ((t >= 2 * rate) & (t < 7 * rate // 2))
    blow = (t - 5 * rate) % (rate // 14)
    # Halved each 4 ms.
    decay = np.right_shift(1 << 14, np.minimum(blow * 250 // rate, 15))
    ring = sum(_sine(mode_hz * blow, rate) for mode_hz in (620, 1370, 2300, 3900))
    hammer = (2 * _noise(len(t), 2) + ring // 4) * decay >> 16
    hammering = t >= 5 * rate
    return (
        _noise(len(t), 3) // 60 + np.where(blast, horn // 400, 0) + np.where(hammering, hammer, 0)
    )


def _sine(cycles: Wide, rate: int) -> Wide:
    """A sine of amplitude 32767 at a phase given in cycles times `rate`."""
    return _TABLE[cycles % rate * 4096 // rate]


def _noise(length: int, seed: int) -> Wide:
    """White, uniform over 16 bits, by the congruential rule of the golden signals."""
    state = seed
    values = []
    for _ in range(length):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state >> 16)
    return np.array(values, np.uint16).astype(np.int16).astype(np.int64)


def _write(path: Path, samples: Wide, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes(np.clip(samples, -32768, 32767).astype("<i2").tobytes())
