"""The capture child as its parent sees it: how it is started, read and ended."""

import fcntl
import os
import select
import subprocess
import sys
from pathlib import Path

from edge_agent.capture import wire
from edge_agent.capture.cards import ROOT
from edge_agent.clock import Clock
from edge_agent.config import MicrophoneConfig
from edge_agent.errors import DeviceError

SILENT_S = 3.0
"""A stream that gives nothing for so long is dead."""
_NS = 1_000_000_000
_MOST_WORDS = 4096
_LISTING_S = 30.0

HINTS = {
    wire.EXIT_NO_PORTAUDIO: "Install PortAudio: sudo apt-get install libportaudio2",
    wire.EXIT_MISSING: "Plug the microphone in, or set `device` to one of the devices listed.",
    wire.EXIT_BUSY: "Stop the program that records from it.",
    wire.EXIT_REFUSED: "Set `rate` and `channels` to what the device offers.",
}
"""What to do about an exit code."""


class Child:
    """One run of the capture child, with its pipe and what it says on stderr."""

    def __init__(self, settings: MicrophoneConfig, clock: Clock, root: Path = ROOT) -> None:
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._heard_ns: int | None = None
        self._splitter = wire.Splitter()
        self._words = b""
        self.heard = False
        self.dead = False
        self.code: int | None = None
        self._poll = select.poll()
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, wire.PIPE_BYTES)
        os.set_blocking(reading, False)
        self._pipe = reading
        try:
            self._process = subprocess.Popen(
                _command(
                    str(writing),
                    settings.device,
                    str(settings.channels),
                    str(settings.rate),
                    str(root),
                ),
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"},
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._poll.register(self._pipe, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)

    def read(self, timeout_s: float) -> list[tuple[wire.Header, memoryview]]:
        """Blocks that arrived, waiting at most `timeout_s` for something to happen.

        Their samples are there until the next call.
        """
        now_ns = self._clock.monotonic_ns()
        if self._heard_ns is None:
            # It is only now that somebody listens.
            self._heard_ns = now_ns
        blocks: list[tuple[wire.Header, memoryview]] = []
        left_s = SILENT_S - (now_ns - self._heard_ns) / _NS
        wait_s = min(timeout_s, max(0.0, left_s) + 0.01)
        for file, _ in self._poll.poll(wait_s * 1000):
            if file == self._pipe:
                blocks += self._split()
            elif words := os.read(file, _MOST_WORDS):
                self._words = (self._words + words)[-_MOST_WORDS:]
            else:
                self._poll.unregister(file)
        if blocks:
            self.heard = True
            self._heard_ns = self._clock.monotonic_ns()
        return blocks

    def _split(self) -> list[tuple[wire.Header, memoryview]]:
        count = os.readv(self._pipe, [self._splitter.room()])
        self.dead = self.dead or count == 0
        try:
            return self._splitter.took(count)
        except ValueError as error:
            self._words += f"{error}\n".encode()
            self.dead = True
            return []

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def silent_s(self) -> float:
        """Seconds since its last block, or since it was first listened to."""
        heard_ns = self._heard_ns
        return 0.0 if heard_ns is None else (self._clock.monotonic_ns() - heard_ns) / _NS

    def age_s(self) -> float:
        """Seconds since its start."""
        return (self._clock.monotonic_ns() - self._started_ns) / _NS

    def end(self) -> None:
        """Kill it: PortAudio may hang on a device that is gone, so nothing is asked of it."""
        if self.dead:
            try:
                self.code = self._process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self.code = None
        self._process.kill()
        self._process.wait()
        self._words += self._stderr.read() or b""
        self._stderr.close()
        os.close(self._pipe)

    def reason(self) -> str:
        """Why it was given up, for the log."""
        if self.code in HINTS:
            return f"{self.last_words()}. {HINTS[self.code]}"
        if self.dead:
            return f"the capture process ended ({self.code}): {self.last_words()}"
        return f"no sound for {SILENT_S:g} s"

    def last_words(self) -> str:
        """The last two lines that it wrote: the reason and the devices, as `child` says them."""
        return _last_lines(self._words)


def listing(root: Path = ROOT) -> bytes:
    """PortAudio's capture devices as the child prints them.

    Raises:
        DeviceError: PortAudio is missing, or fails on this machine's configuration.
    """
    try:
        done = subprocess.run(
            _command("list", str(root)), capture_output=True, check=False, timeout=_LISTING_S
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"PortAudio did not answer within {_LISTING_S:g} s",
            hint="A sound card hangs: unplug it, or look at `dmesg`.",
        ) from error
    if done.returncode:
        raise DeviceError(
            f"PortAudio ended ({done.returncode}): {_last_lines(done.stderr)}",
            hint=HINTS.get(done.returncode, "Look whether `arecord -L` works for this user."),
        )
    return done.stdout


def _last_lines(words: bytes) -> str:
    lines = words.decode(errors="replace").strip().splitlines()
    return "; ".join(lines[-2:]) or "it said nothing"


def _command(*arguments: str) -> list[str]:
    # -I keeps the folder it is started in, and what the environment names, off the child's path.
    child = ["-I", "-X", "frozen_modules", "-m", "edge_agent.capture.child"]
    return [sys.executable, *child, *arguments]
