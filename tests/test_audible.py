"""Where a clip is heard: found on tones whose onset is known."""

from pathlib import Path

import numpy as np
import pytest

from model_build.audible import LONGEST_S, RATE, Sound, audible, cut
from model_build.datasets import Clip, Skip
from tests import toy_streets

FRAME_S = 0.01


def _tone(silence_s: float, tone_s: float, after_s: float = 0.0) -> Sound | None:
    t = np.arange(round(tone_s * RATE)) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t)
    edges = round(silence_s * RATE), round(after_s * RATE)
    return audible(np.pad(tone, edges).astype(np.float32))


@pytest.mark.parametrize("silence_s", [0.0, 0.013, 0.5])
def test_silence_before_and_after_a_sound_is_left_out(silence_s: float) -> None:
    sound = _tone(silence_s, 0.4, 0.3)
    assert sound is not None
    # Onset and offset are those of 10 ms frames.
    assert (sound.offset - sound.onset) / RATE == pytest.approx(0.4, abs=2 * FRAME_S)
    power = np.square(sound.samples)
    assert power[sound.onset : sound.offset].sum() > 0.95 * power.sum()


def test_what_is_20_db_down_is_not_heard_and_a_little_more_is() -> None:
    t = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 1000 * t)
    quiet, louder = (
        audible((0.5 * sine * np.where(t < 0.5, 10 ** (-down / 20), 1)).astype(np.float32))
        for down in (21, 19)
    )
    assert quiet is not None
    assert louder is not None
    assert (quiet.offset - quiet.onset) / RATE == pytest.approx(0.5, abs=FRAME_S)
    assert (louder.offset - louder.onset) / RATE == pytest.approx(1.0, abs=FRAME_S)


def test_a_long_sound_is_faded_out() -> None:
    sound = _tone(0.0, 8.0)
    assert sound is not None
    assert (sound.offset - sound.onset) / RATE == LONGEST_S
    assert sound.samples[-1] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("samples", [np.zeros(4800, np.float32), np.empty(0, np.float32)])
def test_silence_has_no_onset(samples: np.ndarray) -> None:
    assert audible(samples) is None


def test_a_recording_is_heard_by_the_devices_way(tmp_path: Path) -> None:
    toy_streets.write(tmp_path / "a.wav", toy_streets.tone(440.0))
    clip = Clip(path="a.wav", label="siren", origin="set", group="a")
    sound = cut(clip, tmp_path)
    assert isinstance(sound, Sound)
    assert (sound.offset - sound.onset) / RATE == pytest.approx(toy_streets.TONE_S, abs=FRAME_S)
    # The RMS of a sine of amplitude 0.3: 20 lg 0.3 - 3.01.
    assert sound.level_dbfs == pytest.approx(-13.47, abs=0.1)


def test_what_cannot_be_read_or_heard_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    toy_streets.write(tmp_path / "silent.wav", np.zeros(16000, np.float32))
    (tmp_path / "broken.wav").write_bytes((tmp_path / "silent.wav").read_bytes()[:5000])
    reasons = []
    for name in ("silent.wav", "broken.wav"):
        skip = cut(Clip(path=name, label="siren", origin="set", group="a"), tmp_path)
        assert isinstance(skip, Skip)
        reasons.append(skip.reason)
    assert reasons[0] == "is nowhere louder than -60 dBFS"
    assert "truncated" in reasons[1]
