"""What a topic of ours says of the messages on it."""

from edge_agent.payloads import (
    PAYLOADS,
    AlertPayload,
    EventPayload,
    LevelPayload,
    Payload,
    StatePayload,
)


def expiry_s(topic: str) -> int | None:
    """How long a broker keeps a message for a subscriber that is away; None for ever."""
    name = topic.rpartition("/levels/")[2]
    return {"1s": 3600, "1m": 86_400, "15m": 604_800, "1h": 604_800}.get(name)


def payload_type(topic: str) -> type[Payload]:
    """The type of what arrives on a topic of ours.

    Raises:
        ValueError: The topic is none of ours.
    """
    parts = topic.split("/")
    if parts[-1] in ("status", "info", "health"):
        return PAYLOADS[parts[-1]]
    if parts[-1] == "events":
        return EventPayload
    if "alerts" in parts[-3:-1]:
        return StatePayload if parts[-3] == "alerts" and parts[-1] == "state" else AlertPayload
    if "levels" in parts[-2:-1]:
        return LevelPayload
    raise ValueError(f"no topic of Earshot: {topic!r}")
