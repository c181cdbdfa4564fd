"""Time zones by name; one that is missing is an error, for UTC in its place would be a lie."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge_agent.errors import ConfigError


def zone(name: str, key: str | None = None) -> ZoneInfo:
    """The zone of a name like `Europe/Paris`.

    Args:
        name: As the IANA database has it.
        key: The setting that holds it.

    Raises:
        ConfigError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{name!r} is no time zone",
            hint="Name one of the IANA database, like Europe/Paris.",
            key=key,
        ) from error
