"""What is done to a recording's samples before any feature, each step by its name.

A step that needs the whole clip says why: it has no place on the device, whose sound has no end.
"""

from collections.abc import Callable
from pathlib import Path

import librosa
import msgspec
import noisereduce
import numpy as np

from edge_agent.capture.files import read_recording
from edge_agent.records import Samples
from edge_agent.resample import resample
from model_build.features import METER_RATE, looped
from model_build.labconfig import Denoise, Fit, Normalise, Resample, Steps, Trim

_TRIM_WINDOW, _TRIM_HOP = 2048, 512
_DENOISE_WINDOW = 1024


class Sound(msgspec.Struct, frozen=True):
    """A clip: (n,) samples, full scale 1, at `rate` Hz."""

    samples: Samples
    rate: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, with its settings inside."""

    name: str
    run: Callable[[Sound], Sound]
    whole_clip: str | None = None
    """Why the whole clip must be there; None: a stream will do."""


def chosen(settings: Steps) -> tuple[Step, ...]:
    """The steps that are switched on, in their order."""
    steps = [Step(name="resample", run=lambda sound: resampled(sound, settings.resample))]
    if (trim := settings.trim) is not None:
        steps.append(
            Step(
                name="trim",
                run=lambda sound: trimmed(sound, trim),
                whole_clip="silence is told from the clip's loudest moment",
            )
        )
    if (denoise := settings.denoise) is not None:
        steps.append(
            Step(
                name="denoise",
                run=lambda sound: denoised(sound, denoise),
                whole_clip="noise is told from sound by what comes before and after it",
            )
        )
    if (normalise := settings.normalise) is not None:
        steps.append(
            Step(
                name="normalise",
                run=lambda sound: normalised(sound, normalise),
                whole_clip="the level is that of the whole",
            )
        )
    if (fit := settings.fit) is not None:
        steps.append(
            Step(
                name="fit",
                run=lambda sound: fitted(sound, fit),
                whole_clip="a length needs a beginning and an end",
            )
        )
    return tuple(steps)


def load(path: Path) -> Sound:
    """A recording, mono by mean, at its own rate.

    Raises:
        AudioError: It cannot be read to its end, or holds samples that are no sound.
    """
    return Sound(*read_recording(path))


def prepared(path: Path, steps: tuple[Step, ...]) -> Sound:
    """A recording after all steps.

    Raises:
        AudioError: As `load`.
    """
    sound = load(path)
    for step in steps:
        sound = step.run(sound)
    return sound


def resampled(sound: Sound, settings: Resample) -> Sound:
    """By way of the meter's rate as the device does, or directly."""
    samples, rate = sound.samples, sound.rate
    if settings.way == "device":
        samples, rate = resample(samples, rate, METER_RATE), METER_RATE
    return Sound(resample(samples, rate, settings.rate), settings.rate)


def trimmed(sound: Sound, settings: Trim) -> Sound:
    """Without the silence before the first and behind the last loud window of 2048 samples.

    What is silent throughout stays as it is: nothing in it is louder than the rest.
    """
    kept, _ = librosa.effects.trim(
        sound.samples, top_db=settings.top_db, frame_length=_TRIM_WINDOW, hop_length=_TRIM_HOP
    )
    return Sound(np.ascontiguousarray(kept), sound.rate)


def denoised(sound: Sound, settings: Denoise) -> Sound:
    """With each band gated by how far it stands out of its noise; of the same length.

    Sainburg et al. 2020, "Finding, visualizing, and quantifying latent structure across diverse
    animal vocal repertoires", as noisereduce has it.
    """
    if not sound.samples.any():
        return sound
    cleaned = noisereduce.reduce_noise(
        # Below one window it would take a shorter one, and hear other bands.
        y=looped(sound.samples, _DENOISE_WINDOW),
        sr=sound.rate,
        n_fft=_DENOISE_WINDOW,
        stationary=settings.stationary,
        prop_decrease=settings.strength,
    )
    own = np.ascontiguousarray(cleaned[: sound.samples.size], np.float32)
    return Sound(own, sound.rate)


def normalised(sound: Sound, settings: Normalise) -> Sound:
    """With the wanted peak, or RMS, re full scale; silence as it is."""
    own = sound.samples.astype(np.float64)
    if settings.rms_dbfs is None:
        wanted_db, level = settings.peak_dbfs, float(np.abs(own).max(initial=0.0))
    else:
        wanted_db, level = settings.rms_dbfs, float(np.sqrt(np.square(own).mean()))
    if level == 0.0:
        return sound
    return Sound((own * (10 ** (wanted_db / 20) / level)).astype(np.float32), sound.rate)


def fitted(sound: Sound, settings: Fit) -> Sound:
    """Of the wanted length: cut at its end, or filled up there."""
    length = max(1, round(settings.seconds * sound.rate))
    samples = sound.samples[:length]
    if settings.short == "loop":
        samples = looped(samples, length)
    return Sound(np.pad(samples, (0, length - samples.size)), sound.rate)
