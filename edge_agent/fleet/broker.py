"""What a mosquitto needs to serve a fleet: a listener with mutual TLS, and who may do what there.

A device is who its certificate says (its common name), and may write below its own topics and read
nothing. One line of the access list does that for all of them.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from edge_agent.config import MqttConfig
from edge_agent.errors import ConfigError

PLACE: Final = "/etc/mosquitto/earshot"
"""Where the files are on the broker's machine."""
READERS: Final = {
    "city": ("{root}/#",),
    "office": ("{root}/+/+/info", "{root}/+/+/health", "{root}/+/+/status"),
    "rollout": ("{root}/+/+/info", "{root}/+/+/health", "{root}/+/+/status"),
    "panel": ("{root}/+/+/alerts/#", "{root}/+/+/status", "{root}/+/+/health"),
}
"""Accounts that listen, and to what. Each can be connected once at a time."""
_MOST_FILES: Final = 65536
"""A connection is a file; the usual limit of a service is 1024."""


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """One that devices of a fleet go to."""

    host: str
    port: int
    roots: tuple[str, ...]
    """What their topics begin with."""
    devices: int
    old: tuple[str, ...]
    """Devices that speak MQTT 3.1.1 there, in which a refused message looks delivered."""
    plain: tuple[str, ...]
    """Devices that show no certificate."""


def brokers(devices: Iterable[tuple[str, MqttConfig]]) -> tuple[Broker, ...]:
    """The brokers of a fleet, each once.

    Args:
        devices: Their names and settings.
    """
    found: dict[tuple[str, int], list[tuple[str, MqttConfig]]] = {}
    for name, mqtt in devices:
        found.setdefault((mqtt.host, mqtt.port), []).append((name, mqtt))
    return tuple(
        Broker(
            host=host,
            port=port,
            roots=tuple(sorted({mqtt.root for _, mqtt in clients})),
            devices=len(clients),
            old=tuple(name for name, mqtt in clients if mqtt.version == "3.1.1"),
            plain=tuple(
                name for name, mqtt in clients if mqtt.tls is None or mqtt.tls.certificate is None
            ),
        )
        for (host, port), clients in found.items()
    )


def chosen(found: tuple[Broker, ...], host: str | None) -> Broker:
    """The broker of this name, or the only one.

    Raises:
        ConfigError: There is none, or several.
    """
    fitting = [one for one in found if host is None or one.host == host]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(f"{one.host}:{one.port}" for one in found)
    if not fitting:
        raise ConfigError(f"{host or 'a broker'}: no device goes there", hint=f"Known: {known}.")
    raise ConfigError(
        f"the devices go to {len(fitting)} brokers: {known}",
        hint="Name one of the hosts. Two ports of one host are two brokers: give it two names.",
    )


def files(broker: Broker, place: str) -> dict[str, str]:
    """The files by their names.

    Args:
        broker: For which.
        place: Their folder on its machine.
    """
    return {
        "earshot.conf": _listener(broker, place),
        "acl": _access(broker),
        "limits.conf": f"[Service]\nLimitNOFILE={_MOST_FILES}\n",
    }


def _listener(broker: Broker, place: str) -> str:
    lines = (
        f"# Devices of {broker.host}; made by edge-agent fleet broker.",
        f"listener {broker.port}",
        f"cafile {place}/ca.crt",
        f"certfile {place}/server.crt",
        f"keyfile {place}/server.key",
        "# Read again on SIGHUP; a connection that stands is not ended by it.",
        f"crlfile {place}/crl.pem",
        "tls_version tlsv1.2",
        "require_certificate true",
        "# Who somebody is stands in the certificate alone: its name is the account and the client",
        "# id, so that none can take over another's session.",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"acl_file {place}/acl",
        "# Connecting takes 3 ms instead of 51.",
        "set_tcp_nodelay true",
        "max_packet_size 65536",
    )
    return "\n".join(lines) + "\n"


def _access(broker: Broker) -> str:
    lines = [
        "# %u is the name in the certificate. Devices write below their own name, and read",
        "# nothing.",
    ]
    lines += [f"pattern write {root}/+/%u/#" for root in broker.roots]
    for reader, topics in READERS.items():
        lines += ["", f"user {reader}"]
        lines += [f"topic read {one.format(root=root)}" for root in broker.roots for one in topics]
    return "\n".join(lines) + "\n"
