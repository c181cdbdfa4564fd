"""From layers and a row to a device's settings.

Layers are merged once for each combination of board, microphone, site, groups and exception, of
which ten thousand devices have some forty; of a device only its row is left to do. Trees with
places are made for a single device when somebody asks.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

import msgspec

from edge_agent.config import Config
from edge_agent.configtree import Branch, Keys, Leaf, Node, Place, Plain, Problem, key_of, plain
from edge_agent.fleet.folder import KINDS, Folder, Kind, Layer
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.merging import leaves, merge
from edge_agent.fleet.substitution import UnknownReferenceError, Value, refers, substituted
from edge_agent.settings import Settings, setting_type

Values: TypeAlias = dict[str, object]
"""A configuration as nested dictionaries, as it is rendered."""
_IDENTITY: Final = (
    ("device", ("site", "device"), "name"),
    ("site", ("site", "site"), "site"),
    ("lat", ("site", "latitude"), "lat"),
    ("lon", ("site", "longitude"), "lon"),
)
"""Columns of the inventory that are settings, too: column, setting, attribute of the row."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a layer that holds `${…}`."""

    keys: Keys
    leaf: Leaf


class Combination(msgspec.Struct, frozen=True, kw_only=True):
    """The merged layers of all devices that name the same ones."""

    layers: tuple[Layer, ...]
    missing: tuple[tuple[str, Kind, str], ...]
    """Layers that are named and not there: column, kind, name."""
    root: Branch
    values: Values
    """What `root` holds, shared by its devices: never changed."""
    references: tuple[Reference, ...]
    vars: Mapping[str, Value]
    problems: tuple[Problem, ...]
    whole: bool
    """Every layer could be read, so that what is missing is really missing."""

    def layer(self, kind: Kind) -> Layer | None:
        """The lowest layer of a kind."""
        return next((layer for layer in self.layers if layer.kind == kind), None)


class Fleet:
    """A folder's devices with their settings.

    Args:
        folder: As read.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._combinations: dict[tuple[str, str, str, tuple[str, ...], str], Combination] = {}
        self._values: dict[str, tuple[Values, list[Problem]]] = {}

    @property
    def devices(self) -> tuple[Device, ...]:
        """Those that are not retired, in the inventory's order."""
        return tuple(one for one in self.folder.inventory.devices if one.state != "retired")

    def combination(self, device: Device) -> Combination:
        """The merged layers of a device."""
        own = device.name if ("devices", device.name) in self.folder.layers else ""
        key = (device.board, device.mic, device.site, device.groups, own)
        found = self._combinations.get(key)
        if found is None:
            found = self._combinations[key] = self._combine(device)
        return found

    def values(self, device: Device) -> tuple[Values, list[Problem]]:
        """A device's settings, and the references in them that lead nowhere.

        Kept, since a check is followed by what it was made for; most of it is shared anyway.
        """
        found = self._values.get(device.name)
        if found is None:
            found = self._values[device.name] = self._composed(device)
        return found[0], list(found[1])

    def _composed(self, device: Device) -> tuple[Values, list[Problem]]:
        combination = self.combination(device)
        problems: list[Problem] = []
        known: dict[str, Value] | None = None
        changes: list[tuple[Keys, object]] = []
        if combination.references:
            known = known_values(device, combination.vars)
            for reference in combination.references:
                leaf = _resolved(reference.keys, reference.leaf, known, problems)
                changes.append((reference.keys, leaf.value))
        for keys, value, index in _own(device):
            if refers(value):
                known = known or known_values(device, combination.vars)
                leaf = Leaf(place=device.cell(index), value=value)
                value = _resolved(keys, leaf, known, problems).value
            changes.append((keys, value))
        return with_changes(combination.values, changes), problems

    def tree(self, device: Device) -> Branch:
        """A device's settings with the places that they come from."""
        combination = self.combination(device)
        known = known_values(device, combination.vars)
        row = Branch(place=device.place("device"), entries={}, keys={})
        for keys, value, index in _own(device):
            place = device.cell(index)
            _put(row, keys, Leaf(place=place, value=value), place)
        merged = merge(combination.root, row).root
        return _resolved_tree(merged, (), known)

    def own_places(self, device: Device) -> Iterator[tuple[Keys, Place]]:
        """The settings that the row itself says, and in which cells."""
        for keys, _, index in _own(device):
            yield keys, device.cell(index)

    def _combine(self, device: Device) -> Combination:
        layers: list[Layer] = []
        missing: list[tuple[str, Kind, str]] = []
        for column, kind, name in _named(device):
            layer = self.folder.layers.get((kind, name))
            if layer is not None:
                layers.append(layer)
            elif column:
                missing.append((column, kind, name))
        root = Branch(place=Place("base.yaml"), entries={}, keys={})
        problems: list[Problem] = []
        for layer in layers:
            if layer.root is not None:
                problems += self._locked(layer)
                merged = merge(root, layer.root)
                root = merged.root
                problems += merged.problems
        known: dict[str, Value] = dict(self.folder.settings.vars)
        for layer in layers:
            known |= layer.notes.vars
        values = plain(root)
        assert isinstance(values, dict), "a branch is a dictionary"
        return Combination(
            layers=tuple(layers),
            missing=tuple(missing),
            root=root,
            values=values,
            references=tuple(
                Reference(keys=keys, leaf=leaf)
                for keys, leaf in leaves(root)
                if isinstance(leaf, Leaf) and refers(leaf.value)
            ),
            vars=known,
            problems=tuple(problems),
            whole=all(layer.root is not None for layer in layers) and not missing,
        )

    def _locked(self, layer: Layer) -> Iterator[Problem]:
        assert layer.root is not None, "asked only of layers that could be read"
        for locked, owner in self.folder.settings.locked.items():
            if not may_set(owner, layer.kind, layer.name):
                keys = tuple(locked.split("."))
                place = _set_at(layer.root, keys)
                if place is not None:
                    yield lock_problem(place, locked, owner, self.folder)


def may_set(owner: str, kind: Kind, name: str) -> bool:
    """Whether a layer is at or below the owner of a lock."""
    owning, _, file = owner.partition("/")
    if kind == owning:
        return not file or file == name
    return KINDS.index(kind) < [str(one) for one in KINDS].index(owning)


def lock_problem(place: Place, locked: str, owner: str, folder: Folder) -> Problem:
    """A locked setting is set where it may not be."""
    tree = folder.settings_tree
    locks = None if tree is None else tree.entries.get("locked")
    at = locks.keys.get(locked) if isinstance(locks, Branch) else None
    return Problem(
        place=place,
        key=locked,
        found=f"is locked by {at or 'fleet.yaml'}",
        hint=f"Only {owner} and the layers below may set it; take it away here, or the lock there.",
    )


def known_values(device: Device, variables: Mapping[str, Value]) -> dict[str, Value]:
    """What `${…}` can name: the vars, then the inventory's own columns."""
    return {
        **variables,
        "device": device.name,
        "board": device.board,
        "mic": device.mic,
        "site": device.site,
        "groups": " ".join(device.groups),
        "ring": device.ring,
        "serial": device.serial,
        "lat": device.lat,
        "lon": device.lon,
        "height_m": device.height_m,
        "lab_offset_db": device.lab_offset_db,
        "lab_date": device.lab_date,
        "note": device.note,
        "state": device.state,
    }


def with_changes(values: Values, changes: Iterable[tuple[Keys, object]]) -> Values:
    """The values with others at some places; what does not change is shared."""
    root = dict(values)
    own: dict[Keys, Values] = {(): root}
    for keys, value in changes:
        node = root
        for depth in range(1, len(keys)):
            way = keys[:depth]
            child = own.get(way)
            if child is None:
                found = node.get(way[-1])
                child = own[way] = dict(found) if isinstance(found, dict) else {}
                node[way[-1]] = child
            node = child
        node[keys[-1]] = value
    return root


def read(tree: Branch) -> tuple[Config | None, list[Problem]]:
    """A device's whole tree as its configuration, or all that is wrong with it."""
    settings = Settings()
    typed = settings.typed(tree, Config)
    if typed is None or settings.problems:
        return None, settings.problems
    config = settings.built(typed, Config)
    return config if isinstance(config, Config) else None, settings.problems


def _named(device: Device) -> Iterator[tuple[str, Kind, str]]:
    """The layers of a device from the lowest on: the column that names it, kind, name."""
    yield "", "base", "base"
    yield "board", "hardware", device.board
    yield "mic", "microphones", device.mic
    yield "site", "sites", device.site
    for group in device.groups:
        yield "groups", "groups", group
    yield "", "devices", device.name


def _own(device: Device) -> Iterator[tuple[Keys, Plain, int]]:
    """What the row itself says: its settings' values, and in which cells."""
    for column, keys, attribute in _IDENTITY:
        value: Plain = getattr(device, attribute)
        if value is not None:
            yield keys, value, device.columns[column]
    for setting, value in device.settings:
        yield setting.keys, value, setting.index


def _resolved(keys: Keys, leaf: Leaf, known: Mapping[str, Value], problems: list[Problem]) -> Leaf:
    """A leaf with its references replaced, in its setting's own type where it has it."""
    try:
        value: Plain = substituted(leaf.value, known)
    except UnknownReferenceError as error:
        problems.append(
            Problem(place=leaf.place, key=key_of(keys), found=error.found, hint=error.hint)
        )
        return leaf
    # What does not convert is told when the whole is read.
    with suppress(msgspec.ValidationError):
        value = msgspec.convert(value, setting_type(Config, keys))
    return msgspec.structs.replace(leaf, value=value)


def _resolved_tree(node: Branch, keys: Keys, known: Mapping[str, Value]) -> Branch:
    entries: dict[str, Node] = {}
    for key, entry in node.entries.items():
        if isinstance(entry, Branch):
            entries[key] = _resolved_tree(entry, (*keys, key), known)
        elif isinstance(entry, Leaf) and refers(entry.value):
            entries[key] = _resolved((*keys, key), entry, known, [])
        else:
            entries[key] = entry
    return msgspec.structs.replace(node, entries=entries)


def _put(root: Branch, keys: Keys, leaf: Leaf, place: Place) -> None:
    node = root
    for key in keys[:-1]:
        child = node.entries.get(key)
        if not isinstance(child, Branch):
            child = Branch(place=place, entries={}, keys={})
            node.entries[key] = child
            node.keys[key] = place
        node = child
    node.entries[keys[-1]] = leaf
    node.keys[keys[-1]] = place


def _set_at(root: Branch, keys: Keys) -> Place | None:
    """Where a layer says something of a setting or of what is below it."""
    node: Node = root
    place = root.place
    for key in keys:
        if not isinstance(node, Branch) or key not in node.entries:
            return None
        place = node.keys[key]
        node = node.entries[key]
    return place
