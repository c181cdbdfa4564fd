"""The capture child: PortAudio's blocks to a pipe of its own; lean, as it runs beside the agent.

It imports neither numpy nor msgspec. The callback only copies, counts and enqueues: a pipe that
is full must never hold up the sound. stdout and stderr are left to the libraries, which write
there as they please. What cannot go on ends with an exit code of `wire`; the parent restarts.

    python -I -m edge_agent.capture.child FD DEVICE CHANNELS RATE
"""

import ctypes
import os
import queue
import signal
import sys
import threading
from typing import Protocol

from edge_agent.capture import wire
from edge_agent.clock import SystemClock

_BLOCKS_PER_S = 4
_QUEUE_BLOCKS = 10 * _BLOCKS_PER_S
_LATENCY_S = 0.5
_PR_SET_PDEATHSIG = 1
_PORTAUDIO_BUSY = "Device unavailable"


class _Times(Protocol):
    """Of PortAudio's time info."""

    currentTime: float  # noqa: N815 (PortAudio's name)
    inputBufferAdcTime: float  # noqa: N815 (PortAudio's name)


class _Flags(Protocol):
    """Of PortAudio's status."""

    input_overflow: bool


class _Feed:
    """What the callback fills and the main thread empties."""

    def __init__(self, channels: int, rate: int) -> None:
        self._channels = channels
        self._rate = rate
        self._queue: queue.SimpleQueue[tuple[wire.Header, bytes] | None] = queue.SimpleQueue()
        self._clock = SystemClock()
        self._overflows = 0
        self._dropped = 0
        self._seq = 0
        self.finished = threading.Event()

    def callback(self, data: memoryview, frames: int, times: _Times, status: _Flags) -> None:
        """Copy a block; when ten seconds wait already, drop it and count."""
        now_ns = self._clock.monotonic_ns()
        self._overflows += bool(status.input_overflow)
        if self._queue.qsize() >= _QUEUE_BLOCKS:
            self._dropped += frames
            return
        age_us = round((times.currentTime - times.inputBufferAdcTime) * 1e6)
        header = wire.Header(
            channels=self._channels,
            rate=self._rate,
            frames=frames,
            seq=self._seq,
            monotonic_ns=now_ns,
            # Some plugins give times that do not advance; a block is never older than 10 s here.
            age_us=age_us if 0 <= age_us <= 10_000_000 else 0,
            overflows=self._overflows,
            dropped=self._dropped,
        )
        self._seq += 1
        self._overflows = self._dropped = 0
        self._queue.put((header, bytes(data)))

    def finish(self) -> None:
        """PortAudio has ended the stream, as it does when a sound server goes away."""
        self.finished.set()
        self._queue.put(None)

    def write_to(self, pipe: int) -> None:
        """Hand blocks to the parent until the stream ends."""
        while (block := self._queue.get()) is not None:
            header, samples = block
            _write_all(pipe, wire.pack(header) + samples)


def _write_all(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent answers to the terminal's Ctrl-C and ends this process in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _device(name: str) -> int | str | None:
    if name == "default":
        return None
    return int(name) if name.isdecimal() else name


def run(pipe: int, name: str, channels: int, rate: int) -> int:
    """Capture until the stream or the parent ends; returns the exit code."""
    try:
        import sounddevice
    except OSError as error:
        _say(str(error))
        return wire.EXIT_NO_PORTAUDIO
    feed = _Feed(channels, rate)
    try:
        stream = sounddevice.RawInputStream(
            device=_device(name),
            channels=channels,
            samplerate=rate,
            dtype="int16",
            blocksize=rate // _BLOCKS_PER_S,
            latency=_LATENCY_S,
            callback=feed.callback,
            finished_callback=feed.finish,
        )
        stream.start()
    except (ValueError, sounddevice.PortAudioError) as error:
        _say(str(error))
        known = [str(device["name"]) for device in sounddevice.query_devices()]
        _say(f"devices: {', '.join(known) or 'none'}")
        return _refusal(str(error), isinstance(error, ValueError))
    try:
        feed.write_to(pipe)
    except BrokenPipeError:
        return 0
    return wire.EXIT_STOPPED


def _refusal(reason: str, unknown_name: bool) -> int:
    if _PORTAUDIO_BUSY in reason:
        return wire.EXIT_BUSY
    if "sample rate" in reason or "number of channels" in reason:
        return wire.EXIT_REFUSED
    if unknown_name or "device" in reason or "host error" in reason:
        return wire.EXIT_MISSING
    return wire.EXIT_REFUSED


def main() -> None:
    """Read the arguments and capture."""
    _die_with_parent()
    pipe, name, channels, rate = sys.argv[1:5]
    code = run(int(pipe), name, int(channels), int(rate))
    # PortAudio's own ending may wait for a device that is gone.
    os._exit(code)


if __name__ == "__main__":
    main()
