"""What was sent against what arrived, by id; late, twice, or never."""

from typing import Final

import msgspec

from edge_agent.records import Message

_MOST_NAMES: Final = 5


class _Keys(msgspec.Struct, frozen=True):
    id: str
    n: int | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of message, or of all."""

    sent: int
    arrived: int
    """Different ones."""
    twice: int
    """Copies of what had arrived already."""
    missing: int
    unknown: int
    """Arrived, and never sent: of somebody else, or of an earlier run."""


class Ledger:
    """Both sides of the account; ids as `Message.id` has them."""

    def __init__(self) -> None:
        self._sent: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        self._late_ns: dict[str, int] = {}
        self._twice: dict[str, int] = {}
        self._unknown = 0

    def sent(self, message: Message, now_ns: int) -> None:
        """It was queued on its device."""
        self._sent[message.id] = now_ns
        self._kinds[message.id] = message.kind

    def arrived(self, payload: bytes, now_ns: int) -> None:
        """A subscriber was given it."""
        keys = msgspec.json.decode(payload, type=_Keys)
        name = keys.id if keys.n is None else f"{keys.id}/{keys.n}"
        queued_ns = self._sent.get(name)
        if queued_ns is None:
            self._unknown += 1
        elif name in self._late_ns:
            kind = self._kinds[name]
            self._twice[kind] = self._twice.get(kind, 0) + 1
        else:
            self._late_ns[name] = now_ns - queued_ns

    @property
    def complete(self) -> bool:
        """Everything arrived."""
        return len(self._late_ns) == len(self._sent)

    def missing(self) -> list[str]:
        """Some of the ids that did not arrive, with their kinds."""
        found: list[str] = []
        for name, kind in self._kinds.items():
            if name not in self._late_ns:
                found.append(f"{kind} {name}")
                if len(found) == _MOST_NAMES:
                    break
        return found

    def counts(self, kind: str | None = None) -> Counts:
        """The account of a kind, or of all."""
        names = [name for name, of in self._kinds.items() if kind in (None, of)]
        arrived = sum(name in self._late_ns for name in names)
        return Counts(
            sent=len(names),
            arrived=arrived,
            twice=sum(n for of, n in self._twice.items() if kind in (None, of)),
            missing=len(names) - arrived,
            unknown=self._unknown if kind is None else 0,
        )

    def late_s(self, share: float) -> float:
        """How late this share of what arrived was at most, from queue to subscriber, s."""
        times = sorted(self._late_ns.values())
        return times[min(len(times) - 1, int(share * len(times)))] / 1e9 if times else 0.0
