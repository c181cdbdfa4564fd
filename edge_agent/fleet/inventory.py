"""`fleet.csv`: a row per device, its columns the inventory's own or settings by their dotted keys.

An empty cell says nothing. Types come from the settings, so `0123` stays text where text is due.
"""

import fnmatch
from collections.abc import Iterable, Sequence

import msgspec

from edge_agent.config import Config
from edge_agent.configtree import Keys, Place, Plain, Problem
from edge_agent.errors import ConfigError
from edge_agent.fleet import cells
from edge_agent.fleet.cells import CellError
from edge_agent.fleet.table import Reader, Row, Table
from edge_agent.settings import is_group, near, setting_type

FILE = "fleet.csv"
_FIELDS = {"device": "name"}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column that is a setting."""

    index: int
    keys: Keys
    annotation: object
    place: Place
    """Of its name in the header."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the inventory."""

    name: str
    board: str
    mic: str
    site: str
    groups: tuple[str, ...] = ()
    ring: str | None = None
    serial: str | None = None
    lat: float | None = None
    lon: float | None = None
    height_m: float | None = None
    lab_offset_db: float | None = None
    lab_date: str | None = None
    note: str | None = None
    state: str = "active"
    settings: tuple[tuple[Column, Plain], ...] = ()
    """What its cells say of settings."""
    row: Row
    columns: dict[str, int]
    """Where the inventory's own columns are."""

    def place(self, column: str) -> Place:
        """Where a cell stands; without that column, where the row begins."""
        return self.row.place(FILE, self.columns.get(column, 0))

    def cell(self, index: int) -> Place:
        """Where the cell of a column stands."""
        return self.row.place(FILE, index)


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All devices that could be read, and what was refused."""

    devices: tuple[Device, ...]
    columns: tuple[Column, ...]
    """Of settings."""
    problems: tuple[Problem, ...]


def read(data: bytes) -> Inventory:
    """The inventory in a file's bytes."""
    reader = Reader(FILE)
    table = reader.table(data)
    devices: tuple[Device, ...] = ()
    columns: tuple[Column, ...] = ()
    if table is not None:
        own, columns = _columns(reader, table)
        missing = [name for name in cells.REQUIRED if name not in own]
        for name in missing:
            hint = "The header needs device, board, mic and site."
            reader.refuse(Place(FILE, 1), f"the column {name} is missing", hint)
        if not missing:
            devices = _devices(reader, table, own, columns)
    return Inventory(devices=devices, columns=columns, problems=tuple(reader.problems))


def with_retired(data: bytes, device: Device) -> bytes | None:
    """The file with one cell changed: the device's state.

    Args:
        data: The file as the device was read from it.
        device: Whose row it is.

    Returns:
        None where there is no column for it.
    """
    index = device.columns.get("state")
    if index is None:
        return None
    place, cell = device.place("state"), device.row.cells[index]
    lines = data.decode("utf-8").split("\n")
    line = lines[place.line - 1]
    begin = place.column - 1
    quoted = line.startswith(f'"{cell}"', begin)
    end = begin + len(cell) + (2 if quoted else 0)
    lines[place.line - 1] = f"{line[:begin]}retired{line[end:]}"
    return "\n".join(lines).encode("utf-8")


def selected(devices: Iterable[Device], words: Sequence[str]) -> list[Device]:
    """The devices that every word fits.

    Args:
        devices: All of them.
        words: `site=NAME`, `group=`, `ring=`, `board=`, `mic=`, or a name; with * and ?.

    Raises:
        ConfigError: A word is no such thing, or nothing fits.
    """
    found = list(devices)
    for word in words:
        key, equals, wanted = word.partition("=")
        if equals and key not in _SELECTORS:
            raise ConfigError(
                f"{word}: devices are not chosen by {key!r}",
                hint=f"Write a name like harbour-*, or one of {', '.join(_SELECTORS)} with =.",
            )
        pattern = wanted if equals else word
        kind = key if equals else "name"
        found = [one for one in found if _fits(one, kind, pattern)]
    if words and not found:
        raise ConfigError(
            f"{' '.join(words)}: no device fits", hint="`edge-agent fleet list` shows them all."
        )
    return found


_SELECTORS = ("site", "group", "ring", "board", "mic")


def _fits(device: Device, kind: str, pattern: str) -> bool:
    match kind:
        case "group":
            values: tuple[str, ...] = device.groups
        case "ring":
            values = () if device.ring is None else (device.ring,)
        case "site":
            values = (device.site,)
        case "board":
            values = (device.board,)
        case "mic":
            values = (device.mic,)
        case _:
            values = (device.name,)
    return any(fnmatch.fnmatchcase(value, pattern) for value in values)


def _columns(reader: Reader, table: Table) -> tuple[dict[str, int], tuple[Column, ...]]:
    own: dict[str, int] = {}
    settings: dict[str, Column] = {}
    for index, name in enumerate(table.header.cells):
        place = table.header.place(FILE, index)
        if name in own or name in settings:
            reader.refuse(place, f"the column {name} is there twice", "Keep one of the two.")
        elif name in cells.KNOWN:
            own[name] = index
        elif not name:
            reader.refuse(place, "the column has no name", "Name it, or take it away.")
        else:
            column = _setting_column(reader, name, index, place)
            if column is not None:
                settings[name] = column
    return own, tuple(settings.values())


def _setting_column(reader: Reader, name: str, index: int, place: Place) -> Column | None:
    keys = tuple(name.split("."))
    annotation = setting_type(Config, keys)
    if annotation is None:
        likely = near(name, [*cells.KNOWN, *_all_keys()])
        hint = f"Did you mean `{likely[0]}`? " if likely else ""
        hint += f"Allowed: {', '.join(cells.KNOWN)}, and settings like mqtt.port."
        reader.refuse(place, f"the column {name} is neither known nor a setting", hint)
        return None
    if is_group(annotation) or not cells.is_single(annotation):
        hint = "Set it in a file of devices/ or groups/; a column holds one value."
        reader.refuse(place, f"the column {name} does not hold one value", hint)
        return None
    if keys[:2] in (("site", "site"), ("site", "device")):
        hint = f"The column {keys[1]} says it already."
        reader.refuse(place, f"the column {name} is not allowed", hint)
        return None
    return Column(index=index, keys=keys, annotation=annotation, place=place)


def _all_keys() -> list[str]:
    return [
        f"{group.name}.{field.name}"
        for group in msgspec.structs.fields(Config)
        if isinstance(group.type, type) and issubclass(group.type, msgspec.Struct)
        for field in msgspec.structs.fields(group.type)
    ]


def _devices(
    reader: Reader, table: Table, own: dict[str, int], columns: tuple[Column, ...]
) -> tuple[Device, ...]:
    found: dict[str, Device] = {}
    for row in table.rows:
        device = _device(reader, row, own, columns)
        if device is None:
            continue
        if device.name in found:
            line = found[device.name].row.line
            reader.refuse(
                device.place("device"),
                f"device {device.name} is there twice, first in line {line}",
                "Give each device a name of its own, never that of a retired one.",
            )
            continue
        found[device.name] = device
    return tuple(found.values())


def _device(
    reader: Reader, row: Row, own: dict[str, int], columns: tuple[Column, ...]
) -> Device | None:
    before = len(reader.problems)
    values: dict[str, object] = {}
    label = row.cells[own["device"]]
    for name, index in own.items():
        cell = row.cells[index]
        try:
            if not cell:
                if name in cells.REQUIRED:
                    raise CellError("the cell is empty", "Each device needs it.")
                continue
            _refuse_spaces(cell)
            values[name] = cells.KNOWN[name](cell)
        except CellError as error:
            reader.refuse(
                row.place(FILE, index), f"device {label}: {error.found}", error.hint, name
            )
    settings: list[tuple[Column, Plain]] = []
    for column in columns:
        cell = row.cells[column.index]
        if not cell:
            continue
        try:
            _refuse_spaces(cell)
            settings.append((column, cells.setting(cell, column.annotation)))
        except CellError as error:
            key = ".".join(column.keys)
            reader.refuse(
                row.place(FILE, column.index), f"device {label}: {error.found}", error.hint, key
            )
    for one, other in (("lat", "lon"), ("lab_offset_db", "lab_date")):
        if len(reader.problems) == before and (one in values) != (other in values):
            given = one if one in values else other
            reader.refuse(
                row.place(FILE, own[given]),
                f"device {label}: {one} and {other} belong together",
                "Write both, or none.",
            )
    if len(reader.problems) > before:
        return None
    own_values = {_FIELDS.get(key, key): value for key, value in values.items()}
    # Each value is of its field's type, since `KNOWN` made it.
    return Device(settings=tuple(settings), row=row, columns=own, **own_values)  # type: ignore[arg-type]


def _refuse_spaces(cell: str) -> None:
    if cell != cell.strip():
        raise CellError(
            f'found the text "{cell}"', "Take away the spaces at its beginning and its end."
        )
