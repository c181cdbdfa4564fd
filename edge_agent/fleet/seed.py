"""The seed of a device: what cloud-init makes of a fresh card at its first boot.

NoCloud's three files, built from types and written as JSON, which is YAML without its surprises:
no text is ever put into a template, and nothing has to be quoted. user-data and network-config
hold secrets until the device has taken them away (`unseed`).
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from edge_agent import resources, seedfiles
from edge_agent.errors import ConfigError
from edge_agent.fleet.folder import FlashConfig, UpdatesConfig, Wifi

System: TypeAlias = Literal["raspios", "ubuntu"]
SYSTEMS: Final[dict[System, str]] = {
    "raspios": "Raspberry Pi OS with cloud-init (Trixie)",
    "ubuntu": "Ubuntu for Raspberry Pi",
}
_PASSPHRASE = re.compile(r"[ -~]{8,63}|[0-9a-fA-F]{64}")
"""IEEE 802.11, annex J.4.1: a passphrase, or the key that is made of it."""
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2, 5.1 forbids in a document, JSON's own escapes apart."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of cloud-init's `write_files`."""

    path: str
    content: str
    owner: str = "root:root"
    permissions: str = "0644"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of cloud-init's `users`."""

    name: str
    ssh_authorized_keys: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    gecos: str = "Looks after the device"
    groups: str = "adm, systemd-journal"
    shell: str = "/bin/bash"
    lock_passwd: bool = True
    sudo: str = "ALL=(ALL) NOPASSWD:ALL"


class UserData(msgspec.Struct, frozen=True, kw_only=True):
    """cloud-init's user-data."""

    hostname: str
    timezone: str
    users: tuple[User, ...]
    write_files: tuple[File, ...]
    runcmd: tuple[tuple[str, ...], ...]
    ssh_pwauth: bool
    disable_root: bool
    enable_ssh: bool | msgspec.UnsetType = msgspec.UNSET
    """Of Raspberry Pi OS, where the ssh server is off."""


class AccessPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A wireless network, as netplan knows it."""

    password: str


class Ethernet(msgspec.Struct, frozen=True, kw_only=True):
    """A wired connection, as netplan knows it."""

    dhcp4: bool = True
    optional: bool = True


class Wireless(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"regulatory_domain": "regulatory-domain", "access_points": "access-points"},
):
    """A wireless connection, as netplan knows it."""

    regulatory_domain: str
    access_points: dict[str, AccessPoint]
    dhcp4: bool = True
    optional: bool = True


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """cloud-init's network-config."""

    version: int
    ethernets: dict[str, Ethernet]
    wifis: dict[str, Wireless] | msgspec.UnsetType = msgspec.UNSET


class MetaData(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"instance_id": "instance-id", "local_hostname": "local-hostname"},
):
    """cloud-init's meta-data."""

    instance_id: str
    """A seed is acted upon once for each of these."""
    local_hostname: str
    dsmode: str = "local"


class Updates(msgspec.Struct, frozen=True, kw_only=True):
    """The device's `updates.json`."""

    repository: str
    device: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All that a seed is made of."""

    device: str
    release: int
    system: System
    timezone: str
    config: bytes
    release_file: bytes
    credentials: Mapping[str, bytes]
    """By their names, like `mqtt-key`."""
    flash: FlashConfig
    updates: UpdatesConfig | None = None
    updates_root: bytes = b""
    """The root metadata that the device trusts; only with `updates`."""
    wifi: Wifi | None = None
    passphrase: str | None = None


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """The three files, in the order in which they are written: the id that makes them act last."""

    user_data: bytes
    network_config: bytes
    meta_data: bytes

    def files(self) -> dict[str, bytes]:
        """By their names on the boot partition."""
        return {
            seedfiles.USER_DATA: self.user_data,
            seedfiles.NETWORK_CONFIG: self.network_config,
            seedfiles.META_DATA: self.meta_data,
        }


def made(order: Order) -> Seed:
    """The seed of a device.

    Raises:
        ConfigError: A part of it cannot be said in a seed.
    """
    keys = order.flash.ssh_keys
    # Without keys, too: cloud-init takes no empty list, and makes the image's own account without.
    user = User(name=order.flash.user, ssh_authorized_keys=keys or msgspec.UNSET)
    user_data = UserData(
        hostname=order.device,
        timezone=order.timezone,
        users=(user,),
        ssh_pwauth=False,
        disable_root=True,
        write_files=tuple(_files(order)),
        # A unit does it, and not this list, which cloud-init goes through once, whatever fails.
        runcmd=(
            ("systemctl", "daemon-reload"),
            ("systemctl", "enable", "earshot-setup.service"),
            ("systemctl", "start", "--no-block", "earshot-setup.service"),
        ),
        enable_ssh=True if keys and order.system == "raspios" else msgspec.UNSET,
    )
    return Seed(
        user_data=b"#cloud-config\n" + _text(order.device, user_data),
        network_config=_text(order.device, _network(order)),
        meta_data=_text(
            order.device,
            MetaData(
                instance_id=f"earshot-{order.device}-{order.release}", local_hostname=order.device
            ),
        ),
    )


def _files(order: Order) -> list[File]:
    found = [
        _file(order.device, seedfiles.CONFIG, order.config),
        _file(order.device, seedfiles.RELEASE, order.release_file),
        File(path=seedfiles.SETUP_UNIT, content=_shipped("earshot-setup.service")),
        File(path=seedfiles.SEEDED, content=_shipped("earshot-seeded.conf")),
    ]
    found += [
        _file(order.device, f"{seedfiles.CREDENTIALS}/{name}", secret, permissions="0600")
        for name, secret in sorted(order.credentials.items())
    ]
    if order.updates is not None:
        theirs = Updates(repository=order.updates.repository, device=order.device)
        found += [
            _file(order.device, seedfiles.UPDATES, msgspec.json.encode(theirs) + b"\n"),
            _file(order.device, seedfiles.UPDATES_ROOT, order.updates_root),
        ]
    if order.flash.agent is not None:
        packages = "".join(f"{name}\n" for name in order.flash.packages)
        found += [
            File(path=seedfiles.SETUP_AGENT, content=_shipped("earshot-setup-agent.conf")),
            File(path=seedfiles.PACKAGES, content=packages),
            File(path=seedfiles.REQUIREMENTS, content=f"{order.flash.agent}\n"),
        ]
    return found


def _file(device: str, path: str, content: bytes, permissions: str = "0644") -> File:
    try:
        return File(path=path, content=content.decode(), permissions=permissions)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{device}: {path}: is no text in UTF-8",
            hint="Keys and certificates are in PEM form; a password is a line of text.",
        ) from error


def _network(order: Order) -> Network:
    wifis: dict[str, Wireless] | msgspec.UnsetType = msgspec.UNSET
    if order.wifi is not None:
        passphrase = order.passphrase or ""
        if not _PASSPHRASE.fullmatch(passphrase):
            raise ConfigError(
                f"{order.device}: the passphrase of {order.wifi.ssid} is none of WPA",
                hint="It has 8 to 63 letters, digits, signs and spaces, without accents.",
            )
        point = {order.wifi.ssid: AccessPoint(password=passphrase)}
        wifis = {"wlan0": Wireless(regulatory_domain=order.wifi.country, access_points=point)}
    return Network(version=2, ethernets={"eth0": Ethernet()}, wifis=wifis)


def _text(device: str, value: object) -> bytes:
    data = msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
    if _UNPRINTABLE.search(data.decode()):
        raise ConfigError(
            f"{device}: a setting or a secret holds a character that no seed can carry",
            hint="Take away control characters; `edge-agent fleet show` prints the settings.",
        )
    return data


def _shipped(name: str) -> str:
    return (resources.root() / "systemd" / name).read_text(encoding="utf-8")
