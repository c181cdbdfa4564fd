"""A clipped sample is told in its second, whatever was made of the sound before the meter."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture import wire
from edge_agent.capture.files import RecordingSource
from edge_agent.capture.microphone import MicrophoneSource
from edge_agent.capture.overloads import Overloads
from edge_agent.capture.pcm import PcmSource
from edge_agent.clock import SimulatedClock, SystemClock
from edge_agent.config import MicrophoneConfig
from edge_agent.records import LevelReading, Samples
from tests.conftest import examples
from tests.metered import measured, sine
from tests.test_files import Array, all_blocks, float_wav

RATES = (8000, 16000, 22050, 32000, 44100, 48000, 96000)


def flags(path: Path) -> list[bool]:
    return [reading.overload for reading in read(path)]


def read(path: Path) -> list[LevelReading]:
    return measured(all_blocks(RecordingSource("mic", path, start_ns=0)))


def quiet(rate: int, seconds: float = 3.0) -> Array:
    return sine(440, seconds, 0.01, rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("peak", [1.0, -1.0])
def test_a_single_sample_at_an_end_is_told_at_every_rate(
    tmp_path: Path, rate: int, peak: float
) -> None:
    samples = quiet(rate)
    assert flags(float_wav(tmp_path / "quiet.wav", samples, rate)) == [False, False, False]
    samples[round(1.5 * rate)] = peak
    assert flags(float_wav(tmp_path / "click.wav", samples, rate)) == [False, True, False]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_what_only_the_resampler_lifts_to_the_end_is_no_overload(tmp_path: Path, rate: int) -> None:
    # A square wave rings above its own height when its band is cut.
    square = (0.98 * np.sign(sine(440, 3, 1.0, rate))).astype(np.float32)
    path = float_wav(tmp_path / "square.wav", square, rate)
    blocks = all_blocks(RecordingSource("mic", path, start_ns=0))
    assert max(float(np.abs(block.samples).max()) for block in blocks) > 1.0
    assert not any(reading.overload for reading in measured(blocks))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_one_clipped_channel_is_not_hidden_by_the_mean_of_both(tmp_path: Path, rate: int) -> None:
    stereo = np.stack([quiet(rate), quiet(rate)], axis=1)
    stereo[round(0.5 * rate), 1] = 1.0
    assert flags(float_wav(tmp_path / "stereo.wav", stereo, rate)) == [True, False, False]


def test_it_is_told_behind_a_gap_too(tmp_path: Path) -> None:
    samples = quiet(44100)
    samples[44100 : 44100 + 4410] = np.nan
    samples[round(2.5 * 44100)] = 1.0
    assert flags(float_wav(tmp_path / "gap.wav", samples, 44100)) == [False, False, True]


def test_raw_sound_at_another_rate_tells_it(tmp_path: Path) -> None:
    samples = np.round(quiet(16000) * 32767).astype("<i2")
    samples[16000 + 8000] = 32767
    path = tmp_path / "sound.raw"
    path.write_bytes(samples.tobytes())
    with path.open("rb") as file:
        clock = SimulatedClock()
        source = PcmSource("mic", os.dup(file.fileno()), rate=16000, channels=1, clock=clock)
        blocks = []
        while not source.ended:
            block = source.read(0.5)
            if block is not None:
                blocks.append(block)
    places = [
        block.first + at
        for block in blocks
        if block.overloads is not None
        for at in block.overloads.tolist()
    ]
    assert places == [72000]


def test_sound_at_the_meters_own_rate_is_judged_by_the_meter(tmp_path: Path) -> None:
    path = float_wav(tmp_path / "native.wav", quiet(48000), 48000)
    blocks = all_blocks(RecordingSource("mic", path, start_ns=0))
    assert all(block.overloads is None for block in blocks)


@settings(max_examples=examples(50))
@given(
    rate=st.sampled_from([8000, 16000, 44100]),
    at=st.lists(st.integers(0, 9999), max_size=30, unique=True).map(sorted),
    cuts=st.lists(st.integers(0, 10000), max_size=10).map(sorted),
    size=st.integers(1, 5000),
)
def test_places_do_not_depend_on_the_cuts(
    rate: int, at: list[int], cuts: list[int], size: int
) -> None:
    samples: Samples = np.zeros(10000, np.float32)
    samples[at] = 1.0
    overloads = Overloads(rate, 48000)
    for part in np.split(samples, cuts):
        overloads.push(part)
    total = 10000 * 48000 // rate
    found = [
        first + place
        for first in range(0, total, size)
        for place in overloads.take(min(size, total - first)).tolist()
    ]
    assert found == [place * 48000 // rate for place in at]


@pytest.mark.parametrize("value", [0.25, -0.3337])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_converter_that_hangs_is_silent_at_another_rate_too(
    tmp_path: Path, rate: int, value: float
) -> None:
    stuck = np.full(3 * rate, value, np.float32)
    second = read(float_wav(tmp_path / "stuck.wav", stuck, rate))[1]
    assert second.values == {"LAeq_dbfs": None, "LAFmax_dbfs": None}
    assert set(second.reasons.values()) == {"silent_input"}


def test_a_microphone_at_another_rate_tells_it_also_behind_what_was_lost() -> None:
    settings = MicrophoneConfig(device="hw:CARD=Nowhere", rate=16000)
    source = MicrophoneSource("mic", settings, SystemClock(), patient=True)
    try:
        quarter = np.zeros((12, 4000), "<i2")
        quarter[:, ::2] = 100
        quarter[2, 1000] = quarter[7, 1000] = -32768
        for seq, samples in enumerate(quarter):
            header = wire.Header(
                channels=1,
                rate=16000,
                frames=4000,
                seq=seq,
                monotonic_ns=(1000 + 250 * seq) * 1_000_000,
                age_us=250_000,
                overflows=0,
                dropped=4000 if seq == 5 else 0,
            )
            source._take(header, memoryview(samples.tobytes()))
        blocks = [block for block in (source.read(0) for _ in range(12)) if block is not None]
    finally:
        source.close()
    places = [
        block.first + at
        for block in blocks
        if block.overloads is not None
        for at in block.overloads.tolist()
    ]
    # What the resampler held when the sound was lost is lost with it, and shifts what follows.
    assert places[0] == 3 * (2 * 4000 + 1000)
    assert len(places) == 2
    loss = next(block for block in blocks if block.missed)
    assert places[1] - loss.first == 3 * (2 * 4000 + 1000)
