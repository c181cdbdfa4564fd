"""The resampler: streaming equals one-shot, times by counting, and what the filter lets through."""

import numpy as np
import pytest

from edge_agent.records import Samples
from edge_agent.resample import Resampler, resample

pytestmark = pytest.mark.arm

NOISE = np.random.default_rng(5).uniform(-0.5, 0.5, 96_000).astype(np.float32)


def stream(resampler: Resampler, samples: Samples, piece: int) -> Samples:
    cuts = range(piece, samples.size, piece)
    parts = [resampler.push(part) for part in np.split(samples, cuts)]
    return np.concatenate([*parts, resampler.flush()])


def tone(hz: float, rate: int, seconds: float = 1.0) -> Samples:
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@pytest.mark.parametrize("piece", [160, 441, 480, 4800, 12_000, 96_000])
@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(48_000, 16_000), (44_100, 16_000), (16_000, 48_000)]
)
def test_a_stream_has_the_bytes_of_the_whole(rate_in: int, rate_out: int, piece: int) -> None:
    whole = resample(NOISE, rate_in, rate_out)
    assert stream(Resampler(rate_in, rate_out), NOISE, piece).tobytes() == whole.tobytes()


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 48_000])
def test_as_many_samples_come_out_as_their_duration_asks(length: int) -> None:
    out = stream(Resampler(48_000, 16_000), NOISE[:length], 480)
    assert abs(out.size - length / 3) < 1
    assert out.dtype == np.float32


def test_times_follow_the_count_across_bursts() -> None:
    """The filter's delay is already taken out: sample n is at n / rate, whenever it came."""
    resampler = Resampler(48_000, 16_000)
    came: list[Samples] = [resampler.push(part) for part in np.split(tone(440, 48_000), 100)]
    assert {part.size for part in came} - {160}  # bursts, not 160 for every 480
    found = np.concatenate(came)
    # Away from the ends, where the tone is switched on and off.
    middle = slice(1000, found.size - 1000)
    assert np.abs(found[middle] - tone(440, 16_000)[: found.size][middle]).max() < 1e-4


@pytest.mark.parametrize("hz", [50, 1000, 4000, 7000, 7300])
def test_the_model_s_band_passes_within_a_tenth_of_a_decibel(hz: int) -> None:
    out = resample(tone(hz, 48_000), 48_000, 16_000)[2000:-2000]
    gain_db = 20 * np.log10(np.sqrt(2 * np.mean(out.astype(np.float64) ** 2)) / 0.5)
    assert abs(gain_db) < 0.1


def test_what_16_khz_cannot_hold_is_gone() -> None:
    """9 kHz would fold to 7 kHz."""
    out = resample(tone(9000, 48_000), 48_000, 16_000)[2000:-2000]
    assert 20 * np.log10(np.abs(out).max() / 0.5) < -90


def test_equal_rates_pass_through() -> None:
    resampler = Resampler(16_000, 16_000)
    assert resampler.push(NOISE) is NOISE
    assert resampler.flush().size == 0
    assert resample(NOISE, 16_000, 16_000) is NOISE


def test_after_a_reset_nothing_is_left_of_what_came_before() -> None:
    resampler = Resampler(48_000, 16_000)
    resampler.push(NOISE[:5000])
    resampler.reset()
    assert np.array_equal(stream(resampler, NOISE, 480), resample(NOISE, 48_000, 16_000))


def test_after_a_flush_a_new_stream_begins() -> None:
    resampler = Resampler(44_100, 16_000)
    first = stream(resampler, NOISE, 441)
    assert np.array_equal(first, stream(resampler, NOISE, 1000))
