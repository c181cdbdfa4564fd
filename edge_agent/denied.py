"""Topics that a broker denies: each rests for a minute, then twice as long, up to an hour."""

from typing import Final

import msgspec

from edge_agent.clock import Clock

FIRST_S: Final = 60.0
MOST_S: Final = 3600.0


class _Rest(msgspec.Struct, frozen=True, kw_only=True):
    until_ns: int
    last_s: float


class Denied:
    """Remembers them until one is let through.

    Args:
        clock: Of the rests.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rests: dict[str, _Rest] = {}

    def deny(self, topic: str) -> None:
        """The broker refused a message there."""
        rest = self._rests.get(topic)
        rest_s = FIRST_S if rest is None else min(MOST_S, 2 * rest.last_s)
        until_ns = self._clock.monotonic_ns() + round(rest_s * 1e9)
        self._rests[topic] = _Rest(until_ns=until_ns, last_s=rest_s)

    def delivered(self, topic: str) -> None:
        """It took one there."""
        self._rests.pop(topic, None)

    def resting(self) -> frozenset[str]:
        """Where nothing is tried now."""
        now_ns = self._clock.monotonic_ns()
        return frozenset(topic for topic, rest in self._rests.items() if now_ns < rest.until_ns)

    def topics(self) -> list[str]:
        """All of them, sorted, those that are tried again too."""
        return sorted(self._rests)
