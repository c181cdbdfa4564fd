"""Takes away what a broker keeps of a device that is no more."""

from collections.abc import Iterable

from paho.mqtt import MQTTException, publish
from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.errors import BrokerError
from edge_agent.fleet.listening import Address, Reader, context


def topics(root: str, site: str, device: str, rules: Iterable[str]) -> tuple[str, ...]:
    """All of a device that are retained.

    Args:
        root: The first level.
        site: The second.
        device: The third.
        rules: Names of its alert rules.
    """
    below = ("status", "info", "health", *(f"alerts/{rule}/state" for rule in sorted(rules)))
    return tuple(f"{root}/{site}/{device}/{name}" for name in below)


def clear(address: Address, device: Reader, retained: Iterable[str]) -> None:
    """Retain nothing any more on these topics, as the device itself: nobody else may write there.

    Args:
        address: Of the broker.
        device: Its name, certificate and key.
        retained: Topics.

    Raises:
        BrokerError: It cannot be reached, or does not let the device in.
    """
    try:
        publish.multiple(
            [{"topic": topic, "payload": None, "qos": 1, "retain": True} for topic in retained],
            hostname=address.host,
            port=address.port,
            client_id=device.name,
            tls=context(device),  # type: ignore[arg-type] # paho takes a context, too
            protocol=MQTTProtocolVersion.MQTTv5,
        )
    except (OSError, ValueError, MQTTException) as error:
        raise BrokerError(
            f"broker {address.host}:{address.port}: {error}",
            hint="See that it runs, and that the device's certificate was not revoked before.",
        ) from error
