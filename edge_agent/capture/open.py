"""From the configuration to a source of sound: the table of kinds."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_agent.capture.microphone import MicrophoneSource
from edge_agent.capture.pcm import PcmSource
from edge_agent.capture.process import Child
from edge_agent.clock import Clock
from edge_agent.config import MicrophoneConfig
from edge_agent.errors import AudioError
from edge_agent.records import Block, CaptureHealth


class Source(Protocol):
    """Who gives blocks of one microphone's sound."""

    @property
    def ended(self) -> bool:
        """Whether no block will come any more."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it knows that nothing can come just now, and goes on by itself."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process, where it has one of its own."""
        ...

    def read(self, timeout_s: float) -> Block | None:
        """The next block; None: nothing within the timeout."""
        ...

    def close(self) -> None:
        """Let go of the device, the file or the process."""
        ...

    def health(self) -> CaptureHealth:
        """What the stream went through so far."""
        ...


def open_source(
    name: str,
    settings: MicrophoneConfig,
    clock: Clock,
    folder: Path,
    *,
    child: Child | None = None,
    patient: bool = False,
) -> Source:
    """The source that a microphone's settings describe.

    Args:
        name: The microphone's name in the configuration.
        settings: Its settings.
        clock: Stamps and paces the blocks.
        folder: Where a relative `path` is looked for: beside the configuration.
        child: A sound card's capture process, if it runs already.
        patient: Wait for a sound card that cannot be opened, instead of raising at the first read.

    Raises:
        AudioError: The recording cannot be read, or stdin is closed.
    """
    if settings.kind == "device":
        return MicrophoneSource(name, settings, clock, child=child, patient=patient)
    return _KINDS[settings.kind](name, settings, clock, folder)


def _file(name: str, settings: MicrophoneConfig, clock: Clock, folder: Path) -> Source:
    # Its library costs a megabyte and a half, which a microphone does not need.
    from edge_agent.capture.files import RecordingSource

    return RecordingSource(name, folder / (settings.path or ""), start_ns=0, clock=clock)


def _stdin(name: str, settings: MicrophoneConfig, clock: Clock, _folder: Path) -> Source:
    # Python's stand-in for a closed descriptor.
    if sys.stdin is None:
        raise AudioError(
            f"microphones.{name}: stdin is closed",
            hint="Send it raw sound: arecord -t raw ... | edge-agent run --config FILE",
        )
    return PcmSource(
        name,
        sys.stdin.fileno(),
        rate=settings.rate,
        channels=settings.channels,
        clock=clock,
    )


_KINDS: dict[str, Callable[[str, MicrophoneConfig, Clock, Path], Source]] = {
    "file": _file,
    "stdin": _stdin,
}
