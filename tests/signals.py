"""Four seconds each of the sounds on which the front end is compared with librosa."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile

from edge_agent.records import Samples

SECONDS = 4
NATURAL = (
    "speech_low",
    "speech_high",
    "speech_fast",
    "speech_quiet",
    "speech_in_noise",
    "siren_over_pink",
    "pink",
    "white_-60",
    "burst",
    "one_lsb",
)
_VOICES = {"speech_low": ("en+m3", "140"), "speech_high": ("en+f4", "165")} | {
    "speech_fast": ("de", "240")
}
_TEXT = "A siren came down the street at half past seven, and two dogs answered it. "
_Signal = npt.NDArray[np.float64]


def synthetic(rate: int) -> dict[str, Samples]:
    """Every class that arithmetic makes, at `rate` Hz, rounded to float32."""
    t = np.arange(SECONDS * rate) / rate
    rng = np.random.default_rng(20)
    white = rng.standard_normal(t.size)
    pink = _pink(white)
    signals = {f"sine_{hz}": _sine(t, hz) for hz in (50, 440, 1000, 997.3, 3999.7, 4000, 7840)}
    signals |= {
        "sine_on_a_bin": _sine(t, rate / 1024 * 64),
        "two_sines": 0.5 * _sine(t, 440) + 0.5 * _sine(t, 3000),
        "silence": np.zeros_like(t),
        "dc": np.ones_like(t),
        "dc_under_noise": 1e-4 * white - 0.3,
        "impulse": np.where(np.arange(t.size) == rate, 1.0, 0.0),
        "impulse_train": np.where(np.arange(t.size) % 4001 == 0, 1.0, 0.0),
        "square": np.sign(_sine(t, 216.2) + 1e-9),
        "clipped_sine": np.clip(4 * _sine(t, 700), -1, 1),
        "clipped_noise": np.clip(white, -1, 1),
        "linear_sweep": scipy.signal.chirp(t, 20, SECONDS, rate / 2),
        "logarithmic_sweep": scipy.signal.chirp(t, 20, SECONDS, rate / 2, "logarithmic"),
        "white_-12": white * 10 ** (-12 / 20),
        "white_-60": white * 1e-3,
        "white_-90": white * 10 ** (-90 / 20),
        "pink": 0.1 * pink,
        "pink_16_bit": np.round(0.1 * pink * 32768) / 32768,
        "one_lsb": rng.integers(-1, 2, t.size) / 32768,
        "burst": np.where((t > 1) & (t < 1.1), 0.5 * white.clip(-2, 2), 0.0),
        "siren_over_pink": 0.3 * _wail(t) + 0.02 * pink,
        "sine_at_-120": 1e-6 * _sine(t, 1000),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


def spoken(rate: int, folder: Path) -> dict[str, Samples]:
    """Three voices of espeak-ng, one of them also quiet, one also in noise."""
    if shutil.which("espeak-ng") is None:
        pytest.fail("espeak-ng is missing; install it: sudo apt-get install espeak-ng")
    signals = {name: _say(voice, rate, folder) for name, voice in _VOICES.items()}
    noise = np.random.default_rng(21).standard_normal(SECONDS * rate)
    low = signals["speech_low"]
    signals["speech_quiet"] = low * 10 ** (-50 / 20)
    signals["speech_in_noise"] = low + 0.02 * noise
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


def _say(voice: tuple[str, str], rate: int, folder: Path) -> _Signal:
    path = folder / f"{voice[0]}-{voice[1]}.wav"
    subprocess.run(["espeak-ng", "-v", voice[0], "-s", voice[1], "-w", path, _TEXT * 2], check=True)
    samples, origin = soundfile.read(path)
    converted = scipy.signal.resample_poly(samples, rate, origin)[: SECONDS * rate]
    padded: _Signal = np.pad(converted, (0, SECONDS * rate - converted.size))
    return padded


def _sine(t: _Signal, hz: float) -> _Signal:
    return np.asarray(np.sin(2 * np.pi * hz * t))


def _wail(t: _Signal) -> _Signal:
    """Between 500 and 1500 Hz, twice in three seconds."""
    return np.asarray(np.sin(2 * np.pi * 1000 * t - 750 * np.cos(4 * np.pi / 3 * t)))


def _pink(white: _Signal) -> _Signal:
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
    spectrum[0] = 0
    pink = np.fft.irfft(spectrum, white.size)
    return np.asarray(pink / pink.std())
