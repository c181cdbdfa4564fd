"""Strict YAML or JSON as a tree of values that know where they stand; the only door to PyYAML.

YAML gives many texts a second meaning (`no` is false, `1:30` is 90, `0123` is 83), and a setting
that was read otherwise than it was meant shows months later. So only plain forms are taken from
it. What is wrong is gathered, so that one reading tells all of it; what was refused is left out of
the tree.
"""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import yaml

from edge_agent.errors import ConfigError

Plain: TypeAlias = bool | int | float | str | list["Plain"] | tuple["Plain", ...] | None
Keys: TypeAlias = tuple[str, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+")
_DEEPEST = 50
_MOST_DIGITS = 300
"""Of a whole number: with more it would be no float, and with 4300 Python refuses to read it."""
_AGAIN = "Start again from the commented sample, firmware_configs/base.yaml."
_NULL = ("", "null", "~")
_OLD_BOOLEANS = ("y", "n", "yes", "no", "on", "off", "true", "false")
_TAG = "tag:yaml.org,2002:"
_NOT_TEXT = frozenset(_TAG + kind for kind in ("bool", "int", "float", "timestamp", "value"))
_MAY_REFER = re.compile(r"[&*!]")
_FORBIDDEN = {
    yaml.AnchorToken: "an anchor (&)",
    yaml.AliasToken: "an alias (*)",
    yaml.TagToken: "a tag (!)",
}


class Place(NamedTuple):
    """Where something stands: lines and columns from 1; 0 where the whole file or line is meant."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """As editors parse it."""
        return ":".join([self.file, *(str(number) for number in self[1:] if number)])


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong at one place."""

    place: Place
    key: str
    """The setting, like `alerts.loud.labels[1]`; empty where no setting is meant."""
    found: str
    hint: str

    def error(self) -> ConfigError:
        """For whoever stops at the first one."""
        key = f"{self.key}: " if self.key else ""
        return ConfigError(f"{self.place}: {key}{self.found}", hint=self.hint)


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One value."""

    place: Place
    value: Plain
    below: "Node | None" = None
    """What it replaced, of a lower layer."""


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """A list as it was read, each item with its place."""

    place: Place
    items: "tuple[Node, ...]"


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """Settings by name."""

    place: Place
    entries: "dict[str, Node]"
    keys: dict[str, Place]
    """Where each name stands."""
    broken: bool = False
    """Something in it was refused and left out."""


Node: TypeAlias = Leaf | Items | Branch


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """A file's values, and what was refused of them."""

    root: Node | None
    """None: nothing stands there."""
    problems: tuple[Problem, ...]


def key_of(keys: Keys) -> str:
    """The way to a setting as it is written: `alerts.loud.labels[1]`."""
    return ".".join(keys).replace(".[", "[")


def read(path: Path, data: bytes, name: str | None = None) -> Tree:
    """A file as a tree: JSON where the name ends in `.json`, else YAML.

    Args:
        path: Of the file.
        data: Its bytes.
        name: What to call it; the path by default.
    """
    reader = _Reader(str(path) if name is None else name)
    try:
        root = reader.tree(data, is_json=path.suffix == ".json")
    except RecursionError:
        reader.refuse(Place(reader.file), (), "is nested too deeply", _AGAIN)
        root = None
    return Tree(root=root, problems=tuple(reader.problems))


def plain(node: Node) -> object:
    """The values without their places; a branch becomes a dictionary."""
    match node:
        case Leaf(value=value):
            return value
        case Items(items=items):
            return [plain(item) for item in items]
        case Branch(entries=entries):
            return {key: plain(entry) for key, entry in entries.items()}


def is_null(node: Node) -> bool:
    """Whether it says nothing."""
    return isinstance(node, Leaf) and node.value is None


def found(value: object) -> str:
    """A value as a refusal names it."""
    match value:
        case None:
            return "nothing (null)"
        case str():
            return f'the text "{value}"'
        case list() | tuple():
            return "a list"
        case dict():
            return "settings"
        case _:
            return json.dumps(value)


class _StopError(Exception):
    """The text ends to be readable here; the problem is already told."""


class _Reader:
    """Reads one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def refuse(self, place: Place, keys: Keys, found: str, hint: str) -> None:
        self.problems.append(Problem(place=place, key=key_of(keys), found=found, hint=hint))

    def tree(self, data: bytes, *, is_json: bool) -> Node | None:
        try:
            text = self._decoded(data)
            node = self._compose(self._checked_json(text) if is_json else text)
        except _StopError:
            return None
        return None if node is None else self._node(node, ())

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"is not UTF-8: found byte 0x{data[error.start]:02x}"
            self.refuse(Place(self.file, line), (), found, "Save the file as UTF-8.")
            raise _StopError from error

    def _checked_json(self, text: str) -> str:
        """JSON is YAML, except for tabs; they stand only between its values, so a space does."""
        try:
            json.loads(text)
        except ValueError as error:
            place = Place(self.file, getattr(error, "lineno", 1), getattr(error, "colno", 1))
            found = f"is not JSON: {getattr(error, 'msg', error)}"
            self.refuse(place, (), found, "Check commas, quotes and brackets near there.")
            raise _StopError from error
        return text.replace("\t", " ")

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            self._refuse_cross_references(text)
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            place = self._place(error.problem_mark or error.context_mark)
            found = str(error.problem or error.context)
            begins = _begins(text) if error.context_mark is None else error.context_mark.line + 1
            if begins < place.line:
                found += f", in what begins in line {begins}"
            self.refuse(
                place,
                (),
                found,
                "Check indentation (spaces, no tabs), colons, quotes and brackets near there.",
            )
            raise _StopError from error
        except yaml.YAMLError as error:
            place = Place(self.file)
            if isinstance(error, yaml.reader.ReaderError):
                before = text[: error.position]
                line = before.count("\n") + 1
                place = Place(self.file, line, error.position - before.rfind("\n"))
            self.refuse(place, (), f"is not YAML: {' '.join(str(error).split())}", _AGAIN)
            raise _StopError from error

    def _refuse_cross_references(self, text: str) -> None:
        """Anchors, aliases and tags make a value depend on another place: not for settings."""
        if not _MAY_REFER.search(text):
            return
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if kind := _FORBIDDEN.get(type(token)):
                self.refuse(
                    self._place(token.start_mark),
                    (),
                    f"found {kind}, which is not allowed here",
                    "Write the value itself; text that begins with & * or ! needs quotes.",
                )
        if self.problems:
            raise _StopError

    def _node(self, node: yaml.Node, keys: Keys) -> Node | None:
        if len(keys) > _DEEPEST:
            raise RecursionError
        place = self._place(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._branch(node, place, keys)
        if isinstance(node, yaml.SequenceNode):
            items = [
                self._node(item, (*keys, f"[{number}]"))
                for number, item in enumerate(node.value, start=1)
            ]
            kept = tuple(item for item in items if item is not None)
            return Items(place=place, items=kept) if len(kept) == len(items) else None
        assert isinstance(node, yaml.ScalarNode), "there are no other kinds of nodes"
        text = _text(node)
        if node.style is not None:
            return Leaf(place=place, value=text)
        return self._unquoted(node, text, place, keys)

    def _branch(self, node: yaml.MappingNode, place: Place, keys: Keys) -> Branch:
        branch = Branch(place=place, entries={}, keys={})
        before = len(self.problems)
        for key_node, value_node in node.value:
            at = self._place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == f"{_TAG}merge":
                self.refuse(at, keys, "this key is not a plain name", "Write plain names.")
                continue
            key = _text(key_node)
            if key in branch.keys:
                found = f"is given twice, first in line {branch.keys[key].line}"
                self.refuse(at, (*keys, key), found, "Keep one of the two.")
                continue
            branch.keys[key] = at
            value = self._node(value_node, (*keys, key))
            if value is not None:
                branch.entries[key] = value
        broken = len(self.problems) > before
        return msgspec.structs.replace(branch, broken=True) if broken else branch

    def _unquoted(self, node: yaml.ScalarNode, text: str, place: Place, keys: Keys) -> Leaf | None:
        if text in _NULL:
            return Leaf(place=place, value=None)
        if text in ("true", "false"):
            return Leaf(place=place, value=text == "true")
        if text.lower() in _OLD_BOOLEANS:
            hint = f'Write true or false; if text is meant, put it in quotes: "{text}".'
            self.refuse(place, keys, f"found `{text}`, which YAML may read as true or false", hint)
            return None
        if _INT.fullmatch(text):
            if len(text) > _MOST_DIGITS:
                hint = "Write a shorter number; if text is meant, put it in quotes."
                self.refuse(place, keys, f"found a number of {len(text)} digits", hint)
                return None
            return Leaf(place=place, value=int(text))
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return Leaf(place=place, value=float(text))
        if node.tag in _NOT_TEXT or node.tag == f"{_TAG}null" or _FLOAT.fullmatch(text):
            hint = f'Write a plain decimal number; if text is meant, put it in quotes: "{text}".'
            self.refuse(place, keys, f"found `{text}`, which YAML may read as another value", hint)
            return None
        return Leaf(place=place, value=text)

    def _place(self, mark: yaml.Mark | None) -> Place:
        return (
            Place(self.file) if mark is None else Place(self.file, mark.line + 1, mark.column + 1)
        )


def _begins(text: str) -> int:
    """The line of the first value: where a stray quote may have made one of many lines."""
    lines = text.split("\n")
    return next((n for n, line in enumerate(lines, 1) if line.strip()[:1] not in ("", "#")), 1)


def _text(node: yaml.ScalarNode) -> str:
    """What a scalar says; JSON writes a character beyond 16 bits as two escapes, joined here."""
    return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
