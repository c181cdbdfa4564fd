"""Recordings as blocks: formats, rates, gaps, pace, and each way of being unreadable."""

import os
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.files import RecordingSource, read_recording
from edge_agent.clock import SimulatedClock
from edge_agent.errors import AudioError
from edge_agent.records import Block

Array = npt.NDArray[np.float32]


def encoded(path: Path, samples: Array, rate: int, subtype: str | None = None) -> Path:
    container = "OGG" if path.suffix in (".ogg", ".opus") else None
    # The agent never writes audio; its tests have to.
    soundfile.write(path, samples, rate, subtype=subtype, format=container)  # noqa: TID251
    return path


def float_wav(path: Path, samples: Array, rate: int) -> Path:
    """By hand (RIFF WAVE, format 3), so that no encoder clips or mends a sample."""
    frames = samples[:, np.newaxis] if samples.ndim == 1 else samples
    channels = frames.shape[1]
    data = frames.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data)
    return path


def tone(rate: int, seconds: float, frequency_hz: float = 997.0) -> Array:
    time_s = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def all_blocks(source: RecordingSource) -> list[Block]:
    blocks = []
    while not source.ended:
        block = source.read(0.0)
        if block is not None:
            blocks.append(block)
    return blocks


def unbroken(blocks: list[Block]) -> bool:
    return blocks[0].first == blocks[0].missed and all(
        block.first == last.first + len(last.samples) + block.missed
        for last, block in pairwise(blocks)
    )


def joined(blocks: list[Block]) -> Array:
    return np.concatenate([block.samples for block in blocks])


def test_a_48_khz_recording_comes_through_sample_by_sample_in_quarter_seconds(
    tmp_path: Path,
) -> None:
    samples = np.random.default_rng(3).uniform(-1, 1, 30_000).astype(np.float32)
    path = float_wav(tmp_path / "a.wav", samples, 48000)
    blocks = all_blocks(RecordingSource("front", path, start_ns=1_000_000_000))
    assert [len(block.samples) for block in blocks] == [12_000, 12_000, 6_000]
    assert np.array_equal(joined(blocks), samples)
    assert [block.start_ns for block in blocks] == [1_000_000_000, 1_250_000_000, 1_500_000_000]
    assert {block.microphone for block in blocks} == {"front"}
    assert {(block.rate, block.bandwidth_hz, block.synced) for block in blocks} == {
        (48000, 24000.0, False)
    }
    assert unbroken(blocks)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 96000])
def test_any_rate_keeps_the_tone_at_its_place_in_time(tmp_path: Path, rate: int) -> None:
    path = encoded(tmp_path / "a.wav", tone(rate, 1.28), rate, "FLOAT")
    blocks = all_blocks(RecordingSource("mic", path, start_ns=0))
    heard, wanted = joined(blocks), tone(48000, 1.28)
    # Within one sample: soxr rounds the length of what it is given.
    assert abs(len(heard) - len(wanted)) <= 1
    # 1e-3 of full scale is a shift of 0.015 samples of this tone; the ends ring.
    assert np.abs(heard[2000:60_000] - wanted[2000:60_000]).max() < 1e-3
    assert blocks[0].bandwidth_hz == min(rate / 2, 24000)
    assert unbroken(blocks)


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "error"),
    [
        # 16 bits round to half a step; lossy coders were measured at .01 to .03 on this tone.
        ("a.wav", "PCM_16", 48000, 2**-15),
        ("a.wav", "PCM_24", 48000, 2**-23),
        ("a.flac", "PCM_16", 48000, 2**-15),
        ("a.ogg", "VORBIS", 48000, 0.05),
        ("a.opus", "OPUS", 48000, 0.05),
    ],
)
def test_each_format_gives_the_sound_that_was_put_in(
    tmp_path: Path, name: str, subtype: str, rate: int, error: float
) -> None:
    path = encoded(tmp_path / name, tone(rate, 1.0), rate, subtype)
    heard = joined(all_blocks(RecordingSource("mic", path, start_ns=0)))
    assert len(heard) == rate
    assert np.abs(heard - tone(rate, 1.0))[1000:-1000].max() <= error


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_channels_are_mixed_down_by_their_mean(tmp_path: Path, channels: int) -> None:
    frames = np.random.default_rng(channels).uniform(-1, 1, (5000, channels)).astype(np.float32)
    path = float_wav(tmp_path / "a.wav", frames, 48000)
    heard = joined(all_blocks(RecordingSource("mic", path, start_ns=0)))
    assert heard == pytest.approx(frames.astype(np.float64).mean(axis=1), abs=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 101.0, -1e30])
def test_samples_that_are_no_sound_are_left_out_and_counted_as_missed(
    tmp_path: Path, bad: float
) -> None:
    samples = tone(48000, 1.0)
    damaged = samples.copy()
    damaged[20_000:20_007] = bad
    source = RecordingSource("mic", float_wav(tmp_path / "a.wav", damaged, 48000), start_ns=0)
    blocks = all_blocks(source)
    assert [(block.first, len(block.samples), block.missed) for block in blocks] == [
        (0, 12_000, 0),
        (12_000, 8_000, 0),
        (20_007, 12_000, 7),
        (32_007, 12_000, 0),
        (44_007, 3_993, 0),
    ]
    assert np.array_equal(joined(blocks), np.delete(samples, np.s_[20_000:20_007]))
    assert blocks[2].start_ns == 416_812_500  # 20007 / 48000 s
    assert source.health().bad_samples == 7
    assert source.health().gaps_s == pytest.approx(7 / 48000)


def test_one_bad_channel_spoils_the_frame(tmp_path: Path) -> None:
    frames = np.full((1000, 4), 0.25, np.float32)
    frames[10, 3] = 150.0  # the mean would be 37.7, a believable sample
    source = RecordingSource("mic", float_wav(tmp_path / "a.wav", frames, 48000), start_ns=0)
    assert [block.missed for block in all_blocks(source)] == [0, 1]


@settings(max_examples=30)
@given(
    holes=st.sets(st.integers(0, 2999), max_size=12),
    rate=st.sampled_from([8000, 22050, 44100, 48000, 96000]),
)
def test_the_stream_is_unbroken_and_in_place_whatever_is_missing(
    tmp_path_factory: pytest.TempPathFactory, holes: set[int], rate: int
) -> None:
    samples = np.zeros(3000, np.float32)
    samples[list(holes)] = np.nan
    path = float_wav(tmp_path_factory.getbasetemp() / "holes.wav", samples, rate)
    source = RecordingSource("mic", path, start_ns=0)
    blocks = all_blocks(source)
    assert unbroken(blocks)
    assert source.health().bad_samples == len(holes)
    end = blocks[-1].first + len(blocks[-1].samples)
    heard_to = 1 + max(set(range(3000)) - holes)
    # Each stretch is rounded to whole samples of the grid, and a gap is one at least.
    assert abs(end - heard_to * 48000 / rate) <= 1 + len(holes)
    assert sum(block.missed > 0 for block in blocks) == len(
        {hole for hole in holes if hole + 1 not in holes and hole < heard_to}
    )


def test_with_a_clock_blocks_come_when_a_microphone_would_give_them(tmp_path: Path) -> None:
    path = float_wav(tmp_path / "a.wav", tone(48000, 0.6), 48000)
    clock = SimulatedClock(start_ns=5_000_000_000)
    source = RecordingSource("mic", path, start_ns=0, clock=clock)
    assert source.read(0.2) is None
    assert clock.utc_ns() == 5_200_000_000
    blocks = [source.read(1.0) for _ in range(3)]
    assert [block.start_ns for block in blocks if block] == [
        5_000_000_000,
        5_250_000_000,
        5_500_000_000,
    ]
    assert clock.utc_ns() == 5_600_000_000
    assert source.read(1.0) is None
    assert source.ended


def test_a_whole_recording_is_read_at_its_own_rate(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (50_001, 2)).astype(np.float32)
    heard, rate = read_recording(float_wav(tmp_path / "a.wav", samples, 22050))
    assert rate == 22050
    assert heard.dtype == np.float32
    assert heard == pytest.approx(samples.astype(np.float64).mean(axis=1), abs=1e-7)


def test_the_laboratory_is_told_of_samples_that_are_no_sound(tmp_path: Path) -> None:
    samples = tone(8000, 1.0)
    samples[5] = np.nan
    with pytest.raises(AudioError, match=r"a.wav: 1 samples are not finite"):
        read_recording(float_wav(tmp_path / "a.wav", samples, 8000))


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.opus", "OPUS")],
)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_recording_cut_short_is_refused(
    tmp_path: Path, name: str, subtype: str, kept: float
) -> None:
    noise = np.random.default_rng(9).uniform(-0.1, 0.1, 200_000).astype(np.float32)
    data = encoded(tmp_path / name, noise, 48000, subtype).read_bytes()
    (tmp_path / name).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(AudioError, match=rf"{name}: (truncated|cannot be read)"):
        read_recording(tmp_path / name)
    with pytest.raises(AudioError, match=rf"{name}: (truncated|cannot be read)"):
        all_blocks(RecordingSource("mic", tmp_path / name, start_ns=0))


@pytest.mark.parametrize(("container", "endian"), [("WAV", "BIG"), ("RF64", "FILE")])
def test_a_wav_of_the_other_byte_order_or_with_long_lengths_is_whole_or_refused(
    tmp_path: Path, container: str, endian: str
) -> None:
    path, noise = tmp_path / "a.wav", np.random.default_rng(9).uniform(-0.1, 0.1, 200_000)
    soundfile.write(path, noise, 48000, format=container, endian=endian)  # noqa: TID251
    assert len(read_recording(path)[0]) == 200_000
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(AudioError, match="truncated: 399998 of 400000 bytes of sound are there"):
        read_recording(path)


def test_a_name_that_is_no_utf_8_is_a_name(tmp_path: Path) -> None:
    samples = tone(48000, 0.1)
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    float_wav(path, samples, 48000)
    assert np.array_equal(read_recording(path)[0], samples)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    with pytest.raises(AudioError, match=r"pipe.wav: is a pipe or a device") as caught:
        read_recording(path)
    assert "`stdin`" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is an empty file"),
        (b"hello, this is text", "is neither WAV, FLAC nor Ogg"),
        (b"\xff\xfb\x90\x64" + bytes(5000), "is neither WAV, FLAC nor Ogg"),
        (b"RIFF\x10\0\0\0WAVEjunk", "truncated: there is no sound behind its header"),
        (b"OggS" + bytes(100), "truncated: its last page is missing"),
        (b"fLaC" + bytes(1000), "cannot be read"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_reason_and_libraries_stay_silent(
    tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=f"x.wav: {reason}"):
        RecordingSource("mic", path, start_ns=0)
    assert capfd.readouterr() == ("", "")


def test_a_recording_without_samples_or_with_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="holds no sound: its length is 0 samples"):
        read_recording(float_wav(tmp_path / "a.wav", np.empty(0, np.float32), 48000))
    with pytest.raises(AudioError, match="its rate is 1 Hz"):
        read_recording(float_wav(tmp_path / "a.wav", np.zeros(9, np.float32), 1))


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone.wav: cannot be opened: No such file") as caught:
        RecordingSource("mic", tmp_path / "gone.wav", start_ns=0)
    assert caught.value.hint == "Give a file that is there and can be read."
    with pytest.raises(AudioError, match="cannot be opened: Is a directory"):
        RecordingSource("mic", tmp_path, start_ns=0)


def test_a_wav_written_into_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    samples = tone(48000, 0.1)
    path = float_wav(tmp_path / "a.wav", samples, 48000)
    data = path.read_bytes()
    path.write_bytes(data[:40] + b"\xff\xff\xff\xff" + data[44:])
    assert np.array_equal(read_recording(path)[0], samples)


@pytest.mark.data
def test_real_recordings_come_whole_and_unbroken_at_48_khz(data_root: Path) -> None:
    for name in ("full_rate", "urbansound8k"):
        for path in sorted((data_root / name).rglob("*.o*"))[:20]:
            samples, rate = read_recording(path)
            blocks = all_blocks(RecordingSource("mic", path, start_ns=0))
            assert abs(len(joined(blocks)) - len(samples) * 48000 / rate) <= 1
            assert unbroken(blocks)
