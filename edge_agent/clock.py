"""The only door to `time`: wall clock, monotonic clock, and their simulation."""

import time
from pathlib import Path
from typing import Protocol

# systemd-timesyncd creates it at its first synchronisation. adjtimex would know more, but the
# unit's sandbox (ProtectClock=) forbids the call even for reading.
_TIMESYNC = Path("/run/systemd/timesync/synchronized")
_LOOK_EVERY_NS = 1_000_000_000


class Clock(Protocol):
    """Who says what time it is, and lets it pass."""

    def utc_ns(self) -> int:
        """Nanoseconds since 1970, by the wall clock; may step in either direction."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some start; never steps."""
        ...

    def synced(self) -> bool:
        """Whether the wall clock is known to be synchronised."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._synced = False
        self._looked_ns = -_LOOK_EVERY_NS

    def utc_ns(self) -> int:
        """Nanoseconds since 1970, by the wall clock; may step in either direction."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot; never steps."""
        return time.monotonic_ns()

    def synced(self) -> bool:
        """Whether timesyncd has synchronised since boot; unknown counts as no."""
        # Asked for each block and message, and to be told that there is no such file costs more
        # than all else that a block needs of a clock.
        if not self._synced and self.monotonic_ns() - self._looked_ns >= _LOOK_EVERY_NS:
            self._looked_ns = self.monotonic_ns()
            self._synced = _TIMESYNC.exists()
        return self._synced

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class SimulatedClock:
    """A clock that moves only when it is told to.

    Args:
        start_ns: The first wall-clock reading, nanoseconds UTC.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._utc_ns = start_ns
        self._monotonic_ns = 0

    def utc_ns(self) -> int:
        """Nanoseconds since 1970, as simulated."""
        return self._utc_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds since this clock was made, as simulated."""
        return self._monotonic_ns

    def synced(self) -> bool:
        """Never: nobody vouches for a simulated time."""
        return False

    def wait(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self.advance_to(self._utc_ns + round(seconds * 1e9))

    def advance_to(self, utc_ns: int) -> None:
        """Move on to `utc_ns`; a time already past changes nothing."""
        step_ns = max(0, utc_ns - self._utc_ns)
        self._utc_ns += step_ns
        self._monotonic_ns += step_ns
