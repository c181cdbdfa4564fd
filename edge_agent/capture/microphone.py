"""A sound card as blocks of sound: starts, watches and restarts the capture child.

Nothing that a microphone does ends the agent: a device that goes away raises no error anywhere,
so a child that died or gave no block for 3 s is replaced, after 1, 2, 4 ... 60 s and without end.
Only where somebody waits at a terminal is a device that cannot be opened an error.
"""

import logging
import random
from collections import deque
from pathlib import Path

import numpy as np

from edge_agent.capture import wire
from edge_agent.capture.cards import ROOT
from edge_agent.capture.overloads import Overloads
from edge_agent.capture.process import HINTS, SILENT_S, Child
from edge_agent.capture.timeline import Timeline
from edge_agent.clock import Clock
from edge_agent.config import MicrophoneConfig
from edge_agent.errors import DeviceBusyError, DeviceError
from edge_agent.records import Block, CaptureHealth, Samples
from edge_agent.resample import Resampler

_log = logging.getLogger(__name__)

_RATE = 48000
_NS = 1_000_000_000
_MOST_BACK_OFF_S = 60.0
_HEALTHY_S = 60.0
_LEAST_LOSS_S = 0.05
"""An overrun loses at least an ALSA period; less is the scheduler's jitter."""
_SETTLED_S = 10.0
"""After so much sound a device that could not be opened is back."""
_LOG_EVERY_S = 60.0
_LOG_AGAIN_S = 3600.0
_MOST_WORDS = 300
_STEP = np.float32(2.0**-15)
"""A step of 16 bits; a power of two, so that nothing is rounded."""


class MicrophoneSource:
    """One channel of a sound card.

    Args:
        name: The microphone's name in the configuration.
        settings: Which device, how opened, which channel.
        clock: Stamps the blocks and times the restarts.
        root: Where `sys` and `proc` are, by which the device's name is looked up.
        child: Its capture process, if one runs already.
        patient: Wait for a device that cannot be opened, too, instead of raising.
    """

    def __init__(
        self,
        name: str,
        settings: MicrophoneConfig,
        clock: Clock,
        root: Path = ROOT,
        *,
        child: Child | None = None,
        patient: bool = False,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._root = root
        self._patient = patient
        self._rng = random.Random()  # noqa: S311 # it spreads waits, it hides nothing
        self._timeline = Timeline(clock, _RATE)
        self._resampler = Resampler(settings.rate, _RATE)
        self._overloads = Overloads(settings.rate, _RATE) if settings.rate != _RATE else None
        self._ready: deque[Block] = deque()
        self._next = 0
        self._lost = 0
        self._heard = False
        self._overflows = 0
        self._lost_total = 0
        self._restarts = 0
        self._failures = 0
        self._last_error: str | None = None
        self._logged = ""
        self._logged_ns = 0
        self._again_ns = 0
        self._closed = False
        self._child = child or self._start()

    @property
    def ended(self) -> bool:
        """Whether it was closed: a microphone does not end by itself."""
        return self._closed

    @property
    def waits(self) -> bool:
        """Whether no child runs, and the next start has its time."""
        return self._child is None

    @property
    def pid(self) -> int | None:
        """The capture process, while one runs."""
        return None if self._child is None else self._child.pid

    def read(self, timeout_s: float) -> Block | None:
        """The next block, of about 0.25 s, or None when there is none within the timeout.

        Raises:
            DeviceError: The device cannot be opened, before its first block; never if `patient`.
        """
        deadline_ns = self._clock.monotonic_ns() + round(timeout_s * _NS)
        left_s = timeout_s
        while not self._ready and not self._closed:
            self._turn(max(0.0, left_s))
            if left_s <= 0:
                break
            left_s = (deadline_ns - self._clock.monotonic_ns()) / _NS
        return self._ready.popleft() if self._ready else None

    def close(self) -> None:
        """End the child, at once."""
        self._closed = True
        if self._child is not None:
            self._child.end()
            self._child = None

    def health(self) -> CaptureHealth:
        """What the stream went through so far."""
        return CaptureHealth(
            microphone=self._name,
            overflows=self._overflows,
            gaps_s=self._lost_total / _RATE,
            bad_samples=0,
            restarts=self._restarts,
            last_error=self._last_error,
        )

    def _turn(self, timeout_s: float) -> None:
        """Wait for the child, or for the time of its next start, and do what is due."""
        if self._child is None:
            self._start_when_due(timeout_s)
            return
        blocks = self._child.read(timeout_s)
        for header, data in blocks:
            self._take(header, data)
        if self._child.dead or (not blocks and self._child.silent_s() > SILENT_S):
            self._give_up(self._child)

    def _take(self, header: wire.Header, data: memoryview) -> None:
        channel = np.frombuffer(data, dtype="<i2")[self._settings.channel - 1 :: header.channels]
        mono = channel.astype(np.float32)
        mono *= _STEP
        # PortAudio's word can be short (by 11 ms through PulseAudio); the sound has ended by now.
        age_ns = max(header.age_us * 1000, header.frames * _NS // header.rate)
        captured_ns = header.monotonic_ns - age_ns
        self._count_losses(header, captured_ns)
        if self._overloads is not None:
            self._overloads.push(mono)
        samples = self._resampler.push(mono)
        self._heard = True
        age_s = self._child.age_s() if self._child is not None else 0.0
        if age_s > _SETTLED_S:
            self._last_error = None
        if age_s > _HEALTHY_S:
            self._failures = 0
        if len(samples):
            self._emit(samples, captured_ns)

    def _count_losses(self, header: wire.Header, captured_ns: int) -> None:
        self._overflows += header.overflows
        lost = header.dropped * _RATE // header.rate
        late = self._timeline.late_samples(self._next + self._lost + lost, captured_ns)
        # A new child, or an overrun: only the clock tells how much was lost. Without either, a
        # late block is only late.
        if (header.seq == 0 and self._heard) or (header.overflows and late > _LEAST_LOSS_S * _RATE):
            lost += max(0, late)
        if lost or (header.seq == 0 and self._heard):
            self._lost += max(1, lost)
            self._timeline.restart()
            self._resampler.reset()
            if self._overloads is not None:
                self._overloads.reset()

    def _emit(self, samples: Samples, captured_ns: int) -> None:
        first = self._next + self._lost
        start_ns, synced = self._timeline.stamp(first, len(samples), captured_ns)
        self._ready.append(
            Block(
                microphone=self._name,
                samples=samples,
                rate=_RATE,
                bandwidth_hz=min(self._settings.rate, _RATE) / 2,
                first=first,
                start_ns=start_ns,
                synced=synced,
                missed=self._lost,
                overloads=None if self._overloads is None else self._overloads.take(len(samples)),
            )
        )
        self._next = first + len(samples)
        self._lost_total += self._lost
        self._lost = 0

    def _give_up(self, child: Child) -> None:
        child.end()
        self._child = None
        if not (self._patient or self._heard) and child.code in HINTS:
            self._closed = True
            kind = DeviceBusyError if child.code == wire.EXIT_BUSY else DeviceError
            raise kind(
                f"microphone {self._name}: {self._settings.device}: {child.last_words()}",
                hint=HINTS[child.code],
            )
        if not child.heard:
            # One that opens and gives nothing is there: that is another fault.
            words = f"{self._settings.device}: {child.last_words()}"
            self._last_error = words[:_MOST_WORDS] if child.dead else None
        self._back_off(child.reason())

    def _back_off(self, reason: str) -> None:
        wait_s = min(_MOST_BACK_OFF_S, 2.0**self._failures) * self._rng.uniform(0.5, 1.5)
        self._failures = min(self._failures + 1, 6)
        self._again_ns = self._clock.monotonic_ns() + round(wait_s * _NS)
        self._log_seldom(reason, f"next try in {wait_s:.1f} s")

    def _log_seldom(self, reason: str, then: str) -> None:
        now_ns = self._clock.monotonic_ns()
        again_s = _LOG_AGAIN_S if reason == self._logged else _LOG_EVERY_S
        if not self._logged or now_ns - self._logged_ns >= again_s * _NS:
            self._logged, self._logged_ns = reason, now_ns
            _log.warning("microphone %s: %s; %s", self._name, reason.removesuffix("."), then)

    def _start_when_due(self, timeout_s: float) -> None:
        wait_s = (self._again_ns - self._clock.monotonic_ns()) / _NS
        if wait_s > 0:
            self._clock.wait(min(wait_s, timeout_s))
        if wait_s <= timeout_s:
            self._restarts += 1
            self._child = self._start()

    def _start(self) -> Child | None:
        try:
            return Child(self._settings, self._clock, self._root)
        except OSError as error:
            # Too little memory, or too many open files: that may pass as well.
            self._last_error = f"the capture process cannot be started: {error}"
            self._back_off(self._last_error)
            return None
