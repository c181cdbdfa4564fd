"""What is wrong between devices: names, positions and serials that two share, and brokers' load."""

from collections.abc import Iterator, Sequence

from edge_agent.config import Config
from edge_agent.configtree import Problem
from edge_agent.fleet.folder import Folder
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.rules import Broken

_METRE_DEGREES = 1e-5
"""Of latitude: 1.1 m."""
_MOST_DRAINED_PER_S = 20_000.0
"""What a mosquitto takes in with one core to spare (docs/decisions.md)."""


def rows(folder: Folder, devices: Sequence[Device]) -> Iterator[tuple[Problem, tuple[Device, ...]]]:
    """Rows that may be copied from each other, and positions that cannot be right."""
    serials: dict[str, Device] = {}
    positions: dict[tuple[int, int], Device] = {}
    for device in devices:
        if device.serial is not None:
            first = serials.setdefault(device.serial, device)
            if first is not device:
                yield (
                    _of(
                        device,
                        "serial",
                        f"devices {first.name} and {device.name} have the same serial "
                        f"{device.serial}",
                        "One board is one device.",
                    ),
                    (first, device),
                )
        if device.lat is None or device.lon is None:
            continue
        cell = (round(device.lat / _METRE_DEGREES), round(device.lon / _METRE_DEGREES))
        first = positions.setdefault(cell, device)
        if first is not device and device.state == first.state == "active":
            yield (
                _of(
                    device,
                    "lat",
                    f"devices {first.name} and {device.name} stand at the same place",
                    "Measure both again, or say in `note` why and part them by a metre.",
                ),
                (first, device),
            )
        strange = _strange(folder, device, device.lat, device.lon)
        if strange is not None:
            yield strange, (device,)


def unused(folder: Folder) -> Iterator[Problem]:
    """Files of devices/ that belong to no device."""
    names = {device.name for device in folder.inventory.devices}
    if folder.inventory.problems:
        # A refused row may be the one that the file belongs to.
        return
    for (kind, name), layer in folder.layers.items():
        if kind == "devices" and name not in names and layer.root is not None:
            yield Problem(
                place=layer.root.place,
                key="",
                found=f"no device is called {name}",
                hint="Name the file as its device is called in fleet.csv, or take it away.",
            )


class Neighbours:
    """Devices at the same broker."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, int, str], Device] = {}
        self._doubles: dict[str, list[Device]] = {}
        self._drained: dict[tuple[str, int], float] = {}
        self._at: dict[tuple[str, int], list[Device]] = {}

    def add(self, device: Device, config: Config) -> None:
        """Note where a device goes."""
        mqtt = config.mqtt
        broker = (mqtt.host, mqtt.port)
        self._drained[broker] = self._drained.get(broker, 0.0) + mqtt.drain_per_s
        self._at.setdefault(broker, []).append(device)
        if mqtt.client_id is not None:
            first = self._clients.setdefault((*broker, mqtt.client_id), device)
            if first is not device:
                self._doubles.setdefault(first.name, [first]).append(device)

    def broken(self) -> Iterator[tuple[bool, Device, Broken, list[Device]]]:
        """What they do to each other: severe or not, whose setting it is, what, and who is hit."""
        for others in self._doubles.values():
            yield (
                True,
                others[-1],
                Broken(
                    key="mqtt.client_id",
                    found="several devices have the same at one broker and would throw each other "
                    "out",
                    hint='Leave it out, or make it with the name: "ear-${device}".',
                ),
                others,
            )
        for broker, drained in self._drained.items():
            if drained > _MOST_DRAINED_PER_S:
                devices = self._at[broker]
                most = _MOST_DRAINED_PER_S / len(devices)
                yield (
                    False,
                    devices[0],
                    Broken(
                        key="mqtt.drain_per_s",
                        found=f"after an outage {len(devices)} devices would send "
                        f"{drained:.0f} messages a second to {broker[0]}",
                        hint=f"{most:.3g} each is what one broker takes.",
                    ),
                    devices,
                )


def _of(device: Device, column: str, found: str, hint: str) -> Problem:
    return Problem(place=device.place(column), key=column, found=found, hint=hint)


def _strange(folder: Folder, device: Device, lat: float, lon: float) -> Problem | None:
    if lat == 0 and lon == 0:
        found = f"device {device.name} stands at 0, 0, in the Gulf of Guinea"
        return _of(device, "lat", found, "Leave the cells empty until they are measured.")
    site = folder.layers.get(("sites", device.site))
    bounds = None if site is None else site.notes.bounds
    if bounds is None or bounds.hold(lat, lon):
        return None
    if bounds.hold(lon, lat):
        found = f"device {device.name}: lat and lon are exchanged"
        hint = f"The other way round they are inside the bounds of {device.site}."
        return _of(device, "lat", found, hint)
    found = f"device {device.name} stands outside the bounds of its site"
    return _of(device, "lat", found, f"sites/{device.site}.yaml has them.")
