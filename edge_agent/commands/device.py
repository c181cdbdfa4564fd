"""How a device stands before its broker: its name there, and the files that the broker needs."""

import os
from pathlib import Path

import msgspec

from edge_agent import seedfiles
from edge_agent.config import CREDENTIAL_PREFIX, Config, MqttConfig, TlsConfig
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import ConfigError
from edge_agent.loopback import is_loopback

_CREDENTIAL = "mqtt-password"


def check_name(config: Config) -> None:
    """Refuse the default name where others could bear it, too.

    Raises:
        ConfigError: The device is called `local` and the broker is another machine.
    """
    if config.site.device == "local" and not is_loopback(config.mqtt.host):
        raise ConfigError(
            f"site.device: 'local' at the broker {config.mqtt.host}: two devices of one name "
            "would throw each other out",
            hint="Give the device a name of its own: `site: {device: ear-0042}`.",
            key="site.device",
        )


def client_id(config: Config) -> str:
    """The name by which the broker knows this device."""
    return config.mqtt.client_id or f"earshot-{config.site.site}-{config.site.device}"


def with_paths(mqtt: MqttConfig, loaded: LoadedConfig) -> MqttConfig:
    """The broker's settings with absolute paths, and systemd's credential where none is named."""
    password = _absolute(mqtt.password_file, loaded)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if password is None and credentials is not None:
        found = Path(credentials) / _CREDENTIAL
        password = str(found) if found.exists() else None
    tls = mqtt.tls and TlsConfig(
        ca=_absolute(mqtt.tls.ca, loaded),
        certificate=_absolute(mqtt.tls.certificate, loaded),
        key=_absolute(mqtt.tls.key, loaded),
    )
    return msgspec.structs.replace(mqtt, password_file=password, tls=tls)


def _absolute(path: str | None, loaded: LoadedConfig) -> str | None:
    # Not looked for: a password or a certificate may come after the start.
    if path is None:
        return None
    if path.startswith(CREDENTIAL_PREFIX):
        return str(_credentials() / path.removeprefix(CREDENTIAL_PREFIX))
    return str(loaded.path.parent / path)


def _credentials() -> Path:
    """Where systemd puts them; for who looks from outside the service, where they come from."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(seedfiles.CREDENTIALS if given is None else given)
