"""When a broker is tried again, and what short connections mean.

Waits double from a second to a cap, each times 0.5 to 1.5, so that a fleet that lost its broker
together does not come back together. A message that the broker took ends that; a connection that
lasts too short begins a series of its own. Two clients of one name throw each other out again and
again, and each time the broker is there at once for the next attempt; mosquitto gives no reason
for it, as for any other loss. A broker that flaps looks the same at first, so that such a series
is only waited out longer each time, until it is too long for anything but a twin.
"""

import random
from typing import Final

MOST_S: Final = 60.0
SHORT_S: Final = 10.0
"""A connection that ends sooner counts towards a twin."""
TWIN_AT: Final = 6
"""So many short connections in a row, over half a minute or so, are a twin's."""
TWIN_WAIT_S: Final = (60.0, 300.0)
_MOST_DOUBLINGS: Final = 20


class BackOff:
    """Counts what went wrong since it last went well.

    Args:
        rng: Spreads the waits.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0
        self._short = 0

    @property
    def twin(self) -> bool:
        """Whether another client uses our name."""
        return self._short >= TWIN_AT

    def delivered(self) -> None:
        """The broker took a message: what failed before no longer counts."""
        self._failures = 0

    def lasted(self) -> None:
        """A connection stands for `SHORT_S`: nobody throws us out."""
        self._short = 0

    def unreachable(self) -> None:
        """No connection came about: a broker that is away is no twin's work."""
        self._short = 0

    def ended_soon(self) -> None:
        """A connection ended within `SHORT_S`, without a reason."""
        self._short += 1

    def taken_over(self) -> None:
        """The broker says that another client took our name."""
        self._short = max(self._short, TWIN_AT)

    def wait_s(self, cap_s: float) -> float:
        """Seconds until the next attempt; each call is a failure more.

        Args:
            cap_s: What the waits grow to.
        """
        doublings = max(self._failures, self._short - 1)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        if self.twin:
            return self._rng.uniform(*TWIN_WAIT_S)
        return min(cap_s, 2.0**doublings) * self._rng.uniform(0.5, 1.5)
