"""`edge-agent fleet identity` and `fleet broker`: who is who, and what the broker makes of it."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent import configfile
from edge_agent.commands.office import config_of, fleet_of, refuse_errors
from edge_agent.errors import ConfigError
from edge_agent.fleet import broker as brokers
from edge_agent.fleet import identity, inventory
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.differing import count
from edge_agent.fleet.identity import Authority, Subject
from edge_agent.fleet.inventory import Device, selected
from edge_agent.fleet.secrets import Secrets, put


def init(path: Path | None, name: str | None) -> None:
    """Make the fleet's own authority."""
    fleet = fleet_of(path)
    authority = _authority(fleet)
    authority.make(name or f"{fleet.folder.path.resolve().name} fleet")
    print(f"{authority.certificate} is ready; its key is among the secrets")


def issue(
    path: Path | None,
    chosen: Sequence[str],
    hosts: Sequence[str],
    readers: Sequence[str],
    *,
    days: int,
    renew: bool,
    dry_run: bool,
) -> None:
    """Give keys and certificates to those who have none that lasts.

    Args:
        path: Of the fleet's folder.
        chosen: Words that choose devices; without them, hosts and readers: all devices.
        hosts: Brokers.
        readers: Those who listen.
        days: How long the certificates hold.
        renew: Also to those who have one.
        dry_run: Only tell.
    """
    fleet = fleet_of(path)
    refuse_errors(fleet)
    authority = _authority(fleet)
    names = [device.name for device in fleet.folder.inventory.devices]
    subjects = [identity.broker(host) for host in hosts]
    subjects += [identity.reader(name, names) for name in readers]
    if chosen or not subjects:
        subjects += [
            Subject(kind="devices", name=device.name) for device in selected(fleet.devices, chosen)
        ]
    least = min(identity.RENEW_DAYS, days // 2)
    wanted = [one for one in subjects if renew or not authority.holds(one, least)]
    for subject in wanted:
        if dry_run:
            print(f"would be issued: {authority.path(subject)}")
        else:
            print(f"issued: {authority.issue(subject, days)}")
    kept = len(subjects) - len(wanted)
    if kept:
        print(f"{kept} {'has' if kept == 1 else 'have'} one for at least {least} days more")


def revoke(path: Path | None, name: str, *, kind: identity.Kind) -> None:
    """Take a certificate's worth away, and retire its device."""
    fleet = fleet_of(path)
    authority = _authority(fleet)
    authority.revoke(Subject(kind=kind, name=name))
    device = next((one for one in fleet.devices if kind == "devices" and one.name == name), None)
    retired = device is not None and _retire(fleet, device)
    also = f", and {name} is retired" if retired else ""
    print(f"revoked; {authority.revoked} is new{also}. Next:")
    print(f"- copy it to {brokers.PLACE}/crl.pem on the broker: systemctl reload mosquitto")
    print("- a connection that stands is not ended by that: systemctl restart mosquitto")
    if device is not None and not retired:
        print(f"- {inventory.FILE} has no column `state`: add it, and write retired for {name}")


def _retire(fleet: Fleet, device: Device) -> bool:
    """Say in the table that the device is no more; its name is never given again."""
    path = fleet.folder.path / inventory.FILE
    changed = inventory.with_retired(configfile.read_bytes(path), device)
    if changed is not None:
        put(path, changed)
    return changed is not None


def broker(path: Path | None, host: str | None, out: Path, place: str, *, dry_run: bool) -> None:
    """Write what a mosquitto needs.

    Args:
        path: Of the fleet's folder.
        host: Which broker; None: the only one.
        out: A folder.
        place: Where the files will be on the broker's machine.
        dry_run: Only tell.
    """
    fleet = fleet_of(path)
    refuse_errors(fleet)
    found = brokers.chosen(
        brokers.brokers((one.name, config_of(fleet, one).mqtt) for one in fleet.devices), host
    )
    for reader in brokers.READERS:
        identity.reader(reader, [one.name for one in fleet.folder.inventory.devices])
    authority = _authority(fleet)
    subject = identity.broker(found.host)
    secrets = _secrets(fleet)
    needed = (authority.certificate, authority.revoked, authority.path(subject))
    for file in needed:
        if not file.is_file():
            todo = (
                identity.issuing(subject)
                if authority.certificate.is_file()
                else "edge-agent fleet identity init"
            )
            raise ConfigError(f"{file}: is not there", hint=f"Make it: {todo}")
    files = {name: text.encode() for name, text in brokers.files(found, place).items()}
    names = ("ca.crt", "crl.pem", "server.crt")
    files |= {name: file.read_bytes() for name, file in zip(names, needed, strict=True)}
    for name, content in sorted(files.items()):
        if dry_run:
            print(f"would be written: {out / name}")
        else:
            put(out / name, content)
            print(f"written: {out / name}")
    key = secrets.path(authority.key_name(subject))
    opened = " ".join(fleet.folder.settings.secrets.decrypt)
    print(f"for {count(found.devices)} at {found.host}:{found.port}. On its machine:")
    print(f"- all of them to {place}/, earshot.conf to /etc/mosquitto/conf.d/, and limits.conf to")
    print("  /etc/systemd/system/mosquitto.service.d/")
    print(f"- the key to {place}/server.key, for mosquitto alone: {opened} {key}")
    for names_of, what in (
        (found.old, "speak MQTT 3.1.1, in which a refused message looks delivered: version: auto"),
        (found.plain, "show no certificate and will be refused: mqtt.tls of their site"),
    ):
        if names_of:
            print(f"warning: {', '.join(names_of[:5])}{' …' if len(names_of) > 5 else ''} {what}")


def _secrets(fleet: Fleet) -> Secrets:
    return Secrets(fleet.folder.path, fleet.folder.settings.secrets)


def _authority(fleet: Fleet) -> Authority:
    return Authority(fleet.folder.path, _secrets(fleet))
