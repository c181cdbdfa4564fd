"""Recordings as blocks of sound; the only door to soundfile, and it reads only.

WAV, FLAC and Ogg are recognised by their first bytes before libsndfile sees them: what it takes
for MP3 makes its decoder write to stderr, and for a file cut short it reports no error at all.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from edge_agent.capture.cutter import LIMIT, RATE, Cutter, Frames, bad_frames, mixed_down
from edge_agent.capture.timeline import Timeline
from edge_agent.clock import Clock
from edge_agent.errors import AudioError
from edge_agent.records import Block, CaptureHealth, Samples

_RATES = range(1000, 768001)
_NS = 1_000_000_000

# A NaN whose payload no decoder writes. soundfile.blocks hands over its buffer whole even when
# the decoder filled only a part of it, so what still holds this value was never read.
_UNREAD = np.uint32(0x7FC0EA75)

# Streaming writers that cannot go back leave (almost) the largest size; it says nothing.
_UNKNOWN_BYTES = 0x7FFF0000
_IN_DS64 = 0xFFFFFFFF
_OGG_TAIL_BYTES = 65536 + 282
"""The longest possible Ogg page and its header (RFC 3533, section 6)."""
_OGG_LAST_PAGE = 0x04

_HINT = "Give a complete WAV, FLAC or Ogg (Vorbis, Opus) file."


class RecordingSource:
    """One recording as a microphone: mono by mean, 48 kHz, blocks of at most 0.25 s.

    Samples that are no sound (NaN, infinite, beyond 100 times full scale in any channel) are left
    out and become `missed` of the block after them.

    Args:
        name: The microphone that the blocks are said to come from.
        path: A WAV, FLAC or Ogg file.
        start_ns: Time of the first sample, nanoseconds UTC; unused with a clock.
        clock: Paces and stamps the blocks as a microphone would; None: as fast as they are read.

    Raises:
        AudioError: The file is missing, of another kind, empty or cut short. What shows only
            while it is decoded is raised by `read`.
    """

    def __init__(self, name: str, path: Path, *, start_ns: int, clock: Clock | None = None) -> None:
        self._name = name
        self._start_ns = start_ns
        self._rate, channels = _examined(path)
        self._frames = _decoded(path, max(1, self._rate // 4), channels)
        self._cutter = Cutter(self._rate, channels)
        self._pace = None if clock is None else _Pace(clock)
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether every block was handed out."""
        return self._ended

    @property
    def waits(self) -> bool:
        """Never: a recording's next block comes in its time."""
        return False

    @property
    def pid(self) -> int | None:
        """None: this process reads it."""
        return None

    def read(self, timeout_s: float) -> Block | None:
        """The next block; None at the end, or when with a clock it is not due within the timeout.

        Raises:
            AudioError: The rest of the file cannot be decoded.
        """
        if not self._fill():
            self._ended = True
            return None
        first, missed, samples, overloads = self._cutter.ready[0]
        if self._pace is not None and not self._pace.due(first + len(samples), timeout_s):
            return None
        self._cutter.ready.popleft()
        start_ns, synced = self._stamp(first, len(samples))
        return Block(
            microphone=self._name,
            samples=samples,
            rate=RATE,
            bandwidth_hz=min(self._rate, RATE) / 2,
            first=first,
            start_ns=start_ns,
            synced=synced,
            missed=missed,
            overloads=overloads,
        )

    def close(self) -> None:
        """Let go of the file."""
        self._frames = iter(())
        self._ended = True

    def health(self) -> CaptureHealth:
        """What was left out so far."""
        return CaptureHealth(
            microphone=self._name,
            overflows=0,
            gaps_s=self._cutter.bad_samples / self._rate,
            bad_samples=self._cutter.bad_samples,
            restarts=0,
        )

    def _fill(self) -> bool:
        """Decode until a block is ready; False at the end."""
        while not self._cutter.ready:
            frames = next(self._frames, None)
            if frames is not None:
                self._cutter.push(frames)
            elif not self._cutter.finish():
                return False
        return True

    def _stamp(self, first: int, samples: int) -> tuple[int, bool]:
        if self._pace is not None:
            return self._pace.stamp(first, samples)
        return self._start_ns + first * _NS // RATE, False


class _Pace:
    """Lets blocks out when a microphone would have captured them, and stamps them so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timeline = Timeline(clock, RATE)
        self._anchor_ns: int | None = None

    def due(self, end: int, timeout_s: float) -> bool:
        """Wait until sample `end` would have been captured, at most `timeout_s`."""
        now_ns = self._clock.monotonic_ns()
        if self._anchor_ns is None:
            self._anchor_ns = now_ns
        wait_s = (self._anchor_ns - now_ns) / _NS + end / RATE
        if wait_s > 0:
            self._clock.wait(min(wait_s, timeout_s))
        return wait_s <= timeout_s

    def stamp(self, first: int, samples: int) -> tuple[int, bool]:
        """Time of a block's first sample, and whether the clock is synchronised."""
        anchor_ns = self._anchor_ns or 0
        return self._timeline.stamp(first, samples, anchor_ns + first * _NS // RATE)


def read_recording(path: Path) -> tuple[Samples, int]:
    """A whole recording: mono by mean, (n,), at its own rate (second value, Hz).

    Raises:
        AudioError: It cannot be read to its end, or holds samples that are no sound.
    """
    rate, channels = _examined(path)
    parts: list[Samples] = []
    for frames in _decoded(path, rate, channels):
        bad = int(np.count_nonzero(bad_frames(frames)))
        if bad:
            raise AudioError(
                f"{path}: {bad} samples are not finite or beyond {LIMIT:g} times full scale",
                hint="Repair the recording, or leave it out.",
            )
        parts.append(mixed_down(frames))
    return np.concatenate(parts), rate


def _examined(path: Path) -> tuple[int, int]:
    """Rate (Hz) and channels of a recording that promises to be whole."""
    _refuse_unless_whole(path)
    try:
        info = soundfile.info(os.fsencode(path))
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError(f"{path}: cannot be read: {_reason(error)}", hint=_HINT) from error
    if info.frames == 0:
        raise AudioError(f"{path}: holds no sound: its length is 0 samples", hint=_HINT)
    if info.frames >= 1 << 62:
        raise AudioError(
            f"{path}: does not say how long it is (it was encoded into a pipe)",
            hint="Encode it again into a file.",
        )
    if info.samplerate not in _RATES:
        raise AudioError(
            f"{path}: its rate is {info.samplerate} Hz, which is not between "
            f"{_RATES[0]} and {_RATES[-1]} Hz",
            hint="Convert it to 48000 Hz.",
        )
    return int(info.samplerate), int(info.channels)


def _decoded(path: Path, count: int, channels: int) -> Iterator[Frames]:
    """The recording's frames, `count` at a time."""
    buffer = np.empty((count, channels), dtype=np.float32)
    marks = buffer.view(np.uint32)
    marks[:] = _UNREAD
    position = 0
    try:
        for frames in soundfile.blocks(os.fsencode(path), out=buffer):
            unread = int(np.count_nonzero((frames.view(np.uint32) == _UNREAD).all(axis=1)))
            if unread:
                raise _truncated(path, f"it ends after {position + len(frames) - unread} samples")
            position += len(frames)
            yield frames.copy()
            marks[:] = _UNREAD
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{path}: truncated or damaged after {position} samples: {_reason(error)}", hint=_HINT
        ) from error


def _reason(error: Exception) -> str:
    """Libsndfile's own words, without the file's name in front of them."""
    words = str(getattr(error, "error_string", error))
    return words.removeprefix("Error : ").rstrip(". ")


def _truncated(path: Path, found: str) -> AudioError:
    return AudioError(f"{path}: truncated: {found}", hint=_HINT)


def _refuse_unless_whole(path: Path) -> None:
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise AudioError(
                f"{path}: is a pipe or a device, not a file",
                hint="Give a file; raw PCM in a pipe is for `run`, microphone kind `stdin`.",
            )
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise AudioError(
            f"{path}: cannot be opened: {error.strerror}",
            hint="Give a file that is there and can be read.",
        ) from error
    size = status.st_size
    if size == 0:
        raise AudioError(f"{path}: is an empty file", hint=_HINT)
    if head in (b"RIFF", b"RIFX", b"RF64"):
        _check_wav(path, size, "big" if head == b"RIFX" else "little")
    elif head == b"OggS":
        _check_ogg(path, size)
    elif head != b"fLaC":
        raise AudioError(f"{path}: is neither WAV, FLAC nor Ogg", hint=_HINT)


def _check_wav(path: Path, size: int, order: Literal["big", "little"]) -> None:
    """Hold the data chunk's length against the file's; libsndfile quietly takes what is there."""
    long_length: int | None = None
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            length, body = int.from_bytes(header[4:], order), file.tell()
            if header[:4] == b"ds64":
                # EBU Tech 3306: the file's length, then the sound's, 64 bits each.
                long_length = int.from_bytes(file.read(16)[8:], order)
            if header[:4] == b"data":
                known = length < _UNKNOWN_BYTES
                if length == _IN_DS64 and long_length is not None:
                    length, known = long_length, True
                if known and size - body < length:
                    raise _truncated(path, f"{size - body} of {length} bytes of sound are there")
                return
            file.seek(body + length + length % 2)
    raise _truncated(path, "there is no sound behind its header")


def _check_ogg(path: Path, size: int) -> None:
    """Look for the mark of the last page; without it the recording was cut or never closed."""
    with path.open("rb") as file:
        file.seek(max(0, size - _OGG_TAIL_BYTES))
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        raise _truncated(path, "its last page is not whole")
    segments = tail[page + 26]
    table = tail[page + 27 : page + 27 + segments]
    whole = len(table) == segments and len(tail) >= page + 27 + segments + sum(table)
    if not whole or not tail[page + 5] & _OGG_LAST_PAGE:
        raise _truncated(path, "its last page is missing or not whole")
