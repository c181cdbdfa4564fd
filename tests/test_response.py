"""The correction of a microphone's response: its level, its sign, its streaming, and its file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import configfile, responsefile
from edge_agent.acoustics.response import Correction, Response
from edge_agent.acoustics.weighting import Float
from edge_agent.commands import doctor_sound
from edge_agent.config import LevelsConfig
from edge_agent.errors import ConfigError
from edge_agent.levels import Levels
from tests.metered import blocks, level, measured, sine

STEP = 48
STEPS = 250
HZ = np.geomspace(10, 20000, 200)
FINE = np.geomspace(20, 20000, 1000)


def gentle(hz: Float) -> Float:
    """A measuring capsule: -3 dB at 20 Hz, +3 dB at 20 kHz."""
    return np.asarray(-10 * np.log10(1 + (20 / hz) ** 2) + 3 * (hz / 20000) ** 2)


def mems(hz: Float) -> Float:
    """A MEMS in its case: second order below 35 Hz, +9 dB of resonance at 20 kHz."""
    x = hz / 21000
    high = -10 * np.log10((1 - x**2) ** 2 + (x / 2.2) ** 2)
    return np.asarray(high - 10 * np.log10(1 + (35 / hz) ** 4))


def response(deviation_db: Float) -> Response:
    return Response(hz=tuple(HZ), deviation_db=tuple(deviation_db), sha256="0" * 64)


def impulse_response(correction: Correction, rate: int) -> Float:
    """Four seconds of it."""
    blocks = np.zeros((4 * rate // STEP, STEP))
    blocks[0, 0] = 1.0
    frames = [blocks[at : at + STEPS] for at in range(0, len(blocks), STEPS)]
    return np.concatenate([correction.filter(frame).ravel() for frame in frames])


def levels_db(samples: Float, rate: int, hz: Float) -> Float:
    """The response at these frequencies; the spectrum's lines are 0.05 Hz apart."""
    points = 1 << 20
    lines = np.fft.rfftfreq(points, 1 / rate)
    found = 20 * np.log10(np.abs(np.fft.rfft(samples, points)))
    return np.asarray(np.interp(hz, lines, found))


@pytest.mark.parametrize("rate", [48000, 44100, 32000])
@pytest.mark.parametrize(("shape", "limit_db"), [(gentle, 0.08), (mems, 0.13)])
def test_the_correction_undoes_the_response(
    rate: int, shape: Callable[[Float], Float], limit_db: float
) -> None:
    deviation_db = shape(HZ)
    correction = Correction(response(deviation_db), rate, STEP, STEPS)
    hz = FINE[: np.searchsorted(FINE, 0.45 * rate)]
    found = levels_db(impulse_response(correction, rate), rate, hz)
    wanted = np.interp(np.log(1000), np.log(HZ), deviation_db) - np.interp(
        np.log(hz), np.log(HZ), deviation_db
    )
    assert np.abs(found - wanted).max() < limit_db


def test_at_1_khz_nothing_changes_for_the_offset_holds_there() -> None:
    shifted = response(mems(HZ) + 4.2)
    assert shifted.correction_db(np.array([1000.0]))[0] == pytest.approx(0, abs=1e-12)
    samples = impulse_response(Correction(shifted, 48000, STEP, STEPS), 48000)
    assert levels_db(samples, 48000, np.array([1000.0]))[0] == pytest.approx(0, abs=1e-6)
    plain = impulse_response(Correction(response(mems(HZ)), 48000, STEP, STEPS), 48000)
    assert np.abs(samples - plain).max() < 1e-9


def test_what_reads_too_high_is_lowered() -> None:
    found = Response(hz=(100, 1000, 10000), deviation_db=(-2, 1, 3), sha256="").correction_db(
        np.array([20, 100, 1000, 10000, 20000.0])
    )
    # Relative to 1 kHz it reads 3 dB too low at 100 Hz, 2 dB too high at 10 kHz; beyond, the same.
    assert found == pytest.approx([3, 3, 0, -2, -2], abs=1e-12)


def test_a_flat_response_changes_nothing() -> None:
    correction = Correction(response(np.full(len(HZ), 1.5)), 48000, STEP, STEPS)
    sound = np.random.default_rng(1).normal(0, 0.1, (STEPS, STEP))
    assert np.abs(correction.filter(sound) - sound).max() < 1e-9


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 249), max_size=6))
def test_frames_of_any_length_give_the_same_stream(seed: int, cuts: list[int]) -> None:
    sound = np.random.default_rng(seed).normal(0, 0.1, (STEPS, STEP))
    whole = Correction(response(gentle(HZ)), 48000, STEP, STEPS).filter(sound)
    correction = Correction(response(gentle(HZ)), 48000, STEP, STEPS)
    parts = [correction.filter(part) for part in np.split(sound, sorted(set(cuts)))]
    # BLAS rounds by shape; the meter's frames are of one.
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-12


def test_after_a_reset_the_stream_begins_anew() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, (STEPS, STEP))
    correction = Correction(response(mems(HZ)), 48000, STEP, STEPS)
    first = correction.filter(sound)
    correction.reset()
    assert np.array_equal(correction.filter(sound), first)


def test_a_constant_far_from_zero_stays_bounded() -> None:
    # I2S microphones have such an offset; 22 dB are added at 10 Hz here.
    correction = Correction(response(mems(HZ)), 48000, STEP, STEPS)
    last = [correction.filter(np.full((STEPS, STEP), 0.05)) for _ in range(40)][-1]
    assert np.ptp(last) < 1e-6
    assert 0 < last[0, 0] < 0.05 * 10 ** (25 / 20)


@pytest.mark.parametrize(
    ("frequency_hz", "change_db"), [(100.0, 3.0), (1000.0, 0.0), (8000.0, -2.0)]
)
def test_levels_are_corrected(frequency_hz: float, change_db: float) -> None:
    smooth = np.interp(np.log(HZ), np.log([10, 100, 1000, 8000, 20000]), [-6, -3, 0, 2, 4])
    found = [
        level(measured(blocks(sine(frequency_hz, 3, 0.1), []), meter)[-1], "LAeq_dbfs")
        for meter in (
            Levels(LevelsConfig()),
            Levels(LevelsConfig(), None, response=response(smooth)),
        )
    ]
    # The corners of the straight lines are rounded.
    assert found[1] - found[0] == pytest.approx(change_db, abs=0.1)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 3 * 48000 - 1), unique=True, max_size=12).map(sorted))
def test_corrected_levels_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    sound = np.random.default_rng(3).normal(0, 0.1, 3 * 48000).astype(np.float32)
    microphone = response(mems(HZ))
    whole = measured(blocks(sound, []), Levels(LevelsConfig(), None, response=microphone))
    parts = measured(blocks(sound, cuts), Levels(LevelsConfig(), None, response=microphone))
    assert parts == whole


def test_behind_a_gap_the_correction_begins_anew() -> None:
    sound = np.random.default_rng(3).normal(0, 0.1, 4 * 48000).astype(np.float32)
    loud = sound.copy()
    loud[: 2 * 48000] *= 5
    readings = [
        measured(
            blocks(samples, [2 * 48000], missed_at={2 * 48000: 4800}),
            Levels(LevelsConfig(), None, response=response(mems(HZ))),
        )
        for samples in (sound, loud)
    ]
    assert readings[0][-1] == readings[1][-1]


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mic.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "20 -3.5\n1000 0\n20000 4.25\n",
        '"Sens Factor =-1.378dB, AGain =18dB"\n20\t-3.5\n1000\t0\n20000\t4.25',
        "* measured\n# again\n\n  20, -3.5\n1000,0\n20000 ,4.25\n",
        "20;-3.5\r\n1000;0\r\n2e4;4.25\r\n",
        "\ufeff20   -3.50\n1000.0 0.00\n20000 +4.25",
    ],
)
def test_the_usual_ways_of_writing_are_read(tmp_path: Path, text: str) -> None:
    found = responsefile.load(written(tmp_path, text))
    assert found.hz == (20, 1000, 20000)
    assert found.deviation_db == (-3.5, 0, 4.25)
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds 0 frequencies"),
        ("20 1\n30 1\n", "holds 2 frequencies from 20 to 30 Hz"),
        ("20 1\n30 1\n900 2\n", "holds 3 frequencies from 20 to 900 Hz"),
        ("20 1\n1000 0\n500 2\n", ":3: 500 Hz is not above the frequency before it"),
        ("20 1\n1000 0\n1000 2\n", ":3: 1000 Hz is not above the frequency before it"),
        ("20 1\n1000 0\nfreq dB\n", ":3: found 'freq dB'"),
        ("20 1\n1000 0 12.5\n", ":2: found '1000 0 12.5'"),
        ("20 1\n1000\n", ":2: found '1000'"),
        ("20 1\n1000;0,5\n", ":2: found '1000;0,5'"),
        ("20 1\n1000 nan\n", ":2: found '1000 nan'"),
        ("20 1\n1000 1_0\n", ":2: found '1000 1_0'"),
        ("0 1\n1000 0\n", ":1: found 0 Hz"),
        ("-5 1\n", ":1: found -5 Hz"),
        ("20 -31\n", ":1: found -31 dB"),
        ("20 inf\n", ":1: found inf dB"),
        (b"20 1\n\xff\xfe\x00\n", ":2: found"),
        ("#" * 1_000_001, "has 1000001 bytes"),
    ],
)
def test_what_is_no_response_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        responsefile.load(path)
    assert caught.value.message.startswith(str(path))
    assert problem in caught.value.message.removeprefix(str(path)).removeprefix(": ")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mic\.txt: cannot be read: No such file"):
        responsefile.load(tmp_path / "mic.txt")


def test_the_doctor_reads_it(tmp_path: Path) -> None:
    written(tmp_path, "20 1\n1000 x\n")
    config = tmp_path / "agent.yaml"
    config.write_text("microphones: {mic: {kind: stdin, response: mic.txt}}\n")
    (found,) = doctor_sound.microphones(configfile.load(config))
    assert found.status == "fault"
    assert found.found == f"{tmp_path}/mic.txt:2: found '1000 x'"
