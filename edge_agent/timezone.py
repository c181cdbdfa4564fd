"""Time zones by name; one that is missing is an error, for UTC in its place would be a lie."""

from datetime import tzinfo

from edge_agent.errors import ConfigError

_SYSTEMS = "/usr/share/zoneinfo/"
_BEGINS = b"TZif"
"""A compiled zone (RFC 8536, section 3.1)."""


def zone(name: str, key: str | None = None) -> tzinfo:
    """The zone of a name like `Europe/Paris`.

    Args:
        name: As the IANA database has it.
        key: The setting that holds it.

    Raises:
        ConfigError: There is no such zone.
    """
    # Only here: to import it takes 10 to 20 ms, and the agent that listens needs no zone.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{name!r} is no time zone",
            hint="Name one of the IANA database, like Europe/Paris.",
            key=key,
        ) from error


def check(name: str) -> None:
    """Make sure that there is such a zone.

    Raises:
        ValueError: There is none.
    """
    if name == "UTC":
        return
    try:
        with open(_SYSTEMS + name, "rb") as file:  # noqa: PTH123 # settings touch no paths
            if file.read(len(_BEGINS)) == _BEGINS and ".." not in name:
                return
    except (OSError, ValueError):
        pass
    try:
        zone(name)
    except ConfigError as error:
        raise ValueError(
            f"timezone {name!r} is none of the IANA database, as Europe/Paris is"
        ) from error
