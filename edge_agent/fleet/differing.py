"""What a change does: settings that differ between two states of a folder, grouped by devices."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from edge_agent.configtree import Place
from edge_agent.errors import ConfigError, EarshotError
from edge_agent.fleet import models
from edge_agent.fleet.composing import Fleet, Values
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.provenance import shown, traced

_CONNECTIVITY: Final = ("mqtt.", "site.")
"""Settings that can cut a device off, or make it another one to its broker."""
ABSENT: Final = "(none)"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that changes in the same way on several devices."""

    key: str
    before: str
    """As JSON, or `(none)`."""
    after: str
    place: str
    """Where the new value stands; where there is none any more, empty."""
    devices: tuple[str, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs."""

    changes: tuple[Change, ...]
    added: tuple[str, ...]
    retired: tuple[str, ...]
    """Devices that were there, and are retired or gone."""
    unchanged: int
    cut_off: int
    """Devices of which a setting changes that they are reached by."""


def difference(
    before: Fleet, after: Fleet, devices: Sequence[Device], *, key: str | None = None
) -> Difference:
    """What differs between two fleets.

    Args:
        before: As it was.
        after: As it is; both without errors.
        devices: Of `after`, those that are asked for.
        key: Only this setting and what is below it.
    """
    old = {device.name: device for device in before.devices}
    chosen = {device.name for device in devices}
    all_now = {device.name for device in after.devices}
    everybody = chosen == all_now
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    hashes = (_Hashes(before), _Hashes(after))
    touched: set[str] = set()
    unchanged = 0
    for device in devices:
        was = old.get(device.name)
        if was is None:
            continue
        values, _ = after.values(device)
        old_values, _ = before.values(was)
        found = list(_changes(old_values, values, ""))
        found += _model_change(hashes, old_values, values)
        found += _row_changes(was, device)
        wanted = [one for one in found if key is None or _below(one[0], key)]
        if not wanted:
            unchanged += 1
            continue
        for name, value, other in wanted:
            place = _place(after, device, name)
            grouped.setdefault((name, value, other, place), []).append(device.name)
            if name.startswith(_CONNECTIVITY):
                touched.add(device.name)
    changes = [
        Change(key=name, before=value, after=other, place=place, devices=tuple(names))
        for (name, value, other, place), names in grouped.items()
    ]
    changes.sort(key=lambda one: (-len(one.devices), one.key, one.before, one.after, one.place))
    return Difference(
        changes=tuple(changes),
        added=tuple(device.name for device in devices if device.name not in old),
        retired=tuple(name for name in old if name not in all_now) if everybody else (),
        unchanged=unchanged,
        cut_off=len(touched),
    )


def refuse_errors(problem_place: Place | None, what: str, errors: int) -> None:
    """What has errors cannot be compared.

    Raises:
        ConfigError: There are some.
    """
    if problem_place is not None:
        raise ConfigError(
            f"{what} has {errors} error{'' if errors == 1 else 's'}, the first at {problem_place}",
            hint="`edge-agent fleet check` shows them; mend them first.",
        )


def text(found: Difference) -> Iterator[str]:
    """Lines for people."""
    rows = [
        (
            change.key,
            f"{change.before} → {change.after}",
            f"{count(len(change.devices))}",
            change.place,
        )
        for change in found.changes
    ]
    wide = [min(max((len(row[i]) for row in rows), default=0), 60) for i in range(3)]
    for row in rows:
        yield f"{row[0]:{wide[0]}}  {row[1]:{wide[1]}}  {row[2]:>{wide[2]}}  {row[3]}".rstrip()
    for sign, names, what in (("+", found.added, "new"), ("-", found.retired, "retired")):
        for name in names[:_MOST_NAMES]:
            yield f"{sign} {name} ({what})"
        if len(names) > _MOST_NAMES:
            yield f"{sign} {len(names) - _MOST_NAMES} more ({what})"
    yield f"{count(found.unchanged)} unchanged"
    if found.cut_off:
        yield (
            f"touches connectivity: {count(found.cut_off)} (mqtt.*, site.*): "
            "try it on a few of them first"
        )


def count(devices: int) -> str:
    """A number of devices in words, with a space between thousands."""
    return f"{devices:,} device{'' if devices == 1 else 's'}".replace(",", " ")


_MOST_NAMES: Final = 20


class _Hashes:
    """The hashes of a fleet's models, by `model.path`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._found: dict[str, str] = {}

    def of(self, values: Values) -> str:
        group = values.get("model")
        path = str(group["path"]) if isinstance(group, dict) else ""
        if path not in self._found:
            try:
                self._found[path] = models.load(path, self._fleet.folder.path).sha256[:12]
            except EarshotError:
                # A model that lay outside the revision; nothing can be said of it.
                self._found[path] = "?"
        return self._found[path]


def _model_change(
    hashes: tuple[_Hashes, _Hashes], before: Values, after: Values
) -> list[tuple[str, str, str]]:
    was, now = hashes[0].of(before), hashes[1].of(after)
    return [("model (sha256)", was, now)] if was != now and "?" not in (was, now) else []


def _row_changes(before: Device, after: Device) -> Iterator[tuple[str, str, str]]:
    """What a device's release holds beside its configuration."""
    was = (before.lab_offset_db, before.lab_date)
    now = (after.lab_offset_db, after.lab_date)
    if was != now:
        yield "calibration", _or_absent(was), _or_absent(now)


def _or_absent(calibration: tuple[float | None, str | None]) -> str:
    offset_db, date = calibration
    return ABSENT if offset_db is None else f"{offset_db:g} dB of {date}"


def _changes(before: Values, after: Values, above: str) -> Iterator[tuple[str, str, str]]:
    if before == after:
        return
    for key in {**before, **after}:
        was, now = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if was == now and type(was) is type(now):
            continue
        name = f"{above}{key}"
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _changes(was, now, f"{name}.")
        else:
            yield name, _shown(was), _shown(now)


_NOTHING: Final = object()


def _shown(value: object) -> str:
    return ABSENT if value is _NOTHING else shown(value)


def _below(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def _place(after: Fleet, device: Device, key: str) -> str:
    """Where the new value stands; a device's own cell is named by its column alone."""
    if key == "calibration":
        return "fleet.csv:lab_offset_db"
    for keys, _ in after.own_places(device):
        if ".".join(keys) == key:
            return f"fleet.csv:{key}"
    found = traced(after.combination(device).root, key)
    return found[0].origins[0].place if found else ""
