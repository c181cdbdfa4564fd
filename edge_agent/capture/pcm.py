"""Raw sound on a descriptor, stdin as a rule: signed 16-bit little-endian samples, interleaved.

arecord -f S16_LE -r 48000 -c 1 -t raw | edge-agent run --config FILE
"""

import os
import selectors

import numpy as np

from edge_agent.capture.overloads import Overloads
from edge_agent.capture.timeline import Timeline
from edge_agent.clock import Clock
from edge_agent.records import Block, CaptureHealth, Samples
from edge_agent.resample import Resampler

_RATE = 48000
_BLOCK_SAMPLES = _RATE // 4
_NS = 1_000_000_000
_FULL_SCALE = np.float32(32768.0)
_STEP = 1 / _FULL_SCALE
_READ_BYTES = 65536
# What comes faster than time is no microphone, and waits: a reader's buffer may be this far ahead,
# and a converter's clock this much too fast.
_AHEAD_S = 1.0
_FAST = 1.001


class PcmSource:
    """A stream of raw PCM: mono by mean, 48 kHz, blocks of 0.25 s; the last one may be shorter.

    Args:
        name: The microphone that the blocks are said to come from.
        fd: Descriptor to read; it is not closed, for it belongs to who opened it.
        rate: Hz, of the stream.
        channels: Interleaved channels.
        clock: Stamps the blocks.
    """

    def __init__(self, name: str, fd: int, *, rate: int, channels: int, clock: Clock) -> None:
        self._name = name
        self._fd = fd
        self._rate = rate
        self._frame_bytes = 2 * channels
        self._channels = channels
        self._clock = clock
        self._timeline = Timeline(clock, _RATE)
        self._resampler = Resampler(rate, _RATE)
        self._overloads = Overloads(rate, _RATE) if rate != _RATE or channels > 1 else None
        self._bytes = b""
        self._samples = np.empty(0, np.float32)
        self._first = 0
        self._begun_ns: int | None = None
        self._arrived_ns = 0
        self._input_ended = False

    @property
    def ended(self) -> bool:
        """Whether the stream ended and all of it was handed out."""
        return self._input_ended and not len(self._samples)

    @property
    def waits(self) -> bool:
        """Always: whoever writes comes back, or does not, whatever is done here."""
        return True

    @property
    def pid(self) -> int | None:
        """None: this process reads it."""
        return None

    def read(self, timeout_s: float) -> Block | None:
        """The next block, or None when it is not whole within the timeout, or at the end.

        Bytes of a frame that was never finished are left out at the end.
        """
        deadline_ns = self._clock.monotonic_ns() + round(timeout_s * _NS)
        while len(self._samples) < _BLOCK_SAMPLES and not self._input_ended:
            left_s = max(0.0, (deadline_ns - self._clock.monotonic_ns()) / _NS)
            early_s = self._early_s()
            if early_s > 0:
                self._clock.wait(min(early_s, left_s))
                if early_s > left_s:
                    return None
            elif self._readable(left_s):
                self._take(os.read(self._fd, _READ_BYTES))
            else:
                return None
        return self._block() if len(self._samples) else None

    def close(self) -> None:
        """Read no more."""
        self._input_ended = True
        self._samples = np.empty(0, np.float32)

    def health(self) -> CaptureHealth:
        """Nothing is lost on a pipe, and a 16-bit sample is always a number."""
        return CaptureHealth(
            microphone=self._name, overflows=0, gaps_s=0.0, bad_samples=0, restarts=0
        )

    def _early_s(self) -> float:
        """By how much the sound taken so far is further ahead of time than it may be."""
        now_ns = self._clock.monotonic_ns()
        if self._begun_ns is None:
            return 0.0
        passed_s = (now_ns - self._begun_ns) / _NS
        return (self._first + len(self._samples)) / _RATE - _AHEAD_S - _FAST * passed_s

    def _readable(self, timeout_s: float) -> bool:
        with selectors.SelectSelector() as selector:
            # select, not epoll: stdin may be a plain file, which epoll refuses.
            selector.register(self._fd, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def _take(self, data: bytes) -> None:
        self._arrived_ns = self._clock.monotonic_ns()
        self._begun_ns = self._begun_ns or self._arrived_ns
        if not data:
            self._input_ended = True
            self._keep(self._resampler.flush())
            return
        self._bytes += data
        whole = len(self._bytes) // self._frame_bytes * self._frame_bytes
        frames = np.frombuffer(self._bytes[:whole], dtype="<i2").reshape(-1, self._channels)
        self._bytes = self._bytes[whole:]
        if self._overloads is not None:
            self._overloads.push(frames * _STEP)
        mono = (frames.mean(axis=1, dtype=np.float64) / _FULL_SCALE).astype(np.float32)
        self._keep(self._resampler.push(mono))

    def _keep(self, samples: Samples) -> None:
        self._samples = np.concatenate([self._samples, samples])

    def _block(self) -> Block:
        samples, self._samples = np.split(self._samples, [_BLOCK_SAMPLES])
        waiting_s = (len(samples) + len(self._samples)) / _RATE
        captured_ns = self._arrived_ns - round(waiting_s * _NS)
        start_ns, synced = self._timeline.stamp(self._first, len(samples), captured_ns)
        block = Block(
            microphone=self._name,
            samples=samples,
            rate=_RATE,
            bandwidth_hz=min(self._rate, _RATE) / 2,
            first=self._first,
            start_ns=start_ns,
            synced=synced,
            overloads=None if self._overloads is None else self._overloads.take(len(samples)),
        )
        self._first += len(samples)
        return block
