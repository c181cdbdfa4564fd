"""What the laboratory does to a recording before a model sees it: steps, features, rows.

A configuration is a YAML or JSON file in which every step and every feature has a name, and is on
where that name stands. `recipes/` holds the shipped ones; docs/laboratory.md describes each
setting. Which of them the device can do as well is told by `devicefit`.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edge_agent.config import FrontendSettings
from edge_agent.frontend import check
from model_build import typedfile

RECIPES = Path(__file__).parent / "recipes"

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
Samples: TypeAlias = Annotated[int, Meta(ge=16, le=65536)]
Statistic: TypeAlias = Literal["mean", "std", "min", "max", "delta_rms"]


class Resample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """To another rate; always on, as models need one rate."""

    rate: Annotated[int, Meta(ge=8000, le=48000)] = 16000
    """Hz."""
    way: Literal["device", "direct"] = "device"
    """`device`: by way of 48 kHz, as the agent hears."""


class Trim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Cut silence off both ends."""

    top_db: Annotated[float, Meta(gt=0, le=120)] = 40.0
    """Silence is what lies so far below the clip's loudest window."""


class Denoise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Spectral gating by noisereduce."""

    stationary: bool = False
    """One noise spectrum for the whole clip; else one that follows it over seconds."""
    strength: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Share of the noise that is taken away."""


class Normalise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One level for every clip; a silent one stays silent."""

    peak_dbfs: Annotated[float, Meta(ge=-60, le=0)] = 0.0
    rms_dbfs: Annotated[float, Meta(ge=-90, le=0)] | None = None
    """Instead of the peak, which then may go beyond full scale."""


class Fit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One length for every clip: the end of a longer one is cut off."""

    seconds: Annotated[float, Meta(gt=0, le=600)] = 4.0
    short: Literal["silence", "loop"] = "silence"
    """What a shorter one is filled up with."""


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Before any feature, in this order; `null` or absent is off."""

    resample: Resample = Resample()
    trim: Trim | None = None
    denoise: Denoise | None = None
    normalise: Normalise | None = None
    fit: Fit | None = None


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The frames that all features share; samples."""

    n_fft: Samples = 1024
    win_length: Samples = 1024
    hop: Samples = 320
    center: bool = False
    """Frame t is centred on sample t * hop, with zeros beyond both ends, as librosa does."""


class Mel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Log-mel levels, dB; bands in Hz."""

    n_mels: Annotated[int, Meta(ge=1, le=512)] = 64
    fmin: Annotated[float, Meta(ge=0)] = 50.0
    fmax: Positive = 7500.0
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    floor: Literal["offset", "amin"] = "offset"
    """A power that is added, or the least that counts."""
    floor_value: Positive = 1e-8
    ref: Literal["full_scale", "max"] = "full_scale"
    """What is 0 dB: a power of 1, or the loudest of the clip."""
    top_db: Positive | None = None
    """How far below the clip's loudest value everything is raised to."""


class Mfcc(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Cepstral coefficients of the mel levels, with their deltas."""

    n: Annotated[int, Meta(ge=1, le=512)] = 40
    lifter: Annotated[int, Meta(ge=0, le=1000)] = 0
    deltas: Annotated[int, Meta(ge=0, le=2)] = 0
    """1: also their slope over 9 frames; 2: also the slope's slope."""
    mel: Mel = Mel()


class Stft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Magnitudes of all bins."""

    decibels: bool = True


class Chroma(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Energy by pitch class, each frame's strongest at 1."""

    tuning: Literal["concert", "estimate"] = "concert"
    """A at 440 Hz, or where the clip's own lines say that it is."""


class Rolloff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hz below which a share of a frame's magnitude lies."""

    share: Annotated[float, Meta(gt=0, lt=1)] = 0.85


class FeatureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Features by frame; `null`, `false` or absent is off."""

    stft: Stft | None = None
    mel: Mel | None = None
    mfcc: Mfcc | None = None
    chroma: Chroma | None = None
    spectral_centroid: bool = False
    spectral_rolloff: Rolloff | None = None
    zero_crossing_rate: bool = False
    rms: bool = False
    waveform: bool = False
    """The samples themselves, a hop of them in each frame."""


class PatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rows are stretches of so many frames, as the device scores them, and not whole clips."""

    frames: Annotated[int, Meta(ge=1, le=1000)] = 48
    hop: Annotated[int, Meta(ge=1, le=1000)] = 12


class LabConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From a recording to what a model learns from."""

    steps: Steps = Steps()
    grid: Grid = Grid()
    features: FeatureSettings
    patches: PatchSettings | None = None
    summary: Annotated[tuple[Statistic, ...], Meta(min_length=1)] | None = None
    """Statistics over a row's frames, instead of the frames; `delta_rms` is that of the slope."""

    def __post_init__(self) -> None:
        grid = self.grid
        if grid.win_length > grid.n_fft:
            raise ValueError(f"grid.win_length {grid.win_length} exceeds n_fft {grid.n_fft}")
        if grid.hop > grid.n_fft:
            raise ValueError(f"grid.hop {grid.hop} exceeds n_fft {grid.n_fft}: samples go unheard")
        if not any(getattr(self.features, name) for name in self.features.__struct_fields__):
            raise ValueError("features are all off: switch one on, like `mel: {}`")
        if self.summary is not None and len(set(self.summary)) < len(self.summary):
            raise ValueError("summary names a statistic twice")
        if self.features.waveform and grid.center:
            raise ValueError("features.waveform has no frames around a centre: leave center off")
        mfcc = self.features.mfcc
        _check("features.mel", self, self.features.mel)
        if mfcc is not None:
            if mfcc.n > mfcc.mel.n_mels:
                raise ValueError(
                    f"features.mfcc.n {mfcc.n} exceeds its mel.n_mels {mfcc.mel.n_mels}"
                )
            _check("features.mfcc.mel", self, mfcc.mel)


def transform(config: LabConfig, mel: Mel) -> FrontendSettings:
    """The device's front end with this grid and these bands; `ref` and `top_db` it has not."""
    patches = config.patches or PatchSettings()
    return FrontendSettings(
        rate=config.steps.resample.rate,
        n_fft=config.grid.n_fft,
        win_length=config.grid.win_length,
        hop=config.grid.hop,
        n_mels=mel.n_mels,
        fmin=mel.fmin,
        fmax=mel.fmax,
        scale=mel.scale,
        norm=mel.norm,
        floor=mel.floor,
        floor_value=mel.floor_value,
        patch=patches.frames,
        patch_hop=patches.hop,
    )


def _check(key: str, config: LabConfig, mel: Mel | None) -> None:
    if mel is None:
        return
    try:
        check(transform(config, mel), device=False)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def load(path: Path) -> LabConfig:
    """Read a configuration: a file, or the name of a shipped one.

    Raises:
        ConfigError: There is no such file, or something in it is not allowed, with its place.
    """
    hint = "Switch at least one feature on, like `features: {mel: {}}`."
    config = typedfile.read(path, LabConfig, if_empty=hint, shipped=RECIPES)
    assert isinstance(config, LabConfig), "what is built is what was asked for"
    return config
