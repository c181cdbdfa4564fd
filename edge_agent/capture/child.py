"""The capture child: PortAudio's blocks to a pipe of its own; lean, as it runs beside the agent.

It imports neither numpy nor msgspec. The callback only copies, counts and enqueues: a pipe that
is full must never hold up the sound. stdout and stderr are left to the libraries, which write
there as they please. What cannot go on ends with an exit code of `wire`; the parent restarts.

    python -I -m edge_agent.capture.child FD DEVICE CHANNELS RATE ROOT
    python -I -m edge_agent.capture.child list ROOT
"""

import ctypes
import ctypes.util
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from edge_agent.capture import alsa, cards, wire
from edge_agent.clock import SystemClock

_BLOCK_MS = 256
"""Four hold the first patch and what resampling keeps back; of 250 ms it would take five."""
_QUEUE_BLOCKS = 10_000 // _BLOCK_MS
_LATENCY_S = 0.5
_PR_SET_PDEATHSIG = 1
_PORTAUDIO = "libportaudio.so.2"
_PORTAUDIO_NO_DEFAULT = "device -1"
_NO_DEFAULT = "there is no default device to record from"
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


def run(pipe: int, name: str, channels: int, rate: int, root: Path) -> int:
    """Capture until the stream or the parent ends; returns the exit code."""
    # Before PortAudio wakes the cards.
    try:
        place = cards.find(name, root)
    except (LookupError, ValueError) as error:
        _say(str(error))
        return wire.EXIT_MISSING
    lean = place is not None and alsa.leave_out_plugins()
    _name_portaudio()
    try:
        import sounddevice
    except OSError as error:
        _say(str(error))
        return wire.EXIT_NO_PORTAUDIO
    feed = _Feed(channels, rate)
    device = _device(name)
    if place is not None:
        device = cards.number(place, [str(found["name"]) for found in sounddevice.query_devices()])
        if device is None:
            if lean:
                _again_with_plugins()
            return _not_offered(place, root)
    try:
        stream = sounddevice.RawInputStream(
            device=device,
            channels=channels,
            samplerate=rate,
            dtype="int16",
            blocksize=rate * _BLOCK_MS // 1000,
            latency=_LATENCY_S,
            callback=feed.callback,
            finished_callback=feed.finish,
        )
        stream.start()
    except (ValueError, sounddevice.PortAudioError) as error:
        _say(_NO_DEFAULT if _PORTAUDIO_NO_DEFAULT in str(error) else str(error))
        known = [str(device["name"]) for device in sounddevice.query_devices()]
        _say(f"devices: {', '.join(known) or 'none'}")
        return _refusal(str(error), isinstance(error, ValueError))
    try:
        feed.write_to(pipe)
    except BrokenPipeError:
        return 0
    return wire.EXIT_STOPPED


def _name_portaudio() -> None:
    """Spare sounddevice its search, which starts ldconfig and takes a third of its import."""
    found = ctypes.util.find_library
    # Where it is not under this name, the search may find it.
    with suppress(OSError):
        ctypes.CDLL(_PORTAUDIO)
        ctypes.util.find_library = lambda name: _PORTAUDIO if name == "portaudio" else found(name)


def _again_with_plugins() -> None:
    """Become the same child again, whose ALSA reads all that the system has configured."""
    os.environ[alsa.PATH] = str(alsa.SYSTEM)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 # it is this very program


def _not_offered(place: cards.Place, root: Path) -> int:
    """Why a card that is there cannot be opened: PortAudio leaves out what it failed to try."""
    owner = cards.owner(place, root)
    if owner is not None:
        _say(f"{place} is in use by process {owner}")
        return wire.EXIT_BUSY
    _say(f"{place} is there, but cannot be opened; is this user in the group audio?")
    return wire.EXIT_MISSING


def print_devices(out: int, root: Path) -> int:
    """Write what PortAudio can record from, a JSON object a line; returns the exit code."""
    import json  # only here: the child that captures is to stay small

    _name_portaudio()
    try:
        import sounddevice
    except OSError as error:
        _say(str(error))
        return wire.EXIT_NO_PORTAUDIO
    apis = [str(api["name"]) for api in sounddevice.query_hostapis()]
    for number, found in enumerate(sounddevice.query_devices()):
        channels = int(found["max_input_channels"])
        if channels == 0:
            continue
        title, api = str(found["name"]), apis[found["hostapi"]]
        device: dict[str, object] = {"title": title, "channels": channels}
        if (place := cards.place_in(title)) is not None:
            device["place"] = place
            # To ask is to open it, which would disturb nobody but fail.
            if cards.owner(place, root) is None:
                device["rates"] = _taken_rates(sounddevice, number, channels)
        else:
            device["plugin"] = _plugin(title) if api == "ALSA" else api
        _write_all(out, json.dumps(device).encode() + b"\n")
    return 0


def _taken_rates(sounddevice: Any, number: int, channels: int) -> list[int]:
    rates = []
    for rate in cards.RATES:
        try:
            sounddevice.check_input_settings(number, channels, "int16", samplerate=rate)
        except sounddevice.PortAudioError:
            continue
        rates.append(rate)
    return rates


def _plugin(pcm: str) -> str:
    """The type of an ALSA PCM that is no hardware (pulse, plug, dsnoop), or its name."""
    alsa = ctypes.CDLL("libasound.so.2")
    # PortAudio has let go of the configuration that it read.
    alsa.snd_config_update()
    top = ctypes.c_void_p.in_dll(alsa, "snd_config")
    definition, kind, text = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_char_p()
    # Failures are negative; the first gives 1 where it had to evaluate something.
    known = (
        alsa.snd_config_search_definition(top, b"pcm", pcm.encode(), ctypes.byref(definition)) >= 0
        and alsa.snd_config_search(definition, b"type", ctypes.byref(kind)) >= 0
        and alsa.snd_config_get_string(kind, ctypes.byref(text)) >= 0
    )
    return text.value.decode() if known and text.value else pcm


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
    if sys.argv[1] == "list":
        # The libraries print as they please, and what they print is no list.
        out = os.dup(1)
        os.dup2(2, 1)
        code = print_devices(out, Path(sys.argv[2]))
    else:
        pipe, name, channels, rate, root = sys.argv[1:6]
        code = run(int(pipe), name, int(channels), int(rate), Path(root))
    # PortAudio's own ending may wait for a device that is gone.
    os._exit(code)


if __name__ == "__main__":
    main()
