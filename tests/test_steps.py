"""What is done to a clip before any feature, each step by itself."""

from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import AudioError
from edge_agent.records import Samples
from model_build import features, steps
from model_build.labconfig import Denoise, Fit, Normalise, Resample, Steps, Trim
from model_build.steps import Sound
from tests import toy_streets
from tests.conftest import examples

RATE = 16000


def noise(samples: int, level: float = 0.1, seed: int = 0) -> Samples:
    white = np.random.default_rng(seed).standard_normal(samples)
    return (level * white).astype(np.float32)


def rms_db(samples: Samples) -> float:
    return features.level_dbfs(samples)


def test_the_steps_run_in_one_order_whatever_the_file_says() -> None:
    every = Steps(fit=Fit(), normalise=Normalise(), denoise=Denoise(), trim=Trim())
    names = [step.name for step in steps.chosen(every)]
    assert names == ["resample", "trim", "denoise", "normalise", "fit"]
    assert [step.name for step in steps.chosen(Steps())] == ["resample"]


def test_what_needs_the_whole_clip_says_so() -> None:
    every = Steps(fit=Fit(), normalise=Normalise(), denoise=Denoise(), trim=Trim())
    assert [step.name for step in steps.chosen(every) if step.whole_clip is None] == ["resample"]


def test_a_recording_is_resampled_as_the_device_hears_it_or_directly(tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    toy_streets.write(path, noise(22050), 22050)
    sound = steps.load(path)
    assert (sound.rate, sound.samples.size) == (22050, 22050)
    as_device = steps.resampled(sound, Resample())
    assert np.array_equal(as_device.samples, features.heard(path, RATE))
    direct = steps.resampled(sound, Resample(way="direct"))
    assert np.array_equal(direct.samples, soxr.resample(sound.samples, 22050, RATE, "HQ"))
    assert as_device.rate == direct.rate == RATE


def test_silence_is_cut_off_both_ends_and_nothing_else() -> None:
    """Within a window and a hop: the window that first reaches into the sound is kept."""
    burst = noise(8000)
    padded = np.concatenate([np.zeros(20000, np.float32), burst, np.zeros(30000, np.float32)])
    kept = steps.trimmed(Sound(padded, RATE), Trim()).samples
    assert burst.size <= kept.size <= burst.size + 2 * (2048 + 512)
    assert np.array_equal(kept[np.flatnonzero(kept)], burst[np.flatnonzero(burst)])


def test_a_pause_between_two_sounds_stays() -> None:
    twice = np.concatenate([noise(4000), np.zeros(32000, np.float32), noise(4000)])
    assert steps.trimmed(Sound(twice, RATE), Trim()).samples.size == twice.size


@pytest.mark.parametrize("top_db", [20.0, 60.0])
def test_how_silent_silence_is_can_be_set(top_db: float) -> None:
    hiss = noise(32000, 0.1 * 10 ** (-40 / 20))
    hiss[12000:20000] += noise(8000)
    kept = steps.trimmed(Sound(hiss, RATE), Trim(top_db=top_db)).samples.size
    assert (kept == 32000) == (top_db == 60.0)


def test_what_is_silent_throughout_stays_as_it_is() -> None:
    silent = Sound(np.zeros(5000, np.float32), RATE)
    for settings in (Steps(trim=Trim()), Steps(denoise=Denoise()), Steps(normalise=Normalise())):
        _, step = steps.chosen(settings)
        assert np.array_equal(step.run(silent).samples, silent.samples), step.name


@pytest.mark.parametrize("stationary", [False, True])
def test_noise_is_taken_away_and_the_sound_left(stationary: bool) -> None:
    """Bursts 26 dB above hiss: it falls by 10 dB and more, they by less than three."""
    t = np.arange(5 * RATE) / RATE
    on = (t % 1 > 0.4) & (t % 1 < 0.6)
    mixed = noise(t.size, 0.2) * on + noise(t.size, 0.01, seed=1)
    found = steps.denoised(Sound(mixed, RATE), Denoise(stationary=stationary)).samples
    pause = (t % 1 > 0.8) | (t % 1 < 0.2)
    burst = (t % 1 > 0.45) & (t % 1 < 0.55)
    assert rms_db(found[pause]) < rms_db(mixed[pause]) - 10
    assert rms_db(found[burst]) == pytest.approx(rms_db(mixed[burst]), abs=3)


def test_no_strength_is_no_change() -> None:
    """Within what an STFT and its inverse cost in float32."""
    mixed = noise(RATE)
    found = steps.denoised(Sound(mixed, RATE), Denoise(strength=0.0)).samples
    assert np.abs(found - mixed).max() < 1e-6


@given(st.integers(1, 4000), st.booleans())
def test_a_clip_of_any_length_keeps_it_without_noise(samples: int, stationary: bool) -> None:
    sound = Sound(noise(samples, seed=samples), RATE)
    found = steps.denoised(sound, Denoise(stationary=stationary)).samples
    assert found.shape == (samples,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@given(st.floats(-60, 0), st.floats(1e-4, 50))
def test_a_peak_is_where_it_is_wanted_whatever_it_was(wanted_db: float, gain: float) -> None:
    sound = Sound(noise(2000) * np.float32(gain), RATE)
    found = steps.normalised(sound, Normalise(peak_dbfs=wanted_db)).samples
    # float32 holds 24 bits: 5e-7 dB.
    assert 20 * np.log10(np.abs(found).max()) == pytest.approx(wanted_db, abs=1e-5)


@given(st.floats(-60, 0), st.floats(1e-4, 50))
def test_an_rms_is_where_it_is_wanted_whatever_it_was(wanted_db: float, gain: float) -> None:
    sound = Sound(noise(2000) * np.float32(gain), RATE)
    found = steps.normalised(sound, Normalise(rms_dbfs=wanted_db)).samples
    assert rms_db(found) == pytest.approx(wanted_db, abs=1e-5)


@given(st.integers(1, 3000), st.floats(0.001, 0.15), st.sampled_from(["silence", "loop"]))
def test_every_clip_gets_one_length(samples: int, seconds: float, short: str) -> None:
    sound = Sound(noise(samples), RATE)
    settings = Fit(seconds=seconds, short="loop" if short == "loop" else "silence")
    found = steps.fitted(sound, settings).samples
    assert found.size == round(seconds * RATE)
    kept = min(samples, found.size)
    assert np.array_equal(found[:kept], sound.samples[:kept])
    rest = found[kept:]
    if short == "loop":
        assert np.array_equal(rest, np.resize(sound.samples, found.size)[kept:])
    else:
        assert not rest.any()


def test_a_recording_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    path.write_bytes(b"no sound")
    with pytest.raises(AudioError, match="is neither WAV, FLAC nor Ogg"):
        steps.prepared(path, steps.chosen(Steps()))


@pytest.mark.data
def test_real_clips_pass_through_every_step(data_root: Path) -> None:
    every = steps.chosen(
        Steps(trim=Trim(), denoise=Denoise(), normalise=Normalise(), fit=Fit(seconds=2))
    )
    clips = sorted((data_root / "urbansound8k" / "fold1").iterdir())[:: examples(80)]
    for path in clips:
        sound = steps.prepared(path, every)
        assert sound.samples.shape == (2 * RATE,)
        # What was cut off behind the first two seconds may have held the peak.
        assert np.abs(sound.samples).max() <= 1.0 + 1e-6
    assert len(clips) >= 9
