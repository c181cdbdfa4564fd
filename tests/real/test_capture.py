"""The microphone's whole way on a real sound server: PulseAudio's null sinks, ALSA, PortAudio."""

import os
import resource
import signal
import subprocess
import wave
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.capture import wire
from edge_agent.capture.cards import ROOT
from edge_agent.capture.microphone import MicrophoneSource
from edge_agent.config import LevelsConfig, MicrophoneConfig
from edge_agent.errors import DeviceError
from edge_agent.levels import Levels
from edge_agent.records import Block
from tests.real.sound import CLOCK, MONO, STEREO, pactl
from tests.sound_tree import SoundTree

pytestmark = pytest.mark.real


@pytest.fixture
def open_microphone(server: None) -> Iterator[Callable[..., MicrophoneSource]]:
    opened = []

    def open_it(
        device: str = "mic0",
        channels: int = 1,
        channel: int = 1,
        root: Path = ROOT,
        patient: bool = False,
    ) -> MicrophoneSource:
        settings = MicrophoneConfig(device=device, channels=channels, channel=channel)
        opened.append(MicrophoneSource("mic", settings, CLOCK, root, patient=patient))
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


def wait_turning(
    source: MicrophoneSource, true: Callable[[], bool], what: str, deadline_s: float = 30.0
) -> None:
    """Wait while the source does its work."""
    end_ns = CLOCK.monotonic_ns() + round(deadline_s * 1e9)
    while not true():
        assert CLOCK.monotonic_ns() < end_ns, f"not within {deadline_s} s: {what}"
        source.read(0.1)


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


def assert_readings_tell(blocks: list[Block]) -> None:
    """Each second of the meter is heard for as long as the blocks say, and some are spoiled."""
    meter = Levels(LevelsConfig())
    heard_s = {
        reading.start_ns // 10**9: reading.heard_s
        for block in blocks
        for reading in meter.feed(block)
    }
    seconds = range(min(heard_s), max(heard_s) + 1)
    spans = [(block.start_ns, block.start_ns + len(block.samples) / 48e-6) for block in blocks]
    for second in seconds:
        begin_ns, end_ns = second * 10**9, (second + 1) * 10**9
        there_s = sum(max(0, min(end, end_ns) - max(start, begin_ns)) / 1e9 for start, end in spans)
        # A block is stamped a little back or forth while the time of a stream settles.
        assert heard_s.get(second, 0.0) == pytest.approx(there_s, abs=0.05)
    # Behind the first, which began somewhere in its middle.
    assert min(heard_s.get(second, 0.0) for second in seconds[1:]) < 0.95


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
    assert {len(block.samples) for block in blocks} == {12_288}
    tone = blocks[-2].samples
    assert peak_hz(tone) == 1000.0  # a bin is 3.9 Hz
    # The played amplitude is exactly half of full scale, and 48 kHz mono stays as it is.
    assert np.abs(tone).max() == pytest.approx(0.5, abs=0.001)
    # PortAudio's buffer is half a second; the rest is for a loaded machine.
    last = blocks[-1]
    assert 0 <= CLOCK.utc_ns() - last.start_ns - 250_000_000 < 3e9
    assert source.health().gaps_s == 0.0


@pytest.mark.parametrize(("channel", "tone_hz"), [(1, 625.0), (2, 2000.0)])
def test_the_channel_that_was_asked_for_is_picked(
    open_microphone: Callable[..., MicrophoneSource],
    tmp_path: Path,
    channel: int,
    tone_hz: float,
) -> None:
    source = open_microphone("mic1", channels=2, channel=channel)
    heard(source, 1)
    player = played(tmp_path, "pair", 625.0, 2000.0)
    blocks = heard(source, 12)
    player.kill()
    player.wait()
    assert peak_hz(blocks[-2].samples) == tone_hz


def test_a_killed_child_is_replaced_and_what_was_lost_is_counted(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    before = heard(source, 7)
    (child,) = children()
    killed_ns = CLOCK.monotonic_ns()
    os.kill(child, signal.SIGKILL)
    after = heard(source, 8)
    blocks = before + after
    assert unbroken(blocks)
    lost = sum(block.missed for block in blocks)
    outage_s = (CLOCK.monotonic_ns() - killed_ns) / 1e9 - 2.0  # eight blocks, two seconds heard
    # Between the back-off of a second, half at least, and all the time it took, half a second of
    # buffer aside.
    assert 0.25 < lost / 48000 < outage_s + 1.0
    assert_readings_tell(blocks)
    assert source.health().restarts == 1
    assert source.health().gaps_s == pytest.approx(lost / 48000)


def test_a_child_that_hangs_is_replaced_and_what_was_lost_is_counted(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    blocks = heard(source, 7)
    (child,) = children()
    os.kill(child, signal.SIGSTOP)
    blocks += heard(source, 8)
    assert unbroken(blocks)
    assert child not in children()
    assert source.health().restarts == 1
    # Three seconds without a block, and half a second of back-off at least.
    assert source.health().gaps_s > 2.5
    assert_readings_tell(blocks)


def test_a_child_that_was_held_up_is_late_and_loses_nothing(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    blocks = heard(source, 7)
    (child,) = children()
    os.kill(child, signal.SIGSTOP)
    CLOCK.wait(1.5)
    os.kill(child, signal.SIGCONT)
    blocks += heard(source, 16)
    assert [block.missed for block in blocks] == [0] * 23
    assert children() == [child]


def test_a_sound_server_that_stalls_is_heard_again_when_it_goes_on(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    heard(source, 2)
    pactl("suspend-sink", "mic", "1")
    try:
        wait_turning(source, lambda: source.health().restarts >= 1, "the child is replaced")
        # It can be opened: that is not a missing microphone.
        assert source.health().last_error is None
    finally:
        pactl("suspend-sink", "mic", "0")
    assert unbroken(heard(source, 4))


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


def test_what_a_stopped_agent_could_not_take_is_counted_and_reaches_the_readings(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone()
    blocks = heard(source, 8)
    # The child's queue holds 10 s and the pipe 2.7 s: what comes after that is dropped.
    CLOCK.wait(15)
    blocks += heard(source, 60)
    assert unbroken(blocks)
    lost_s = sum(block.missed for block in blocks) / 48000
    assert lost_s > 1.0
    assert source.health().gaps_s == pytest.approx(lost_s)
    assert source.health().restarts == 0
    assert_readings_tell(blocks)


def overrun(source: MicrophoneSource, *, overflows: int) -> list[Block]:
    """Ten blocks of which the sixth comes 0.3 s late, as after an ALSA overrun.

    The flag itself can only be had from hardware: no stop of a process makes PulseAudio lose sound.
    """
    samples = np.random.default_rng(1).normal(0, 1000, 12_000).astype("<i2").tobytes()
    for seq in range(10):
        late_ms = 300 if seq > 5 else 0
        header = wire.Header(
            channels=1,
            rate=48_000,
            frames=12_000,
            seq=seq,
            monotonic_ns=(1000 + 250 * seq + late_ms) * 1_000_000,
            age_us=250_000,
            overflows=overflows if seq == 6 else 0,
            dropped=0,
        )
        source._take(header, memoryview(samples))
    return [block for block in (source.read(0) for _ in range(10)) if block is not None]


def test_an_overrun_is_counted_and_reaches_the_reading_that_it_spoils(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone("no such device", patient=True)
    blocks = overrun(source, overflows=1)
    assert [block.missed for block in blocks] == [0] * 6 + [14_400] + [0] * 3
    assert source.health().overflows == 1
    assert source.health().gaps_s == 0.3
    assert_readings_tell(blocks)


def test_a_late_block_without_an_overrun_is_only_late(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    source = open_microphone("no such device", patient=True)
    blocks = overrun(source, overflows=0)
    assert [block.missed for block in blocks] == [0] * 10
    assert source.health().gaps_s == 0.0


def test_a_microphone_that_is_missing_at_first_is_waited_for(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    pactl("unload-module", "module-null-sink")
    try:
        source = open_microphone(patient=True)
        wait_turning(source, lambda: source.health().restarts >= 2, "two more tries")
        why = source.health().last_error
        assert why is not None
        assert why.startswith("mic0: ")
    finally:
        pactl("load-module", *MONO.split())
        pactl("load-module", *STEREO.split())
    heard(source, 4)
    # It is back when it has been heard for ten seconds, and not at its first word.
    assert source.health().last_error is not None
    heard(source, 44)
    assert source.health().last_error is None
    assert source.health().gaps_s == 0.0


def test_tries_grow_rare_and_do_not_end(open_microphone: Callable[..., MicrophoneSource]) -> None:
    source = open_microphone("no such device", patient=True)
    started_ns = CLOCK.monotonic_ns()
    at_s: list[float] = []
    while len(at_s) < 4:
        wait_turning(source, lambda: source.health().restarts > len(at_s), "the next try")
        at_s.append((CLOCK.monotonic_ns() - started_ns) / 1e9)
    waits_s = np.diff([0.0, *at_s])
    # 1, 2, 4, 8 s, each spread by half; a child takes its time to find that there is no device.
    for wait_s, nominal_s in zip(waits_s, (1, 2, 4, 8), strict=True):
        assert 0.5 * nominal_s <= wait_s < 1.5 * nominal_s + 2.5
    assert "no such device" in str(source.health().last_error)
    assert not source.ended


@pytest.mark.slow
def test_after_a_minute_of_health_the_next_try_comes_soon_again(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    pactl("unload-module", "module-null-sink")
    try:
        source = open_microphone(patient=True)
        wait_turning(source, lambda: source.health().restarts >= 3, "the fourth try", 40)
    finally:
        pactl("load-module", *MONO.split())
        pactl("load-module", *STEREO.split())
    heard(source, 4 * 62, 90)
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    killed_ns = CLOCK.monotonic_ns()
    restarts = source.health().restarts
    wait_turning(source, lambda: source.health().restarts > restarts, "the next try")
    # A second, spread by half, where it would have been 8 s, half of it at least.
    assert (CLOCK.monotonic_ns() - killed_ns) / 1e9 < 3.0


def test_a_capture_process_that_cannot_be_started_is_waited_for(
    open_microphone: Callable[..., MicrophoneSource],
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is open stays open, and nothing new can be opened.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        source = open_microphone(patient=True)
        assert source.read(0.0) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "cannot be started: [Errno 24] Too many open files" in str(source.health().last_error)
    assert unbroken(heard(source, 2))


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
