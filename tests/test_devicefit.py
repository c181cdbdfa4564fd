"""What the device can do of a laboratory's configuration: the same rows, or a refusal."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BuildError
from edge_agent.frontend import Patches
from edge_agent.records import Samples
from model_build import devicefit, features
from model_build.labconfig import (
    Chroma,
    Denoise,
    FeatureSettings,
    Fit,
    Grid,
    LabConfig,
    Mel,
    Mfcc,
    Normalise,
    PatchSettings,
    Resample,
    Rolloff,
    Statistic,
    Steps,
    Stft,
    Trim,
    load,
)
from model_build.labrows import Maker
from model_build.steps import Sound
from tests.conftest import examples

RATE = 16000
DEVICE = load(Path("device"))
ABLE = {
    "mfcc_stats": DEVICE,
    "mfcc_mean": msgspec.structs.replace(DEVICE, summary=("mean",)),
    "mfcc": msgspec.structs.replace(DEVICE, summary=None),
    "logmel": LabConfig(features=FeatureSettings(mel=Mel()), patches=PatchSettings()),
    "another grid": LabConfig(
        grid=Grid(n_fft=512, win_length=512, hop=160),
        features=FeatureSettings(mel=Mel(n_mels=32, scale="htk", norm="none", floor="amin")),
        patches=PatchSettings(frames=96, hop=24),
    ),
}


def noise(samples: int) -> Samples:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def the_devices(samples: Samples, config: LabConfig) -> Samples:
    patches = Patches(features.raw(devicefit.frontend(config)), "exact")
    return patches.batch(features.looped(samples, patches.span))


@pytest.mark.parametrize("name", ABLE)
@given(samples=st.integers(1, 40000))
def test_what_the_device_can_do_gives_the_same_rows(name: str, samples: int) -> None:
    """Both compute in float64; the device rounds frames to float32 before it sums them up."""
    rows = Maker(ABLE[name]).rows_of(Sound(noise(samples), RATE))
    wanted = the_devices(noise(samples), ABLE[name])
    assert rows.shape == wanted.shape
    assert np.abs(rows - wanted).max() < 2e-4


def test_the_kind_follows_from_feature_and_summary() -> None:
    kinds = {name: devicefit.frontend(config).kind for name, config in ABLE.items()}
    assert kinds.pop("another grid") == "logmel"
    assert kinds == {name: name for name in kinds}


@pytest.mark.data
def test_recordings_give_the_rows_that_the_device_hears(data_root: Path) -> None:
    clips = sorted((data_root / "urbansound8k" / "fold1").iterdir())[:: examples(120)]
    maker = Maker(DEVICE)
    for path in clips:
        wanted = the_devices(features.heard(path, RATE), DEVICE)
        assert np.abs(maker.rows(path) - wanted).max() < 2e-4
    assert len(clips) >= 6


def changed(
    *,
    steps: Steps | None = None,
    grid: Grid | None = None,
    summary: tuple[Statistic, ...] | None = ("mean",),
    patches: PatchSettings | None = DEVICE.patches,
    **switched: object,
) -> LabConfig:
    wanted = {"mfcc": Mfcc(), **switched}
    return LabConfig(
        steps=steps or Steps(),
        grid=grid or Grid(),
        features=msgspec.convert(msgspec.to_builtins(wanted), FeatureSettings),
        patches=patches,
        summary=summary,
    )


WHOLE_CLIP = {
    "steps.trim": changed(steps=Steps(trim=Trim())),
    "steps.denoise": changed(steps=Steps(denoise=Denoise())),
    "steps.normalise": changed(steps=Steps(normalise=Normalise())),
    "steps.fit": changed(steps=Steps(fit=Fit())),
    "grid.center": changed(grid=Grid(center=True)),
    "features.mfcc": changed(mfcc=Mfcc(deltas=1)),
    "features.mfcc ": changed(mfcc=Mfcc(mel=Mel(top_db=80))),
    "features.mel": changed(mfcc=None, mel=Mel(ref="max"), summary=None),
}
OTHERWISE = {
    "steps.resample.way": changed(steps=Steps(resample=Resample(way="direct"))),
    "features.stft": changed(mfcc=None, stft=Stft(), summary=None),
    "features.chroma": changed(mfcc=None, chroma=Chroma(), summary=None),
    "features.spectral_centroid": changed(mfcc=None, spectral_centroid=True, summary=None),
    "features.spectral_rolloff": changed(mfcc=None, spectral_rolloff=Rolloff(), summary=None),
    "features.zero_crossing_rate": changed(mfcc=None, zero_crossing_rate=True, summary=None),
    "features.rms": changed(mfcc=None, rms=True, summary=None),
    "features": changed(mel=Mel()),
    "patches": changed(patches=None),
    "summary": changed(summary=("std",)),
    "summary ": changed(mfcc=None, mel=Mel()),
    # A constant offset would leak into the lowest band.
    "features ": changed(mfcc=None, mel=Mel(fmin=0.0), summary=None),
}


@pytest.mark.parametrize("key", WHOLE_CLIP)
def test_what_needs_the_whole_clip_is_refused(key: str) -> None:
    with pytest.raises(BuildError, match="not for a device bundle") as refused:
        devicefit.frontend(WHOLE_CLIP[key])
    (line,) = refused.value.message.splitlines()[1:]
    assert line.startswith(f"  {key.strip()}: needs the whole clip: ")


@pytest.mark.parametrize("key", OTHERWISE)
def test_what_the_device_has_not_is_refused(key: str) -> None:
    with pytest.raises(BuildError, match="not for a device bundle") as refused:
        devicefit.frontend(OTHERWISE[key])
    (line,) = refused.value.message.splitlines()[1:]
    assert line.startswith(f"  {key.strip()}: ")
    assert "whole clip:" not in line


def test_all_that_is_in_the_way_is_told_at_once() -> None:
    found = [one.key for one in devicefit.obstacles(load(Path("zoo")))]
    assert {"steps.trim", "steps.denoise", "features.chroma", "patches"} <= set(found)
