"""What devices say of themselves, as the broker holds it: `status`, `info` and `health`.

A device is who its certificate says, which is the third level of its topics. The second, its site,
anybody could claim: it has to be the inventory's.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET

from edge_agent.payloads import HealthPayload, InfoPayload, StatusPayload
from edge_agent.records import ReleaseState

KINDS: Final = ("status", "info", "health")
SILENT_S: Final = 180.0
"""As docs/mqtt.md says: where no `health` came for three minutes, the device is as good as dead."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it came in."""

    topic: str
    payload: bytes
    retained: bool
    """The broker kept it; it may be old."""
    at_ns: int
    """UTC, by the office's clock."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The latest of a device."""

    online: bool | None = None
    """None: it was never told."""
    info: InfoPayload | None = None
    faults: tuple[str, ...] = ()
    queued: int | None = None
    """Messages that wait on the device."""
    seen_ns: int | None = None
    """UTC of its last sign of life; None: nothing is known that a clock vouches for."""
    ahead_s: float | None = None
    """Its clock against the office's, at a `health` that came in live from a synchronised clock."""

    @property
    def release(self) -> ReleaseState | None:
        """What became of its latest release; None: it says nothing of releases."""
        if self.info is None or self.info.release is UNSET:
            return None
        return self.info.release

    def silent(self, now_ns: int, limit_s: float = SILENT_S) -> bool:
        """Whether it gave no sign of life for so long."""
        return self.seen_ns is None or now_ns - self.seen_ns > limit_s * 1e9


Reports: TypeAlias = dict[str, Report]
"""By device; those of which nothing came are not in it."""


def take(reports: Reports, sites: Mapping[str, str], heard: Heard) -> bool:
    """Take in a message.

    Args:
        reports: Changed.
        sites: Of the devices that are asked about.
        heard: The message.

    Returns:
        Whether it was of use.
    """
    levels = heard.topic.rsplit("/", 3)
    if len(levels) != 4 or sites.get(levels[2]) != levels[1] or levels[3] not in KINDS:
        return False
    before = reports.get(levels[2], Report())
    try:
        reports[levels[2]] = _after(before, levels[3], heard)
    except msgspec.MsgspecError:
        # Of another version of the contract, or nonsense; silence follows, and is told.
        return False
    return True


def clock_off_s(reports: Reports) -> float | None:
    """How far most devices' clocks are ahead of the office's, s; None: too few tell."""
    known = sorted(one.ahead_s for one in reports.values() if one.ahead_s is not None)
    return known[len(known) // 2] if len(known) >= _FEW else None


_FEW: Final = 3
_AHEAD_S: Final = 120.0


def _after(before: Report, kind: str, heard: Heard) -> Report:
    match kind:
        case "status":
            status = msgspec.json.decode(heard.payload, type=StatusPayload)
            return msgspec.structs.replace(before, online=status.state == "online")
        case "info":
            info = msgspec.json.decode(heard.payload, type=InfoPayload)
            return msgspec.structs.replace(before, info=info)
        case _:
            health = msgspec.json.decode(heard.payload, type=HealthPayload)
            told_ns = _utc_ns(health.time) if health.time_synced else None
            seen_ns = told_ns if heard.retained else heard.at_ns
            if seen_ns is not None and seen_ns > heard.at_ns + _AHEAD_S * 1e9:
                # One of the two clocks is wrong, and then an age says nothing.
                seen_ns = None
            if before.seen_ns is not None:
                seen_ns = max(before.seen_ns, seen_ns or 0)
            ahead_s = before.ahead_s
            if not heard.retained and told_ns is not None:
                ahead_s = (told_ns - heard.at_ns) / 1e9
            return msgspec.structs.replace(
                before,
                faults=health.faults,
                queued=health.outbox.rows,
                seen_ns=seen_ns,
                ahead_s=ahead_s,
            )


def _utc_ns(text: str) -> int:
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return round(since.total_seconds() * 1000) * 1_000_000
