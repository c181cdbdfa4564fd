"""Which tones are taken for a calibrator's, and the offset that follows."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.acoustics import calibration
from edge_agent.acoustics.calibration import TONE_S, doubt_of, measured, offset_of
from edge_agent.acoustics.weighting import Float
from edge_agent.records import Samples

RATE = 48000
T = np.arange(round(TONE_S * RATE)) / RATE


def tone(frequency_hz: float, rms_dbfs: float, phase: float = 0.0) -> Samples:
    """A sine whose RMS lies `rms_dbfs` from that of a full-scale sine."""
    samples = 10 ** (rms_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * T + phase)
    return samples.astype(np.float32)


def noise(rms: float, seed: int = 3) -> Samples:
    samples = np.random.default_rng(seed).normal(0, rms, len(T))
    return samples.astype(np.float32)


def varied(db: Float) -> Samples:
    """A tone whose level follows `db` over its length."""
    course = np.interp(T, np.linspace(0, TONE_S, len(db)), db)
    return (tone(1000, -20) * 10 ** (course / 20)).astype(np.float32)


def refused(samples: Samples, frequency_hz: float = 1000.0) -> str:
    doubt = doubt_of(measured(samples, RATE), frequency_hz)
    return "" if doubt is None else doubt.message


@settings(max_examples=25)
@given(
    st.floats(31.5, 16000),
    st.floats(-60, -2),
    st.floats(0, 2 * math.pi),
    st.floats(-0.05, 0.05),
)
def test_a_clean_tone_is_taken_and_measured_rightly(
    frequency_hz: float, rms_dbfs: float, phase: float, dc: float
) -> None:
    found = measured((tone(frequency_hz, rms_dbfs, phase) + np.float32(dc)), RATE)
    assert found.frequency_hz == pytest.approx(frequency_hz, abs=0.005)
    # What is left of a part of a cycle at the end of ten seconds.
    assert found.level_dbfs == pytest.approx(rms_dbfs, abs=0.01)
    assert found.spread_db < 0.05
    # DC may push a loud one to full scale, which is another matter.
    assert doubt_of(msgspec.structs.replace(found, peak_db=-20.0), frequency_hz) is None


@pytest.mark.parametrize(
    ("level_db", "rms_dbfs", "offset_db"),
    [
        (94.0, -26.0, 120.0),  # ICS-43434, INMP441, SPH0645
        (94.0, -36.0, 130.0),  # IM72D128
        (114.0, -6.0, 120.0),
        (94.0, -27.6, 121.6),  # a part that is 1.6 dB less sensitive than its sheet needs more
        (-10.7, -10.0, -0.7),
        (-10.3, -10.0, -0.3),
        (-9.7, -10.0, 0.3),
        (-30.5, -10.0, -20.5),
    ],
)
def test_the_offset_has_its_sign(level_db: float, rms_dbfs: float, offset_db: float) -> None:
    found = offset_of(measured(tone(1000, rms_dbfs), RATE), level_db)
    assert found == pytest.approx(offset_db, abs=0.001)


def test_a_correction_of_the_response_counts_as_if_it_had_been_heard() -> None:
    # The microphone hears 250 Hz half a decibel too loud; corrected, the tone is at -26.5 dBFS.
    found = offset_of(measured(tone(250, -26.0), RATE), 94.0, correction_db=-0.5)
    assert found == pytest.approx(120.5, abs=0.001)


def test_a_pistonphone_is_taken_as_it_is_unweighted() -> None:
    assert refused(tone(250, -16), 250.0) == ""
    assert offset_of(measured(tone(250, -16), RATE), 124.0) == pytest.approx(140.0, abs=0.001)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(len(T), np.float32), "next to nothing"),
        (np.full(len(T), 0.25, np.float32), "next to nothing"),
        (tone(1000, -81), "next to nothing"),
        (tone(1000, -0.5), "within 0.5 dB of full scale"),
        (tone(1021, -26), "at 1021.0 Hz, and the calibrator's is 1000 Hz"),
        (tone(979, -26), "at 979.0 Hz"),
        (tone(918.75, -26), "at 918.7 Hz"),  # 1 kHz played at 44.1 kHz, taken for 48
        (noise(0.05), "strongest tone is at"),
        # 19 dB below the tone: -26 dBFS is an RMS of 0.0354.
        (tone(1000, -26) + noise(0.0354 * 10 ** (-19 / 20)), "only 19.0 dB below the tone"),
        (tone(1000, -26) + tone(120, -44), "only 18.0 dB below the tone"),
        (tone(1000, -26) + tone(3000, -45), "only 19.0 dB below the tone"),
        (varied(np.array([0, 0, 0.25, 0, 0])), "varied by 0.2"),
        (varied(np.array([0, 0.18])), "drifted by +0.12 dB"),
        (varied(np.array([0, -0.18])), "drifted by -0.12 dB"),
    ],
)
def test_a_doubtful_tone_is_refused_with_the_reason(samples: Samples, reason: str) -> None:
    assert reason in refused(samples)


@pytest.mark.parametrize(
    "samples",
    [
        tone(1000, -79),
        tone(1000, -1.1),
        tone(1019, -26),
        tone(981, -26),
        tone(1000, -26) + noise(0.0354 * 10 ** (-21 / 20)),
        varied(np.array([0, 0, 0.18, 0, 0])),
        varied(np.array([0, 0.12])),
    ],
)
def test_what_is_just_within_the_limits_is_taken(samples: Samples) -> None:
    assert refused(samples) == ""


def test_noise_at_the_limit_of_purity_moves_the_offset_by_less_than_a_twentieth() -> None:
    samples = tone(1000, -26) + noise(0.0354 * 10 ** (-20.1 / 20))
    assert offset_of(measured(samples, RATE), 94.0) == pytest.approx(120.0, abs=0.05)


@pytest.mark.parametrize(
    ("offset_db", "taken"), [(119.6, True), (122.6, True), (116.7, True), (99.6, False)]
)
def test_an_offset_far_from_the_last_one_is_refused(offset_db: float, taken: bool) -> None:
    doubt = calibration.doubt_of_change(offset_db, 119.62, "2026-05-02")
    assert (doubt is None) == taken
    if doubt is not None:
        assert doubt.message == (
            "the offset would be 99.60 dB, -20.02 dB from that of 2026-05-02, 119.62 dB"
        )
        assert "--force" in doubt.hint


def test_too_little_sound_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="1000 samples are too few"):
        measured(np.zeros(1000, np.float32), RATE)
