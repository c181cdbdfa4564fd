"""Features of a clip against what arithmetic says of simple sounds, and against librosa's own."""

import librosa
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.records import Samples
from model_build import clipfeatures
from model_build.labconfig import (
    Chroma,
    FeatureSettings,
    Grid,
    LabConfig,
    Mel,
    Mfcc,
    Rolloff,
    Stft,
)
from model_build.steps import Sound

RATE = 16000
ALL = FeatureSettings(
    stft=Stft(),
    mel=Mel(),
    mfcc=Mfcc(deltas=2),
    chroma=Chroma(),
    spectral_centroid=True,
    spectral_rolloff=Rolloff(),
    zero_crossing_rate=True,
    rms=True,
)


def sine(hz: float, amplitude: float = 0.5) -> Samples:
    t = np.arange(2 * RATE) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def white(samples: int = 4 * RATE) -> Samples:
    return (0.1 * np.random.default_rng(3).standard_normal(samples)).astype(np.float32)


def found(samples: Samples, settings: FeatureSettings, grid: Grid | None = None) -> Samples:
    config = LabConfig(features=settings, grid=grid or Grid())
    sound = Sound(samples, RATE)
    return clipfeatures.by_frame(sound, clipfeatures.chosen(config), config.grid)


@pytest.mark.parametrize("hz", [500.0, 1000.0, 3000.0])
def test_a_tone_is_at_its_own_frequency(hz: float) -> None:
    """On a bin: the window's main lobe is even around it, and its side lobes fall fast."""
    values = found(sine(hz), FeatureSettings(spectral_centroid=True))
    assert values == pytest.approx(hz, abs=2.0)


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_white_noise_rolls_off_at_its_share_of_the_band(share: float) -> None:
    """The mean over 200 frames of 512 bins: 1 % of the band is some ten standard deviations."""
    values = found(white(), FeatureSettings(spectral_rolloff=Rolloff(share=share)))
    assert values.mean() == pytest.approx(share * RATE / 2, abs=0.01 * RATE / 2)


@pytest.mark.parametrize("hz", [100.0, 997.0, 4000.0])
def test_a_tone_crosses_zero_twice_a_period(hz: float) -> None:
    """A frame of 1024 samples holds one crossing more or less, by where it begins."""
    values = found(sine(hz), FeatureSettings(zero_crossing_rate=True))
    assert values == pytest.approx(2 * hz / RATE, abs=1.5 / 1024)


def test_the_rms_of_a_tone_is_its_amplitude_over_root_two() -> None:
    values = found(sine(1000, 0.5), FeatureSettings(rms=True))
    assert values == pytest.approx(0.5 / np.sqrt(2), abs=1e-5)


@pytest.mark.parametrize(("pitch", "hz"), [("A", 440.0), ("C", 523.251), ("F#", 739.989)])
def test_a_pitch_is_its_class(pitch: str, hz: float) -> None:
    values = found(sine(hz), FeatureSettings(chroma=Chroma()))
    assert values.shape[1] == 12
    assert (values.argmax(axis=1) == clipfeatures.PITCHES.index(pitch)).all()
    assert values.max(axis=1) == pytest.approx(1.0)


def test_an_orchestra_that_is_tuned_high_is_heard_where_it_plays() -> None:
    """440 Hz and 40 cents: its own class again once the tuning is estimated."""
    high = sum(sine(hz * 2 ** (40 / 1200), 0.1) for hz in (220.0, 440.0, 880.0))
    assert isinstance(high, np.ndarray)
    concert = found(high, FeatureSettings(chroma=Chroma()))
    estimated = found(high, FeatureSettings(chroma=Chroma(tuning="estimate")))
    a, b_flat = clipfeatures.PITCHES.index("A"), clipfeatures.PITCHES.index("A#")
    assert (estimated[:, b_flat] / estimated[:, a]).mean() < (
        concert[:, b_flat] / concert[:, a]
    ).mean()


def test_a_tone_on_a_bin_has_the_magnitude_that_the_window_gives_it() -> None:
    """A Hann window sums to half its length, and a tone's power is in two lines: A * n / 4."""
    values = found(sine(1000, 0.5), FeatureSettings(stft=Stft(decibels=False)))
    assert values.argmax(axis=1).tolist() == [64] * len(values)
    assert values[:, 64] == pytest.approx(0.5 * 1024 / 4, rel=1e-4)
    decibels = found(sine(1000, 0.5), FeatureSettings(stft=Stft()))
    assert decibels[:, 64] == pytest.approx(20 * np.log10(128), abs=1e-3)


PUBLISHED = Grid(n_fft=2048, win_length=2048, hop=512, center=True)
BANDS = Mel(
    n_mels=128, fmin=0.0, fmax=8000.0, floor="amin", floor_value=1e-10, ref="full_scale", top_db=80
)


def librosas(samples: Samples, ref_is_max: bool) -> npt.NDArray[np.float64]:
    """Log-mel levels by librosa's defaults, (bands, frames)."""
    power = librosa.feature.melspectrogram(y=samples, sr=RATE)
    levels = librosa.power_to_db(power, ref=np.max) if ref_is_max else librosa.power_to_db(power)
    return np.asarray(levels, np.float64)


@pytest.mark.parametrize("ref", ["full_scale", "max"])
def test_mel_levels_are_librosas(ref: str) -> None:
    """Within what its mel weights in float32 cost."""
    mel = msgspec.convert({**msgspec.to_builtins(BANDS), "ref": ref}, Mel)
    values = found(white(), FeatureSettings(mel=mel), PUBLISHED)
    wanted = librosas(white(), ref_is_max=ref == "max").T
    assert values.shape == wanted.shape
    assert np.abs(values - wanted).max() < 1e-3


def test_cepstral_coefficients_and_their_deltas_are_librosas() -> None:
    """The sum over 128 bands makes ten times the error of one."""
    values = found(white(), FeatureSettings(mfcc=Mfcc(n=20, deltas=2, mel=BANDS)), PUBLISHED)
    mfcc = librosa.feature.mfcc(y=white(), sr=RATE, n_mfcc=20)
    deltas = [librosa.feature.delta(mfcc, order=order) for order in (1, 2)]
    wanted = np.vstack([mfcc, *deltas]).T
    assert values.shape == wanted.shape
    assert np.abs(values - wanted).max() < 1e-2


@pytest.mark.parametrize("center", [False, True])
def test_the_rest_is_librosas_on_the_same_frames(center: bool) -> None:
    grid = Grid(n_fft=512, win_length=400, hop=160, center=center)
    values = found(white(), ALL, grid)
    names = [name for one in clipfeatures.chosen(LabConfig(features=ALL)) for name in one.columns]
    assert center or len(values) == 1 + (4 * RATE - 512) // 160
    by_name = dict(zip(names[-3:], values.T[-3:], strict=True))
    wanted = librosa.feature.rms(y=white(), frame_length=512, hop_length=160, center=center)
    assert by_name["rms"] == pytest.approx(wanted[0], abs=1e-6)


@given(st.integers(0, 9000), st.booleans(), st.sampled_from([160, 320, 512]))
def test_all_features_share_one_grid(more: int, center: bool, hop: int) -> None:
    grid = Grid(hop=hop, center=center)
    samples = white(1024 + 8 * hop + more)
    values = found(samples, ALL, grid)
    frames = 1 + samples.size // hop if center else 1 + (samples.size - 1024) // hop
    assert values.shape == (frames, 513 + 64 + 120 + 12 + 4)


def test_silence_gives_numbers() -> None:
    values = found(np.zeros(RATE, np.float32), ALL)
    assert np.isfinite(values).all()
    estimated = FeatureSettings(chroma=Chroma(tuning="estimate"))
    assert not found(np.zeros(RATE, np.float32), estimated).any()


def test_columns_are_named_one_by_one() -> None:
    config = LabConfig(features=ALL)
    for one in clipfeatures.chosen(config):
        values = one.compute(clipfeatures.Analysed(Sound(white(), RATE), config.grid))
        assert values.shape[1] == len(one.columns), one.name
        assert len(set(one.columns)) == len(one.columns)


@pytest.mark.parametrize("samples", [1024, 1343, 1344, 5000])
def test_the_waveform_is_the_samples_hop_by_hop(samples: int) -> None:
    sound = white(samples)
    rows = found(sound, FeatureSettings(waveform=True, rms=True))[:, 1:]
    assert rows.shape == (1 + (samples - 1024) // 320, 320)
    assert np.array_equal(rows.ravel(), sound[: rows.size])


def test_a_waveform_is_not_cut_around_centres() -> None:
    with pytest.raises(ValueError, match="waveform has no frames around a centre"):
        LabConfig(features=FeatureSettings(waveform=True), grid=Grid(center=True))
