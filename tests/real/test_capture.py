"""The microphone's whole way on a real sound server: PulseAudio's null sinks, ALSA, PortAudio."""

import os
import signal
import subprocess
import wave
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.capture.cards import ROOT
from edge_agent.capture.microphone import MicrophoneSource
from edge_agent.config import MicrophoneConfig
from edge_agent.errors import DeviceError
from edge_agent.records import Block
from tests.real.sound import CLOCK, MONO, STEREO, pactl
from tests.sound_tree import SoundTree

pytestmark = pytest.mark.real


@pytest.fixture
def open_microphone(server: None) -> Iterator[Callable[..., MicrophoneSource]]:
    opened = []

    def open_it(
        device: str = "mic0", channels: int = 1, channel: int = 1, root: Path = ROOT
    ) -> MicrophoneSource:
        settings = MicrophoneConfig(device=device, channels=channels, channel=channel)
        opened.append(MicrophoneSource("mic", settings, CLOCK, root))
        return opened[-1]

    yield open_it
    for source in opened:
        source.close()


def heard(source: MicrophoneSource, count: int, deadline_s: float = 25.0) -> list[Block]:
    blocks: list[Block] = []
    end_ns = CLOCK.monotonic_ns() + round(deadline_s * 1e9)
    while len(blocks) < count:
        assert CLOCK.monotonic_ns() < end_ns, f"{len(blocks)} of {count} blocks in {deadline_s} s"
        block = source.read(0.5)
        if block is not None:
            blocks.append(block)
    return blocks


def children() -> list[int]:
    """Of this process, those that capture."""
    mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(pid)
        for pid in mine
        if b"edge_agent.capture.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def unbroken(blocks: list[Block]) -> bool:
    return all(
        block.first == last.first + len(last.samples) + block.missed
        for last, block in pairwise(blocks)
    )


def played(folder: Path, sink: str, *tones_hz: float) -> "subprocess.Popen[bytes]":
    time_s = np.arange(48000 * 20) / 48000
    tones = [np.sin(2 * np.pi * tone_hz * time_s) for tone_hz in tones_hz]
    frames = np.round(np.stack(tones, axis=1) * 16384).astype("<i2")
    path = folder / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(tones_hz))
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(frames.tobytes())
    return subprocess.Popen(["paplay", f"--device={sink}", "--latency-msec=50", str(path)])


def peak_hz(samples: npt.NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * 48000 / len(samples)


def test_a_tone_played_into_the_microphone_is_heard_unbroken_and_in_time(
    open_microphone: Callable[..., MicrophoneSource], tmp_path: Path
) -> None:
    source = open_microphone()
    heard(source, 1)
    player = played(tmp_path, "mic", 1000.0)
    blocks = heard(source, 16)
    player.kill()
    player.wait()
    assert unbroken(blocks)
    assert {len(block.samples) for block in blocks} == {12_000}
    tone = blocks[-2].samples
    assert peak_hz(tone) == 1000.0  # a bin is 4 Hz
    # The played amplitude is exactly half of full scale, and 48 kHz mono stays as it is.
    assert np.abs(tone).max() == pytest.approx(0.5, abs=0.001)
    # PortAudio's buffer is half a second; the rest is for a loaded machine.
    last = blocks[-1]
    assert 0 <= CLOCK.utc_ns() - last.start_ns - 250_000_000 < 3e9
    assert source.health().gaps_s == 0.0


@pytest.mark.parametrize(("channel", "tone_hz"), [(1, 600.0), (2, 2000.0)])
def test_the_channel_that_was_asked_for_is_picked(
    open_microphone: Callable[..., MicrophoneSource],
    tmp_path: Path,
    channel: int,
    tone_hz: float,
) -> None:
    source = open_microphone("mic1", channels=2, channel=channel)
    heard(source, 1)
    player = played(tmp_path, "pair", 600.0, 2000.0)
    blocks = heard(source, 12)
    player.kill()
    player.wait()
    assert peak_hz(blocks[-2].samples) == tone_hz


def test_a_killed_child_is_replaced_and_what_was_lost_is_counted(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    before = heard(source, 3)
    (child,) = children()
    killed_ns = CLOCK.monotonic_ns()
    os.kill(child, signal.SIGKILL)
    after = heard(source, 8)
    blocks = before + after
    assert unbroken(blocks)
    lost = sum(block.missed for block in blocks)
    outage_s = (CLOCK.monotonic_ns() - killed_ns) / 1e9 - 2.0  # eight blocks, two seconds heard
    # Between the back-off of a second and all the time it took, half a second of buffer aside.
    assert 0.75 < lost / 48000 < outage_s + 1.0
    assert source.health().restarts == 1
    assert source.health().gaps_s == pytest.approx(lost / 48000)


def test_a_microphone_that_was_unplugged_is_heard_again_when_it_is_back(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    heard(source, 2)
    # Both sinks: PulseAudio would move the recording to the one that is left.
    pactl("unload-module", "module-null-sink")
    try:
        end_ns = CLOCK.monotonic_ns() + 20 * 10**9
        while source.health().restarts < 1 and CLOCK.monotonic_ns() < end_ns:
            source.read(0.25)
    finally:
        pactl("load-module", *MONO.split())
        pactl("load-module", *STEREO.split())
    blocks = heard(source, 4)
    assert unbroken(blocks)
    assert source.health().restarts >= 1


def test_an_unknown_device_is_named_together_with_those_there_are(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone("no such device")
    with pytest.raises(DeviceError, match=r"microphone mic: no such device: .*devices: .*mic0"):
        heard(source, 1)


@pytest.mark.parametrize(
    ("device", "recorded_by", "words"),
    [
        ("usb:0d8c:013c@1-1.9", None, "no sound card .*there are: hw:CARD=Device, usb:.*@1-1.2, "),
        ("usb:0d8c:013c", None, "2 sound cards have this name; add @1-1.2 or @1-1.4"),
        ("hw:CARD=Device_1", None, "hw:8,0 is there, but cannot be opened; is this user in"),
        ("hw:CARD=Device_1", 4711, "hw:8,0 is in use by process 4711"),
    ],
)
def test_a_stable_name_is_its_card_and_no_other(
    open_microphone: Callable[..., MicrophoneSource],
    tmp_path: Path,
    device: str,
    recorded_by: int | None,
    words: str,
) -> None:
    # PortAudio has microphones to offer, but none of these two, and `default` is not taken instead.
    tree = SoundTree(tmp_path)
    tree.usb(7, "Device", "1-1.2")
    tree.usb(8, "Device_1", "1-1.4")
    if recorded_by is not None:
        tree.record(8, recorded_by)
    source = open_microphone(device, root=tmp_path)
    with pytest.raises(DeviceError, match=f"microphone mic: {device}: {words}"):
        heard(source, 1)


def test_closing_leaves_no_process_and_no_descriptor(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    source = open_microphone()
    heard(source, 1)
    source.close()
    assert children() == []
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert source.ended
