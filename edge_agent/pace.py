"""How fast a broker is given what waits: backlog by a rate, less of it where the broker is busy."""

from typing import Final

from edge_agent.clock import Clock

_MOST_PAUSE_S: Final = 60.0
_LEAST_SHARE: Final = 1 / 64
_RECOVERY_S: Final = 60.0
"""After so long without a complaint the rate doubles again."""


class Pace:
    """Rations messages to one broker.

    Args:
        clock: Of everything.
        backlog_per_s: Messages a second, of those that waited while the broker was away.
    """

    def __init__(self, clock: Clock, backlog_per_s: float) -> None:
        self._clock = clock
        self._per_s = backlog_per_s
        self._share = 1.0
        self._cut_ns = 0
        self._pause_until_ns = 0
        self._pause_s = 0.0
        self._begin_ns = 0
        self._earned = 0.0
        self._earned_ns = 0

    def begin(self, after_s: float) -> None:
        """A connection came about; its backlog begins after so many seconds."""
        self._begin_ns = self._clock.monotonic_ns() + round(after_s * 1e9)
        self._earned = 0.0

    def backlog(self) -> int:
        """How many messages of the backlog may be handed over now."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._begin_ns:
            return 0
        rate = self._per_s * self._share
        earned = (now_ns - max(self._earned_ns, self._begin_ns)) / 1e9 * rate
        self._earned = min(max(rate, 1.0), self._earned + earned)
        self._earned_ns = now_ns
        return int(self._earned)

    def spend(self) -> None:
        """One of them was handed over."""
        self._earned -= 1

    def paused(self) -> bool:
        """Whether nothing at all may be handed over."""
        return self._clock.monotonic_ns() < self._pause_until_ns

    def pause(self) -> None:
        """The broker is busy: nothing for a second, each time twice as long, up to a minute."""
        self._pause_s = min(_MOST_PAUSE_S, max(1.0, 2 * self._pause_s))
        self._pause_until_ns = self._clock.monotonic_ns() + round(self._pause_s * 1e9)
        self.cut()

    def delivered(self) -> None:
        """It is not busy any more."""
        self._pause_s = 0.0

    def cut(self) -> None:
        """Halve the rate."""
        self._share = max(_LEAST_SHARE, self._share / 2)
        self._cut_ns = self._clock.monotonic_ns()

    def recover(self) -> None:
        """Double it again where nobody complained for a minute."""
        now_ns = self._clock.monotonic_ns()
        if self._share < 1 and now_ns - self._cut_ns > _RECOVERY_S * 1e9:
            self._share = min(1.0, self._share * 2)
            self._cut_ns = now_ns
