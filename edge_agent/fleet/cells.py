"""What stands in the inventory's known columns: each kind of cell, read or refused, never guessed.

A spreadsheet changes what it believes to be a number or a date, so the texts here are narrow.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Final

import msgspec
from msgspec import inspect

from edge_agent.configtree import Plain
from edge_agent.settings import allowed

_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SERIAL = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_EXPONENT = re.compile(r"-?[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
_LIKE_DATE = re.compile(
    r"[0-9]{1,4}[./-][0-9]{1,2}([./-][0-9]{1,4})?"
    r"|[0-9]{1,2}[. -]+[A-Za-zÀ-ž]{3,}\.?|[A-Za-zÀ-ž]{3,}\.?[ -][0-9]{1,4}"
)
_MOST_DIGITS = 300
"""With more a number may be infinite."""
_AS_TEXT = "Format the column as text in the spreadsheet, and write the value again."


class CellError(Exception):
    """A cell does not hold what its column takes.

    Args:
        found: What is wrong.
        hint: What is allowed.
    """

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found)
        self.found = found
        self.hint = hint


def number(text: str) -> float:
    """A plain decimal number."""
    if not _NUMBER.fullmatch(text):
        raise CellError(f'found the text "{text}"{_mangled(text)}', _number_hint(text, ""))
    if len(text) > _MOST_DIGITS:
        raise CellError(f"found a number of {len(text)} digits", "Write a shorter one.")
    return float(text)


def device(text: str) -> str:
    """A device's name: its host name and its certificate's, too, so no underscore."""
    return _matching(_DEVICE, text, "up to 63 of a-z, 0-9 and -, beginning with a letter or digit")


def name(text: str) -> str:
    """A site's, board's, microphone's, group's or ring's name."""
    return _matching(_NAME, text, "up to 63 of a-z, 0-9, - and _, beginning with a letter or digit")


def names(text: str) -> tuple[str, ...]:
    """Names with a space between them."""
    found = tuple(name(part) for part in text.split(" "))
    twice = [part for part in found if found.count(part) > 1]
    if twice:
        raise CellError(f"{twice[0]} stands there twice", "Keep one of the two.")
    return found


def serial(text: str) -> str:
    """A board's serial number."""
    return _matching(
        _SERIAL, text, "16 of 0-9 and a-f, as in /proc/cpuinfo or /proc/device-tree/serial-number"
    )


def latitude(text: str) -> float:
    """Degrees north."""
    return _within(text, 90, "latitude")


def longitude(text: str) -> float:
    """Degrees east."""
    return _within(text, 180, "longitude")


def day(text: str) -> str:
    """A day as ISO 8601 writes it."""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise CellError(f'found the text "{text}"', "Allowed: a day like 2026-10-02. " + _AS_TEXT)


def state(text: str) -> str:
    """Whether the device is in use."""
    if text not in STATES:
        raise CellError(f'found the text "{text}"', f"Allowed: {', '.join(STATES)}.")
    return text


def text(text: str) -> str:
    """Anything."""
    return text


STATES: Final = ("planned", "active", "retired")
KNOWN: Final[dict[str, Callable[[str], object]]] = {
    "device": device,
    "board": name,
    "mic": name,
    "site": name,
    "groups": names,
    "ring": name,
    "serial": serial,
    "lat": latitude,
    "lon": longitude,
    "height_m": number,
    "lab_offset_db": number,
    "lab_date": day,
    "note": text,
    "state": state,
}
"""The inventory's own columns; every further one is a setting."""
REQUIRED: Final = ("device", "board", "mic", "site")


def setting(text: str, annotation: object) -> Plain:
    """A cell of a setting's column: the type comes from the setting, not from the looks.

    Raises:
        CellError: The setting does not take it.
    """
    kinds = _kinds(inspect.type_info(annotation))
    value: Plain = text
    if "bool" in kinds:
        # Spreadsheets write what they took for a truth value in capitals.
        value = {"true": True, "TRUE": True, "false": False, "FALSE": False}.get(text, text)
    elif kinds & {"int", "float"} and _NUMBER.fullmatch(text) and len(text) <= _MOST_DIGITS:
        value = float(text) if "." in text or "int" not in kinds else int(text)
    if isinstance(value, str) and "$" in value:
        return value
    try:
        converted: Plain = msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        hint = f"Allowed: {allowed(annotation)}."
        if kinds & {"int", "float"}:
            hint = _number_hint(text, f"{hint} ")
        raise CellError(f'found the text "{text}"{_mangled(text)}', hint) from error
    return converted


def is_single(annotation: object) -> bool:
    """Whether a setting is one value, as a cell can hold it."""
    return bool(_kinds(inspect.type_info(annotation)) & {"bool", "int", "float", "str"})


def _kinds(info: inspect.Type) -> set[str]:
    match info:
        case inspect.Metadata(type=inner):
            return _kinds(inner)
        case inspect.UnionType(types=arms):
            return set().union(*(_kinds(arm) for arm in arms))
        case inspect.BoolType():
            return {"bool"}
        case inspect.IntType():
            return {"int"}
        case inspect.FloatType():
            return {"float"}
        case inspect.StrType() | inspect.LiteralType():
            return {"str"}
        case _:
            return set()


def _matching(pattern: re.Pattern[str], text: str, allowed: str) -> str:
    if not pattern.fullmatch(text):
        hint = f"Allowed: {allowed}."
        if mangled := _mangled(text):
            raise CellError(f'found the text "{text}"{mangled}', f"{hint} {_AS_TEXT}")
        raise CellError(f'found the text "{text}"', hint)
    return text


def _within(text: str, most: int, what: str) -> float:
    value = number(text)
    if abs(value) > most:
        hint = f"Allowed: degrees of {what} from -{most} up to {most}, with a decimal point."
        raise CellError(f"found {text}", f"{hint} Are lat and lon exchanged?")
    return value


def _number_hint(text: str, allowed: str) -> str:
    if _COMMA.fullmatch(text):
        return f"{allowed}Write a decimal point, not a comma."
    if _EXPONENT.fullmatch(text) or _LIKE_DATE.fullmatch(text):
        return f"{allowed}{_AS_TEXT}"
    return f"{allowed}Write a plain decimal number, like 53.5."


def _mangled(text: str) -> str:
    if _EXPONENT.fullmatch(text):
        return ", a number that a spreadsheet shortened"
    if _LIKE_DATE.fullmatch(text):
        return ", which a spreadsheet may have made a date"
    return ""
