"""Features of a clip by frame, each by its name, all on one grid of frames.

Log-mel levels and MFCCs come from the device's own front end, so that what a network learns from
is what the street will give it; the rest is librosa's. Each feature says what it would take to
have it on the device.
"""

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import TypeAlias

import librosa
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.frontend import clip_features
from edge_agent.records import Samples
from model_build.labconfig import Chroma, Grid, LabConfig, Mel, Mfcc, Rolloff, Stft, transform
from model_build.steps import Sound

Doubles: TypeAlias = npt.NDArray[np.float64]

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
DELTA_WIDTH = 9
"""librosa's default: a slope is fitted to four frames at either side."""

_NOT_THERE = "the device's front end does not compute it"


class Analysed:
    """A clip under analysis; what several features need is computed once."""

    def __init__(self, sound: Sound, grid: Grid) -> None:
        self.sound = sound
        self.grid = grid

    @cached_property
    def magnitude(self) -> Samples:
        """(bins, frames), of the windowed samples."""
        spectrum = librosa.stft(
            self.sound.samples,
            n_fft=self.grid.n_fft,
            win_length=self.grid.win_length,
            hop_length=self.grid.hop,
            center=self.grid.center,
        )
        magnitude: Samples = np.abs(spectrum)
        return magnitude


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, with its settings inside."""

    name: str
    columns: tuple[str, ...]
    compute: Callable[[Analysed], npt.NDArray[np.floating]]
    """(frames, columns)"""
    whole_clip: str | None = None
    """Why the whole clip must be there; None: a stream will do."""
    not_there: str | None = None
    """What else keeps it from the device."""


def chosen(config: LabConfig) -> tuple[Feature, ...]:
    """The features that are switched on, in the order of their settings."""
    wanted = config.features
    found: list[Feature] = []
    if wanted.stft is not None:
        found.append(_stft(wanted.stft, config.grid))
    if wanted.mel is not None:
        found.append(_mel(wanted.mel, config))
    if wanted.mfcc is not None:
        found.append(_mfcc(wanted.mfcc, config))
    if wanted.chroma is not None:
        found.append(_chroma(wanted.chroma))
    if wanted.spectral_centroid:
        found.append(_single("spectral_centroid", _centroid))
    if wanted.spectral_rolloff is not None:
        found.append(_rolloff(wanted.spectral_rolloff))
    if wanted.zero_crossing_rate:
        found.append(_single("zero_crossing_rate", _zero_crossings))
    if wanted.rms:
        found.append(_single("rms", _rms))
    if wanted.waveform:
        found.append(_waveform(config.grid))
    return tuple(found)


def by_frame(sound: Sound, features: tuple[Feature, ...], grid: Grid) -> Samples:
    """All features side by side, (frames, columns).

    Args:
        sound: At the configuration's rate; at least one window of it, unless frames are centred.
        features: By `chosen`.
        grid: Theirs.
    """
    analysed = Analysed(sound, grid)
    return np.hstack([one.compute(analysed) for one in features]).astype(np.float32)


def _stft(settings: Stft, grid: Grid) -> Feature:
    def compute(clip: Analysed) -> npt.NDArray[np.floating]:
        if not settings.decibels:
            return clip.magnitude.T
        return np.asarray(10.0 * np.log10(np.square(clip.magnitude.T, dtype=np.float64) + 1e-8))

    bins = grid.n_fft // 2 + 1
    return Feature(
        name="stft",
        columns=tuple(f"stft_{number}" for number in range(bins)),
        compute=compute,
        not_there=_NOT_THERE,
    )


def _whole_clip(mel: Mel) -> str | None:
    held = mel.ref == "max" or mel.top_db is not None
    return "levels are held against the clip's loudest" if held else None


def _mel(settings: Mel, config: LabConfig) -> Feature:
    return Feature(
        name="mel",
        columns=tuple(f"mel_{number}" for number in range(settings.n_mels)),
        compute=lambda clip: _transformed(clip, transform(config, settings), settings),
        whole_clip=_whole_clip(settings),
    )


def _mfcc(settings: Mfcc, config: LabConfig) -> Feature:
    names = [f"mfcc_{number}" for number in range(settings.n)]
    front = msgspec.structs.replace(
        transform(config, settings.mel), kind="mfcc", n_mfcc=settings.n, lifter=settings.lifter
    )

    def compute(clip: Analysed) -> Doubles:
        coefficients = _transformed(clip, front, settings.mel)
        slopes = [
            librosa.feature.delta(coefficients, width=DELTA_WIDTH, order=order, axis=0)
            for order in range(1, settings.deltas + 1)
        ]
        return np.hstack([coefficients, *slopes])

    steps = ["", "_delta", "_delta2"][: settings.deltas + 1]
    return Feature(
        name="mfcc",
        columns=tuple(f"{name}{step}" for step in steps for name in names),
        compute=compute,
        whole_clip="deltas are bent to fit the clip's ends"
        if settings.deltas
        else _whole_clip(settings.mel),
    )


def _transformed(clip: Analysed, settings: FrontendSettings, mel: Mel) -> Doubles:
    return clip_features(
        clip.sound.samples,
        settings,
        center=clip.grid.center,
        ref="max" if mel.ref == "max" else 1.0,
        top_db=mel.top_db,
    )


def _chroma(settings: Chroma) -> Feature:
    estimate = settings.tuning == "estimate"

    def compute(clip: Analysed) -> npt.NDArray[np.floating]:
        power, rate, n_fft = np.square(clip.magnitude), clip.sound.rate, clip.grid.n_fft
        with warnings.catch_warnings():
            # A clip without a line, like silence, is taken to be tuned to concert pitch.
            warnings.filterwarnings("ignore", "Trying to estimate tuning from empty")
            tuning = librosa.estimate_tuning(S=power, sr=rate, n_fft=n_fft) if estimate else 0.0
        chroma = librosa.feature.chroma_stft(S=power, sr=rate, n_fft=n_fft, tuning=tuning)
        return np.asarray(chroma.T)

    return Feature(
        name="chroma",
        columns=tuple(f"chroma_{pitch}" for pitch in PITCHES),
        compute=compute,
        whole_clip="the tuning is that of the whole" if estimate else None,
        not_there=_NOT_THERE,
    )


def _rolloff(settings: Rolloff) -> Feature:
    def compute(clip: Analysed) -> npt.NDArray[np.floating]:
        rolloff = librosa.feature.spectral_rolloff(
            S=clip.magnitude, sr=clip.sound.rate, roll_percent=settings.share
        )
        return np.asarray(rolloff.T)

    return _single("spectral_rolloff", compute)


def _waveform(grid: Grid) -> Feature:
    def compute(clip: Analysed) -> Samples:
        samples = clip.sound.samples
        frames = 1 + (samples.size - grid.n_fft) // grid.hop
        return samples[: frames * grid.hop].reshape(frames, grid.hop)

    return Feature(
        name="waveform",
        columns=tuple(f"sample_{number}" for number in range(grid.hop)),
        compute=compute,
        not_there=_NOT_THERE,
    )


def _single(name: str, compute: Callable[[Analysed], npt.NDArray[np.floating]]) -> Feature:
    return Feature(name=name, columns=(name,), compute=compute, not_there=_NOT_THERE)


def _centroid(clip: Analysed) -> npt.NDArray[np.floating]:
    centroid = librosa.feature.spectral_centroid(S=clip.magnitude, sr=clip.sound.rate)
    return np.asarray(centroid.T)


def _zero_crossings(clip: Analysed) -> npt.NDArray[np.floating]:
    crossings = librosa.feature.zero_crossing_rate(
        clip.sound.samples,
        frame_length=clip.grid.n_fft,
        hop_length=clip.grid.hop,
        center=clip.grid.center,
    )
    return np.asarray(crossings.T)


def _rms(clip: Analysed) -> npt.NDArray[np.floating]:
    rms = librosa.feature.rms(
        y=clip.sound.samples,
        frame_length=clip.grid.n_fft,
        hop_length=clip.grid.hop,
        center=clip.grid.center,
    )
    return np.asarray(rms.T)
