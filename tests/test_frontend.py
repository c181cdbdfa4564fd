"""The front end by itself: streams, gaps, odd input, identity. librosa's word is elsewhere."""

import json
import tracemalloc
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import transform
from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames, Mode, Patches, check, fingerprint, golden_signals
from edge_agent.records import Samples

pytestmark = pytest.mark.arm

DEFAULT = FrontendSettings()
RAW = FrontendSettings(clip=None)
MODES: tuple[Mode, ...] = ("exact", "fast")
GRIDS = {
    "320/48/12": DEFAULT,
    "400/40/10": FrontendSettings(hop=400, patch=40, patch_hop=10),
    "250/64/16": FrontendSettings(hop=250, patch=64, patch_hop=16),
    "160/96/25": FrontendSettings(hop=160, patch=96, patch_hop=25),
}
BOTH = pytest.mark.parametrize("mode", MODES)


def noise(length: int, seed: int = 1, level: float = 0.1) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def streamed(frames: Frames, pieces: list[Samples]) -> Samples:
    return np.concatenate([*(frames.push(piece) for piece in pieces), frames.flush()])


@BOTH
@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("grid", GRIDS)
@settings(max_examples=20)
@given(
    length=st.integers(0, 40_000),
    cuts=st.lists(st.integers(0, 40_000), max_size=50).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_stream_has_the_bytes_of_the_whole_however_it_is_cut(
    mode: Mode, kind: str, grid: str, length: int, cuts: list[int], seed: int
) -> None:
    frames = Frames(_of_kind(GRIDS[grid], kind), mode)
    samples = noise(length, seed)
    assert streamed(frames, np.split(samples, cuts)).tobytes() == frames.batch(samples).tobytes()


@BOTH
@pytest.mark.parametrize("piece", [1, 7, 441, 3840, 11_520, 20_000])
def test_pieces_of_one_size_give_the_same_bytes(mode: Mode, piece: int) -> None:
    samples = noise(30_000)
    frames = Frames(DEFAULT, mode)
    found = streamed(frames, np.split(samples, range(piece, samples.size, piece)))
    assert found.tobytes() == frames.batch(samples).tobytes()


@BOTH
@pytest.mark.parametrize("kind", ["logmel", "mfcc", "mfcc_stats", "mfcc_mean"])
@pytest.mark.parametrize("grid", GRIDS)
def test_patches_and_their_times_do_not_depend_on_cuts(mode: Mode, kind: str, grid: str) -> None:
    samples = noise(50_000)
    patches = Patches(_of_kind(GRIDS[grid], kind), mode)
    whole = patches.batch(samples)
    for cuts in ([], [1, 16_000, 16_001], list(range(900, 50_000, 900))):
        found = [patch for piece in np.split(samples, cuts) for patch in patches.push(piece)]
        found += patches.flush()
        assert [patch.first for patch in found] == [n * patches.hop for n in range(len(whole))]
        assert np.stack([patch.features for patch in found]).tobytes() == whole.tobytes()


def test_a_patch_comes_with_its_last_sample() -> None:
    patches = Patches(DEFAULT)
    assert patches.span == 1024 + 47 * 320
    samples = noise(patches.span)
    assert patches.push(samples[:-1]) == []
    assert [patch.first for patch in patches.push(samples[-1:])] == [0]


def test_after_a_gap_nothing_is_left_of_what_came_before() -> None:
    patches = Patches(DEFAULT)
    before, after = noise(19_000, 1), noise(21_000, 2)
    patches.push(before)
    patches.reset()
    found, fresh = patches.push(after), Patches(DEFAULT).push(after)
    assert [patch.first for patch in found] == [patch.first for patch in fresh] == [0, 3840]
    for ours, theirs in zip(found, fresh, strict=True):
        assert ours.features.tobytes() == theirs.features.tobytes()


@BOTH
@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 1343, 1344])
def test_a_part_of_a_frame_is_dropped(mode: Mode, length: int) -> None:
    wanted = 0 if length < 1024 else 1 + (length - 1024) // 320
    assert Frames(DEFAULT, mode).batch(noise(length)).shape == (wanted, 64)


def test_the_fast_transform_really_computes_in_float32() -> None:
    """Each of these fails where numpy casts up, transforms in float64 and casts down.

    A Hann-windowed sine between bins leaves the far bins with less than float32 resolves, so a
    transform in float32 must err there by far more than rounding its result would.
    """
    phase = 2 * np.pi * 100.37 * np.arange(1024) / 1024
    row = (np.sin(phase) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024))).astype("f4")
    windowed = np.tile(row, (32, 1))
    spectra = np.empty((32, 513), np.complex64)
    transform.rfft_into(windowed, spectra)
    tracemalloc.start()
    transform.rfft_into(windowed, spectra)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    exact = np.fft.rfft(row.astype(np.float64)) / 1024
    assert (np.abs(spectra[0] - exact) / np.abs(exact)).max() > 1e-4
    assert np.abs(spectra[0] - exact).max() < 1e-6 * np.abs(exact).max()
    assert allocated < 64 * 1024


def test_auto_is_fast_with_this_numpy() -> None:
    assert Frames(DEFAULT).mode == "fast"


def test_auto_is_exact_where_numpy_has_no_float32_transform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old environment itself runs in the tests of the two runtimes."""
    monkeypatch.setattr("edge_agent.frontend.NUMPY_2", False)
    assert Frames(DEFAULT).mode == "exact"
    with pytest.raises(ValueError, match="mode fast needs numpy 2"):
        Frames(DEFAULT, "fast")


def test_without_an_output_argument_the_transform_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = noise(20_000)
    wanted = Frames(DEFAULT, "exact").batch(samples)
    monkeypatch.setattr(transform, "NUMPY_2", False)
    assert Frames(DEFAULT, "exact").batch(samples).tobytes() == wanted.tobytes()


@BOTH
def test_one_nan_spoils_the_frames_that_hold_it_and_no_other(mode: Mode) -> None:
    samples = noise(20_000)
    clean = Frames(DEFAULT, mode).batch(samples)
    samples[5000] = np.nan
    found = Frames(DEFAULT, mode).batch(samples)
    # Frames t with 320 t <= 5000 < 320 t + 1024.
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [13, 14, 15]
    rest = [t for t in range(len(found)) if t not in {13, 14, 15}]
    assert found[rest].tobytes() == clean[rest].tobytes()


@BOTH
@pytest.mark.parametrize("level", [100.0, 2.0, 1e-42])
def test_beyond_full_scale_and_denormals_give_numbers(mode: Mode, level: float) -> None:
    found = Frames(DEFAULT, mode).batch(noise(20_000, level=level).clip(-100, 100))
    assert np.isfinite(found).all()
    assert found.min() >= -80.00001


@BOTH
def test_silence_is_exactly_the_floor(mode: Mode) -> None:
    found = Frames(DEFAULT, mode).batch(np.zeros(20_000, np.float32))
    assert np.unique(found).size == 1
    # Float32 resolves 8e-6 at 80 dB, and rounds 1e-8 by up to 6e-8 of it.
    assert found[0, 0] == pytest.approx(-80.0, abs=1e-5)


@BOTH
def test_silence_has_no_deviation_and_no_dynamics(mode: Mode) -> None:
    patches = Patches(msgspec.structs.replace(RAW, kind="mfcc_stats"), mode)
    features = patches.batch(np.zeros(patches.span, np.float32))[0]
    # Kernels of some processors round the rows of a product differently: one float32 step of the
    # largest coefficient, which is -80 dB times the root of 64 bands.
    assert np.abs(features[40:]).max() <= np.spacing(np.float32(640))


@pytest.mark.parametrize(("mode", "below_db"), [("exact", -250.0), ("fast", -120.0)])
def test_a_constant_offset_is_not_heard(mode: Mode, below_db: float) -> None:
    """A periodic Hann puts it into bins 0 and 1, below the lowest band; rounding remains."""
    bare = FrontendSettings(floor="amin", floor_value=1e-35)
    assert Frames(bare, mode).batch(np.full(20_000, 0.5, np.float32)).max() < below_db


@pytest.mark.parametrize(
    "samples",
    [np.zeros(9), np.zeros(9, np.int16), np.zeros((9, 1), np.float32), np.zeros(9, "f4")[::2]],
    ids=["float64", "int16", "two dimensions", "not contiguous"],
)
def test_what_is_not_a_contiguous_row_of_float32_is_refused(samples: Samples) -> None:
    for take in (Frames(DEFAULT).push, Frames(DEFAULT).batch, Patches(DEFAULT).push):
        with pytest.raises(TypeError, match="contiguous dimension of float32"):
            take(samples)


def test_features_are_standardised_and_clipped() -> None:
    samples = noise(20_000)
    raw = Patches(RAW).batch(samples)
    scaled = Patches(FrontendSettings(mean=(-40.0,), std=(5.0,), clip=2.0)).batch(samples)
    np.testing.assert_allclose(scaled, np.clip((raw + 40) / 5, -2, 2), rtol=1e-6, atol=1e-6)
    assert abs(scaled).max() == 2.0


def test_each_coefficient_has_its_own_constants() -> None:
    samples = noise(20_000)
    raw = msgspec.structs.replace(RAW, kind="mfcc_mean")
    own = msgspec.structs.replace(raw, mean=tuple(map(float, range(40))), std=(2.0,) * 40)
    wanted = (Patches(raw).batch(samples) - np.arange(40)) / 2
    np.testing.assert_allclose(Patches(own).batch(samples), wanted, rtol=1e-5, atol=1e-5)


@BOTH
def test_a_steady_stream_allocates_only_what_it_returns(mode: Mode) -> None:
    frames = Frames(DEFAULT, mode)
    piece = noise(160)
    for _ in range(100):
        frames.push(piece)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10_000):
        frames.push(piece)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tile_bytes = 12 * 64 * 4
    assert after - before < tile_bytes
    # Beside the tile: the interpreter's own small objects and the transform's scratch row.
    assert peak - before < tile_bytes + 16 * 1024


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"win_length": 2048}, "win_length 2048 exceeds n_fft 1024"),
        ({"hop": 2000}, "hop 2000 exceeds n_fft 1024"),
        ({"fmin": 8000.0}, "fmin 8000.0 and fmax 7500.0"),
        ({"fmax": 9000.0}, "half the rate, 8000.0 Hz"),
        ({"kind": "mfcc", "n_mfcc": 65}, "n_mfcc 65 exceeds n_mels 64"),
        ({"kind": "mfcc_stats", "patch": 8}, "too short for deltas"),
        ({"n_mels": 400}, "hold no FFT bin"),
        ({"mean": (0.0, 1.0)}, "mean and std hold 2 and 1 values"),
        ({"fmin": 10.0}, r"constant offset.* 15\.6\d? Hz at least"),
        ({"fmin": 75.0, "win_length": 400}, "80 Hz at least"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(_changed(DEFAULT, change))


def test_the_laboratory_may_hear_from_zero_hertz() -> None:
    check(FrontendSettings(fmin=0.0), device=False)


CHANGES: dict[str, object] = {
    "kind": "mfcc",
    "rate": 22050,
    "n_fft": 2048,
    "win_length": 1000,
    "hop": 160,
    "n_mels": 40,
    "fmin": 20.0,
    "fmax": 7000.0,
    "scale": "htk",
    "norm": "none",
    "floor": "amin",
    "floor_value": 1e-10,
    "n_mfcc": 20,
    "lifter": 22,
    "patch": 96,
    "patch_hop": 24,
    "mean": [1.0],
    "std": [2.0],
    "clip": None,
}


def test_every_field_that_can_change_changes_the_fingerprint() -> None:
    fixed = {"algorithm", "power", "resampler", "quality"}
    assert set(CHANGES) | fixed == set(FrontendSettings.__struct_fields__)
    prints = {fingerprint(_changed(DEFAULT, {name: value})) for name, value in CHANGES.items()}
    assert len(prints | {fingerprint(DEFAULT)}) == len(CHANGES) + 1


def test_the_order_of_keys_and_the_form_of_a_number_do_not() -> None:
    plain = msgspec.to_builtins(DEFAULT) | {"fmin": 50, "clip": 4}
    turned = json.dumps(dict(reversed(plain.items())))
    assert fingerprint(msgspec.json.decode(turned, type=FrontendSettings)) == fingerprint(DEFAULT)
    assert fingerprint(FrontendSettings(fmin=50)) == fingerprint(DEFAULT)


def test_golden_signals_follow_their_rules() -> None:
    """The congruential generator's first values after seed 1 are 3C88596C and 5E8885DB."""
    signals = golden_signals()
    assert {signal.shape for signal in signals.values()} == {(1024 + 47 * 320,)}
    assert not signals["silence"].any()
    assert (signals["noise"][:2] * 32768).tolist() == [0x3C88 >> 4, 0x5E88 >> 4]
    sine = np.sin(2 * np.pi * 250 * np.arange(16064) / 16000)
    assert np.abs(signals["tone"] * 32768 - 32767 * sine).max() <= 0.5001
    assert np.flatnonzero(signals["impulses"]).tolist() == [0, 4001, 8002, 12003, 16004]
    assert (signals["square"][[0, 36, 37, 73, 74]] * 32768).tolist() == [
        32767,
        32767,
        -32767,
        -32767,
        32767,
    ]
    crossings = np.flatnonzero(np.diff(np.signbit(signals["chirp"])))
    assert crossings.size == pytest.approx(2 * 16064 / 16000 * (50 + 7450 / 2), rel=0.02)


@pytest.mark.parametrize("fault", ["scale", "window", "int16", "weights"])
def test_golden_signals_show_a_wrong_front_end(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault moves some value further than 1e-4 dB, which is what `exact` may differ by."""
    signals = golden_signals()
    wanted = _levels(RAW, signals)
    found_settings, factor = RAW, np.float32(1)
    if fault == "scale":
        found_settings = FrontendSettings(clip=None, scale="htk")
    elif fault == "window":
        monkeypatch.setattr(transform, "hann", lambda _: np.hanning(1024))
    elif fault == "int16":
        factor = np.float32(32768)
    else:
        monkeypatch.setattr(transform, "mel_weights", _in_float16(transform.mel_weights))
    scaled = {name: signal * factor for name, signal in signals.items()}
    assert np.abs(_levels(found_settings, scaled) - wanted).max() > 1e-4


def test_fast_and_exact_agree_on_golden_signals() -> None:
    signals = golden_signals()
    exact, fast = _levels(RAW, signals, "exact"), _levels(RAW, signals, "fast")
    assert np.abs(exact - fast).max() < 0.05


def _of_kind(grid: FrontendSettings, kind: str) -> FrontendSettings:
    return _changed(grid, {"kind": kind})


def _changed(base: FrontendSettings, change: dict[str, object]) -> FrontendSettings:
    return msgspec.convert(msgspec.to_builtins(base) | change, FrontendSettings)


def _levels(of: FrontendSettings, signals: dict[str, Samples], mode: Mode = "exact") -> Samples:
    patches = Patches(of, mode)
    return np.concatenate([patches.batch(signal) for signal in signals.values()])


def _in_float16(
    weights: Callable[[FrontendSettings], transform.Doubles],
) -> Callable[[FrontendSettings], transform.Doubles]:
    return lambda of: weights(of).astype(np.float16).astype(np.float64)
