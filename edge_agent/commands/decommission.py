"""`edge-agent fleet decommission`: the end of a device, at its broker and in the folder."""

from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.commands.identity import revoke
from edge_agent.commands.office import config_of, fleet_of, refuse_errors
from edge_agent.commands.reading import heard, shown
from edge_agent.errors import ConfigError
from edge_agent.fleet import clearing
from edge_agent.fleet.identity import Subject
from edge_agent.fleet.inventory import selected
from edge_agent.fleet.listening import Address
from edge_agent.fleet.reports import Report

_WIPE = (
    "edge-agent uninstall && rm -r /etc/earshot /var/lib/earshot /var/lib/earshot-config, "
    "or overwrite the card"
)


def decommission(
    path: Path | None,
    name: str,
    clock: Clock,
    *,
    reader: str,
    wait_s: float,
    force: bool,
    dry_run: bool,
) -> None:
    """Clear what the broker keeps of a device, revoke its certificate, and retire its row.

    Args:
        path: The fleet's folder.
        name: Of the device.
        clock: The office's.
        reader: Under whose name we look what the broker keeps.
        wait_s: For what it keeps.
        force: Also while the device is connected.
        dry_run: Only tell.

    Raises:
        EarshotError: It is still connected, has no certificate, or the broker cannot be reached;
            then nothing was done.
    """
    fleet = fleet_of(path)
    refuse_errors(fleet)
    device = next((one for one in selected(fleet.devices, [name]) if one.name == name), None)
    if device is None:
        raise ConfigError(f"{name}: chooses several devices", hint="Name one device.")
    config = config_of(fleet, device)
    if config.mqtt.tls is None or config.mqtt.tls.certificate is None:
        raise ConfigError(
            f"{name} shows its broker no certificate, so there is none to end",
            hint="Take its password away at the broker, and write retired into its row.",
        )
    identity = shown(fleet, Subject(kind="devices", name=name))
    found = heard(fleet, [device], reader, clock, lambda _: False, wait_s)
    report = found.get(name, Report())
    if report.online and not force:
        raise ConfigError(
            f"{name} is connected, and would tell its broker of itself again",
            hint="Switch it off first; with --force its connection is taken over once.",
        )
    rules = set(config.alerts)
    if report.info is not None:
        rules |= {rule.name for rule in report.info.rules}
    topics = clearing.topics(config.mqtt.root, device.site, name, rules)
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    if dry_run:
        for topic in topics:
            print(f"would be cleared at {where}: {topic}")
        print(f"would be revoked: identities/devices/{name}.crt")
        return
    address = Address(host=config.mqtt.host, port=config.mqtt.port, roots=(config.mqtt.root,))
    clearing.clear(address, identity, topics)
    print(f"{where} keeps nothing of {name} any more ({len(topics)} topics)")
    revoke(path, name, kind="devices")
    print(f"- on the device, or its card: {_WIPE}")
