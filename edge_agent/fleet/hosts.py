"""The inventory as Ansible reads it: what an inventory script prints for `--list`."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from edge_agent.fleet.inventory import Device

_NO_NAME = re.compile("[^a-z0-9_]")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A device's variables."""

    earshot_board: str
    earshot_mic: str
    earshot_site: str
    earshot_state: str


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    hostvars: Mapping[str, Host]


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    hosts: tuple[str, ...]


def listing(devices: Iterable[Device]) -> bytes:
    """Devices that are not retired, in groups by site, group, ring, board and microphone.

    Args:
        devices: Of the inventory.

    Returns:
        JSON; a hyphen, which Ansible allows in no group's name, is an underscore there.
    """
    hosts: dict[str, Host] = {}
    groups: dict[str, list[str]] = {}
    for one in devices:
        if one.state == "retired":
            continue
        hosts[one.name] = Host(
            earshot_board=one.board,
            earshot_mic=one.mic,
            earshot_site=one.site,
            earshot_state=one.state,
        )
        kinds = [("site", one.site), ("board", one.board), ("mic", one.mic)]
        kinds += [("group", group) for group in one.groups]
        if one.ring is not None:
            kinds.append(("ring", one.ring))
        for kind, name in kinds:
            groups.setdefault(_NO_NAME.sub("_", f"{kind}_{name}"), []).append(one.name)
    told: dict[str, _Meta | _Group] = {"_meta": _Meta(hostvars=hosts)}
    told |= {name: _Group(hosts=tuple(names)) for name, names in sorted(groups.items())}
    return msgspec.json.format(msgspec.json.encode(told), indent=1)
