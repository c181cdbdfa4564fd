"""Third octaves: the class 1 mask of the whole chain, and two independent banks beside it."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.acoustics.bandpass import BandPass, band_pass
from edge_agent.acoustics.bands import EXACT_HZ, NOMINAL_HZ, Bank, carried, stage_of
from edge_agent.acoustics.decimation import BY, low_pass
from edge_agent.acoustics.weighting import RATES, Float
from tests.third_octaves import RATE, let_out, ours_db, pyoctavebands_db, scipys_db, taken

G: float = 10**0.3


def _mapped(exponent: float) -> float:
    """A breakpoint of the octave mask as a third octave has it, IEC 61260-1:2014, 5.10."""
    return float(1 + (G ** (1 / 6) - 1) / (G**0.5 - 1) * (G**exponent - 1))


# IEC 61260-1:2014, table 1, class 1: relative frequency, least and most relative attenuation, dB.
INSIDE = [(_mapped(u / 8), -0.4, most) for u, most in enumerate((0.4, 0.5, 0.7, 1.4, 5.3))]
OUTSIDE = [
    (_mapped(u), least)
    for u, least in ((0.5, 1.2), (1.0, 16.6), (2.0, 40.5), (3.0, 60.0), (4.0, 70.0))
]


def _passed(band: BandPass, angles: Float) -> npt.NDArray[np.complex128]:
    """Amplitudes of P's response to e^(i angle n); the band's output is P's, or P's real part."""
    z = np.exp(1j * angles)[:, None]
    return np.asarray(band.direct / 2 + (band.residues / (z - band.poles)).sum(axis=1))


def attenuation_db(number: int, frequencies_hz: Float, rate: int) -> Float:
    """What the chain takes off tones: decimators, what they fold, and the band's own filter."""
    at_hz, at_rate = frequencies_hz, float(rate)
    gain = np.ones_like(at_hz)
    taps = low_pass()
    middle = len(taps) // 2
    for _ in range(stage_of(EXACT_HZ[number], rate)):
        angles = 2 * np.pi * np.outer(at_hz / at_rate, np.arange(1, middle + 1))
        gain *= np.abs(taps[middle] + 2 * np.cos(angles) @ taps[middle + 1 :])
        at_rate /= BY
        at_hz = np.abs((at_hz + at_rate / 2) % at_rate - at_rate / 2)
    band = band_of(number, rate)
    angles = 2 * np.pi * at_hz / at_rate
    there, mirrored = _passed(band, angles), _passed(band, -angles).conj()
    # A tone is half of each of two turning pointers.
    power = (
        np.abs(there) ** 2 + np.abs(mirrored) ** 2
        if band.analytic
        else np.abs(there + mirrored) ** 2
    )
    return np.asarray(-10 * np.log10(np.maximum(gain**2 * power, 1e-18)))


def band_of(number: int, rate: int) -> BandPass:
    return band_pass(EXACT_HZ[number], rate, BY ** stage_of(EXACT_HZ[number], rate))


CARRIED = [(rate, band) for rate in RATES for band in range(carried(rate))]


@pytest.mark.parametrize(("rate", "band"), CARRIED)
def test_the_whole_chain_keeps_the_class_1_mask(rate: int, band: int) -> None:
    middle_hz, top_hz = EXACT_HZ[band], rate / 2 * 0.9999
    near = np.geomspace(middle_hz / _mapped(4), min(middle_hz * _mapped(4), top_hz), 4000)
    far = np.concatenate([np.geomspace(1, near[0], 500), np.linspace(near[-1], top_hz, 4000)])
    frequencies_hz = np.concatenate([near, far])
    found_db = attenuation_db(band, frequencies_hz, rate)
    away = np.log(np.maximum(frequencies_hz / middle_hz, middle_hz / frequencies_hz))
    inside = away <= np.log(INSIDE[-1][0])
    most = np.interp(away[inside], [np.log(at) for at, _, _ in INSIDE], [m for _, _, m in INSIDE])
    assert (found_db[inside] >= -0.4).all()
    assert (found_db[inside] <= most).all()
    least = np.interp(
        away[~inside], [np.log(at) for at, _ in OUTSIDE], [least for _, least in OUTSIDE]
    )
    assert (found_db[~inside] >= least).all()
    # Ours alone has nearly all of the 0.4 dB in the middle left.
    assert abs(float(attenuation_db(band, np.array([middle_hz]), rate)[0])) < 0.005


@pytest.mark.parametrize(("rate", "band"), CARRIED)
def test_the_effective_bandwidth_is_within_class_1(rate: int, band: int) -> None:
    # IEC 61260-1:2014, 5.12: 0.4 dB.
    frequencies_hz = np.geomspace(EXACT_HZ[band] / 4, min(4 * EXACT_HZ[band], rate / 2), 20_000)
    power = 10 ** (-attenuation_db(band, frequencies_hz, rate) / 10)
    # Integrated over the logarithm of frequency, as pink noise has it.
    found = float(np.trapezoid(power, np.log(frequencies_hz)))
    assert abs(10 * np.log10(found / np.log(G ** (1 / 3)))) < 0.1


@pytest.mark.parametrize("rate", RATES)
def test_neighbours_sum_to_the_whole(rate: int) -> None:
    # IEC 61260-1:2014, 5.16: +0.8 and -1.8 dB at any frequency between the outermost bands.
    count = carried(rate)
    frequencies_hz = np.geomspace(EXACT_HZ[1], EXACT_HZ[count - 2], 1000)
    power = sum(10 ** (-attenuation_db(band, frequencies_hz, rate) / 10) for band in range(count))
    sum_db = 10 * np.log10(power)
    assert float(sum_db.min()) >= -1.8
    assert float(sum_db.max()) <= 0.8


@pytest.mark.parametrize(("rate", "number"), CARRIED)
def test_looking_at_every_few_samples_adds_nothing_to_the_mean_square(
    rate: int, number: int
) -> None:
    # Two pointers that differ by whole turns between two looks, of two tones or of one, seem to
    # stand still towards each other; then the product of their gains stays in the mean square.
    band = band_of(number, rate)
    response = _passed(band, np.linspace(-np.pi, np.pi, 9600, endpoint=False))
    if not band.analytic:
        response = response + np.roll(response[::-1], 1).conj()
    gain = np.abs(response)
    turns = range(9600 // band.spacing, 9600, 9600 // band.spacing)
    worst = max(float((gain * np.roll(gain, turn)).max()) for turn in turns)
    # 0.03 dB of a tone in the band.
    assert 20 * np.log10(worst) < -50


def test_rates_carry_what_fits_below_half_of_them() -> None:
    assert [NOMINAL_HZ[carried(rate) - 1] for rate in (48000, 44100, 32000)] == [
        20000.0,
        16000.0,
        12500.0,
    ]
    assert len(NOMINAL_HZ) == len(EXACT_HZ) == 31
    for nominal_hz, exact_hz in zip(NOMINAL_HZ, EXACT_HZ, strict=True):
        assert nominal_hz == pytest.approx(exact_hz, rel=0.01)


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(1, RATE - 1), max_size=12, unique=True).map(sorted))
def test_odd_pieces_give_what_the_whole_gives(cuts: list[int]) -> None:
    samples = np.random.default_rng(3).standard_normal(RATE)
    whole, parted = Bank(RATE), Bank(RATE)
    whole.feed(samples)
    for part in np.split(samples, cuts):
        parted.feed(part)
    assert np.allclose(taken(whole), taken(parted), rtol=1e-5)


def test_a_reset_bank_begins_anew() -> None:
    samples = let_out(np.random.default_rng(3).standard_normal(RATE))
    used, fresh = Bank(RATE), Bank(RATE)
    used.feed(samples[:12_345])
    used.reset()
    used.take()
    for bank in (used, fresh):
        bank.feed(samples)
    assert np.allclose(taken(used), taken(fresh), rtol=1e-5)


def _tones(shift: float, first: int) -> Float:
    """A tone in every third band from `first` on, `shift` octaves off its middle."""
    t = np.arange(4 * RATE) / RATE
    return np.asarray(
        sum(0.03 * np.sin(2 * np.pi * hz * G**shift * t + hz) for hz in EXACT_HZ[first::3])
    )


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 1 / 24, -1 / 24, 1 / 12, -1 / 12, 1 / 8, -1 / 8])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_tones_across_the_pass_band_read_as_pyoctaveband_reads_them(
    shift: float, first: int
) -> None:
    samples = let_out(_tones(shift, first))
    errors_db = (ours_db(samples) - pyoctavebands_db(samples))[first::3]
    assert np.abs(errors_db).max() <= 0.2
    # The same filters at the full rate are a little steeper: the bilinear transform warps less.
    errors_db = ours_db(samples)[first::3] - scipys_db(samples, EXACT_HZ[first::3])
    assert np.abs(errors_db).max() <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("colour", ["white", "pink"])
def test_noise_reads_as_pyoctaveband_and_scipy_read_it(colour: str) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(8).standard_normal(60 * RATE))
    if colour == "pink":
        spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
        spectrum *= 0.1 * np.sqrt(spectrum.size) / 3
    samples = let_out(np.fft.irfft(spectrum))
    assert np.abs(ours_db(samples) - pyoctavebands_db(samples)).max() <= 0.2
    assert np.abs(ours_db(samples) - scipys_db(samples)).max() <= 0.05
