"""Raw sound on a descriptor: any cut of the bytes, any pace, the end."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.pcm import PcmSource
from edge_agent.clock import SystemClock
from edge_agent.records import Block

NOISE = np.random.default_rng(5).integers(-32768, 32768, 30_000).astype("<i2")


class Pipe:
    """A pipe with its two ends."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def end(self) -> None:
        os.close(self.writing)
        self.writing = -1

    def close(self) -> None:
        os.close(self.reading)
        if self.writing >= 0:
            os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = Pipe()
    yield ends
    ends.close()


def source(pipe: Pipe, rate: int = 48000, channels: int = 1) -> PcmSource:
    return PcmSource("mic", pipe.reading, rate=rate, channels=channels, clock=SystemClock())


def the_rest(stream: PcmSource) -> list[Block]:
    blocks = []
    while not stream.ended:
        block = stream.read(0.0)
        if block is not None:
            blocks.append(block)
    return blocks


@settings(max_examples=40)
@given(st.lists(st.integers(0, 60_001), max_size=8).map(sorted))
def test_bytes_may_be_cut_anywhere(cuts: list[int]) -> None:
    pipe = Pipe()
    stream = source(pipe)
    blocks = []
    data = NOISE.tobytes() + b"\x7f"  # half a sample too many, left out
    for begin, end in pairwise([0, *cuts, len(data)]):
        os.write(pipe.writing, data[begin:end])
        while (block := stream.read(0.0)) is not None:
            blocks.append(block)
    pipe.end()
    blocks += the_rest(stream)
    pipe.close()
    assert [len(block.samples) for block in blocks] == [12_000, 12_000, 6_000]
    assert [block.first for block in blocks] == [0, 12_000, 24_000]
    heard = np.concatenate([block.samples for block in blocks])
    # A 16-bit sample over 2^15 is exact in float32.
    assert np.array_equal(heard * 32768, NOISE)


def test_channels_are_mixed_down_by_their_mean(pipe: Pipe) -> None:
    os.write(pipe.writing, np.array([[100, 300], [-32768, 32767]], "<i2").tobytes())
    pipe.end()
    (block,) = the_rest(source(pipe, channels=2))
    assert (block.samples * 32768).tolist() == [200.0, -0.5]


def test_another_rate_is_brought_to_48_khz_and_says_what_it_holds(pipe: Pipe) -> None:
    os.write(pipe.writing, NOISE[:16_000].tobytes())
    pipe.end()
    blocks = the_rest(source(pipe, rate=16000))
    assert sum(len(block.samples) for block in blocks) == 48_000
    assert {block.bandwidth_hz for block in blocks} == {8000.0}


def test_a_quiet_pipe_is_waited_for_no_longer_than_the_timeout(pipe: Pipe) -> None:
    stream, clock = source(pipe), SystemClock()
    os.write(pipe.writing, b"\0" * 1000)
    begun_ns = clock.monotonic_ns()
    assert stream.read(0.2) is None
    # The lower limit is the request; the upper one leaves a loaded machine its time.
    assert 0.19e9 < clock.monotonic_ns() - begun_ns < 2e9
    assert not stream.ended


def test_a_file_that_is_poured_in_is_heard_at_the_pace_of_time_and_whole(pipe: Pipe) -> None:
    seconds = 4
    data = np.tile(NOISE, 7)[: seconds * 48_000].tobytes()
    writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=pipe.writing)
    pipe.end()
    inlet = writer.stdin
    assert inlet is not None
    pouring = threading.Thread(target=lambda: (inlet.write(data), inlet.close()))
    pouring.start()
    stream, clock = source(pipe), SystemClock()
    begun_ns = clock.monotonic_ns()
    blocks = []
    while not stream.ended:
        block = stream.read(0.1)
        if block is not None:
            blocks.append((block, clock.monotonic_ns() - begun_ns))
    pouring.join()
    writer.wait()
    assert sum(len(block.samples) for block, _ in blocks) == seconds * 48_000
    for block, heard_ns in blocks:
        # A pipe and a read are ahead by another second at most.
        assert (block.first / 48_000 - heard_ns / 1e9) < 2.0
    assert blocks[-1][1] > (seconds - 2) * 1e9


def test_the_end_of_the_stream_is_the_end(pipe: Pipe) -> None:
    pipe.end()
    stream = source(pipe)
    assert stream.read(0.1) is None
    assert stream.ended


def test_blocks_are_stamped_a_quarter_of_a_second_apart_near_now(pipe: Pipe) -> None:
    stream, clock = source(pipe), SystemClock()
    os.write(pipe.writing, NOISE[:24_000].tobytes())
    begun_ns = clock.utc_ns()
    first, second = stream.read(1.0), stream.read(1.0)
    assert first is not None
    assert second is not None
    # Half a second of sound had just ended when it was written.
    assert abs(begun_ns - first.start_ns) < 2e9
    # The line is corrected by 500 ppm at most: 0.125 ms of 250.
    assert abs(second.start_ns - first.start_ns - 250_000_000) <= 125_001


def test_a_service_whose_stdin_is_closed_says_so(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("microphones: {mic: {kind: stdin}}\nstate_dir: state\n")
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "edge-agent: microphones.mic: stdin is closed" in done.stderr
    assert "Traceback" not in done.stderr
