"""Which credentials a device's settings name, and where the office has them."""

from collections.abc import Iterator
from typing import Final

from edge_agent.config import CREDENTIAL_PREFIX, Config
from edge_agent.errors import ConfigError
from edge_agent.fleet.identity import Authority, Subject
from edge_agent.fleet.secrets import Secrets

CA: Final = "mqtt-ca"
CERTIFICATE: Final = "mqtt-certificate"
KEY: Final = "mqtt-key"
PASSWORD: Final = "mqtt-password"  # noqa: S105 # what it is called
KNOWN: Final = (CA, CERTIFICATE, KEY, PASSWORD)


def named(config: Config) -> Iterator[tuple[str, str]]:
    """The settings that name a credential, and which."""
    mqtt = config.mqtt
    values = {"mqtt.password_file": mqtt.password_file}
    if mqtt.tls is not None:
        values["mqtt.tls.ca"] = mqtt.tls.ca
        values["mqtt.tls.certificate"] = mqtt.tls.certificate
        values["mqtt.tls.key"] = mqtt.tls.key
    for setting, value in values.items():
        if value is not None and value.startswith(CREDENTIAL_PREFIX):
            yield setting, value.removeprefix(CREDENTIAL_PREFIX)


def gathered(
    device: str, config: Config, authority: Authority, secrets: Secrets
) -> dict[str, bytes]:
    """A device's credentials by their names.

    Raises:
        EarshotError: One that its settings name is not there, or not decrypted.
    """
    wanted = {name for _, name in named(config)}
    subject = Subject(kind="devices", name=device)
    found: dict[str, bytes] = {}
    if wanted & {CERTIFICATE, KEY}:
        found[CERTIFICATE], found[KEY] = authority.pair(subject)
    if CA in wanted:
        if not authority.certificate.is_file():
            raise ConfigError(
                f"{authority.certificate}: there is no authority yet",
                hint="Make it: edge-agent fleet identity init",
            )
        found[CA] = authority.certificate.read_bytes()
    if PASSWORD in wanted:
        found[PASSWORD] = secrets.read(f"devices/{device}.password")
    return found
