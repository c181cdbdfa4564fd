"""Whether a release works: judged by the agent's own heartbeat, all of it newer than the switch."""

from collections.abc import Collection
from typing import Final

from edge_agent.heartbeat import Beat
from edge_agent.updating.releases import Broker
from edge_agent.updating.state import Before, Criterion, Moment

TRIAL_S: Final = 180.0
"""How long a release has to meet every criterion, and the one before it to show that it does."""
SETTLE_S: Final = 60.0
"""Not judged well sooner: a fault takes its time to be noticed."""
ALIVE_S: Final = 30.0
"""The heartbeat comes every ten seconds."""
_ACK_S: Final = 180.0
"""Health alone gives the broker something each minute."""
_NEVER_WAIVED: Final[tuple[Criterion, ...]] = ("ready", "heartbeat")
_OF_TIME: Final = ("mqtt_certificate_ends",)
"""Faults that come with the date, whatever a device runs."""
_ALL: Final[tuple[Criterion, ...]] = ("ready", "heartbeat", "block", "inference", "ack")


def unmet(
    beat: Beat | None, since: Moment | None, now: Moment, config_sha256: str | None
) -> tuple[Criterion, ...]:
    """What a started agent has not shown yet.

    Args:
        beat: Its last heartbeat.
        since: When it was started; None: it was not.
        now: The present.
        config_sha256: Of what it should read.
    """
    if beat is None or since is None or since.boot != now.boot:
        return _ALL
    if beat.started_ns < since.monotonic_ns or beat.config_sha256 != config_sha256:
        return _ALL
    found: list[Criterion] = []
    if not beat.ready:
        found.append("ready")
    if now.monotonic_ns - beat.at_ns > ALIVE_S * 1e9:
        found.append("heartbeat")
    if beat.block_ns is None:
        found.append("block")
    if beat.inference_ns is None:
        found.append("inference")
    if beat.ack_ns is None:
        found.append("ack")
    return tuple(found)


def before(beat: Beat | None, now: Moment) -> Before:
    """How the agent is before the switch: what fails already condemns no release."""
    if beat is None or now.monotonic_ns - beat.at_ns > ALIVE_S * 1e9:
        return Before(unmet=("block", "inference", "ack", "faults"))
    found: list[Criterion] = []
    if _older(beat.block_ns, now, ALIVE_S):
        found.append("block")
    if _older(beat.inference_ns, now, ALIVE_S):
        found.append("inference")
    if _older(beat.ack_ns, now, _ACK_S):
        found.append("ack")
    return Before(unmet=tuple(found), faults=beat.faults)


def condemning(
    found: Collection[Criterion], earlier: Before, *, acknowledged: bool
) -> tuple[Criterion, ...]:
    """What of the unmet speaks against the release.

    Args:
        found: Unmet now.
        earlier: How it was before.
        acknowledged: The release changes the way to the broker: it has to reach it.
    """
    waived = set(earlier.unmet) - set(_NEVER_WAIVED)
    if acknowledged:
        waived -= {"ack"}
    return tuple(one for one in found if one not in waived)


def new_faults(beat: Beat | None, earlier: Before) -> tuple[str, ...]:
    """Faults that were not there before."""
    if beat is None or "faults" in earlier.unmet:
        return ()
    known = {*earlier.faults, *_OF_TIME}
    return tuple(fault for fault in beat.faults if fault not in known)


def in_words(found: Collection[Criterion], faults: Collection[str], broker: Broker) -> str:
    """What speaks against a release."""
    if "heartbeat" in found:
        said = ["the agent gave no sign of life"]
    else:
        words: dict[Criterion, str] = {
            "ready": "the agent did not get ready",
            "block": "no sound came in",
            "inference": "nothing was scored",
            "ack": f"the broker {broker.host}:{broker.port} acknowledged nothing",
        }
        said = [words[one] for one in found if one in words]
    if faults:
        said.append(f"new faults: {', '.join(faults)}")
    return "; ".join(said)


def _older(instant_ns: int | None, now: Moment, limit_s: float) -> bool:
    return instant_ns is None or now.monotonic_ns - instant_ns > limit_s * 1e9
