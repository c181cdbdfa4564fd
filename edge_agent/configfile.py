"""From a configuration file to `Config`, strictly; the only door to PyYAML.

YAML gives many texts a second meaning (`no` is false, `1:30` is 90, `0123` is 83), and a setting
that was read otherwise than it was meant shows months later. So the text becomes a tree of nodes
with their places, only plain forms are taken from it, and each value is converted by itself, so
that a refusal can name file, line, column, key and what is allowed.
"""

import difflib
import hashlib
import json
import math
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
import yaml
from msgspec import inspect

from edge_agent import resources
from edge_agent.config import Config
from edge_agent.errors import ConfigError

_S = TypeVar("_S", bound=msgspec.Struct)
Plain: TypeAlias = bool | int | float | str | list["Plain"] | None
Keys: TypeAlias = tuple[str, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+")
_MOST_DIGITS = 300
"""Of a whole number: with more it would be no float, and with 4300 Python refuses to read it."""
_AGAIN = "Start again from the commented sample, firmware_configs/base.yaml."
_NULL = ("", "null", "~")
_OLD_BOOLEANS = ("y", "n", "yes", "no", "on", "off", "true", "false")
_TAG = "tag:yaml.org,2002:"
_NOT_TEXT = frozenset(_TAG + kind for kind in ("bool", "int", "float", "timestamp", "value"))
_FORBIDDEN = {
    yaml.AnchorToken: "an anchor (&)",
    yaml.AliasToken: "an alias (*)",
    yaml.TagToken: "a tag (!)",
}


class LoadedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, and which file it came from."""

    config: Config
    path: Path
    sha256: str
    """Of the file's bytes, in hex."""
    places: dict[str, str]
    """File, line and column of each key in it, like `alerts.loud.labels`."""

    def place(self, key: str) -> str:
        """Where the setting stands; where it is left out, what it would be part of."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places[key] if key else str(self.path)


def load(path: Path) -> LoadedConfig:
    """Read a configuration: JSON where the name ends in `.json`, else YAML; empty means defaults.

    Raises:
        ConfigError: The file cannot be read, or a setting in it is not allowed.
    """
    data = _read(path)
    reader = _Reader(path)
    try:
        root = reader.compose(_decoded(path, data))
        config = Config() if root is None or _is_null(root) else reader.struct(root, Config, ())
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply", hint=_AGAIN) from error
    return LoadedConfig(
        config=config,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        places=reader.places,
    )


@contextmanager
def placed(loaded: LoadedConfig | None) -> Iterator[None]:
    """What is refused in here for a setting tells where it stands; None: in no file."""
    try:
        yield
    except ConfigError as error:
        if loaded is None or error.key is None:
            raise
        raise ConfigError(f"{loaded.place(error.key)}: {error.message}", hint=error.hint) from error


def find_model(text: str, beside: Path | None) -> Path:
    """The folder that `model.path` names.

    Args:
        text: A path; a relative one is looked for beside the configuration, then among what is
            shipped.
        beside: The configuration file, or its folder; None: only what is shipped.

    Raises:
        ConfigError: Neither place has it.
    """
    folders = [resources.root()]
    if beside is not None:
        folders.insert(0, beside if beside.is_dir() else beside.parent)
    places = list(dict.fromkeys(folder / text for folder in folders))
    for place in places:
        if place.exists():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise ConfigError(
        f"{text}: there is no {looked}",
        hint="Give a full path, or one relative to the folder of the configuration.",
        key="model.path",
    )


def allowed(annotation: object) -> str:
    """What a setting of this type takes, in words, from the type and its ranges."""
    return _words(inspect.type_info(annotation))


class _Reader:
    """Reads one file; knows its name for what it has to say."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.places: dict[str, str] = {}

    def compose(self, text: str) -> yaml.Node | None:
        """The tree of nodes of a text, None for an empty one."""
        try:
            self._refuse_cross_references(text)
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigError(
                f"{self._place(mark)}: {error.problem or error.context}",
                hint="Check indentation (spaces, no tabs), colons, quotes and brackets near there.",
            ) from error
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{self._path}: is not YAML: {' '.join(str(error).split())}", hint=_AGAIN
            ) from error

    def struct(self, node: yaml.Node, kind: type[_S], keys: Keys) -> _S:
        """A mapping of settings as the struct that holds them."""
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, object] = {}
        for key, key_node, value_node in self._entries(node, keys):
            if key not in fields:
                self._unknown(key_node, (*keys, key), list(fields))
            values[key] = self._value(value_node, fields[key].type, (*keys, key))
        missing = [name for name, field in fields.items() if field.required and name not in values]
        if missing:
            self._refuse(node, keys, f"`{missing[0]}` is missing", "Add it.")
        try:
            return kind(**values)
        except ValueError as error:
            self._refuse(node, keys, str(error), "Mend it there; base.yaml describes each setting.")

    def _value(self, node: yaml.Node, annotation: object, keys: Keys) -> object:
        bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if get_origin(bare) in (Union, types.UnionType):
            structs = [arm for arm in get_args(bare) if _is_struct(arm)]
            if structs and not _is_null(node):
                bare = structs[0]
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self.struct(node, bare, keys)
        if get_origin(bare) is dict:
            return self._map(node, bare, keys)
        if get_origin(bare) is tuple and isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value, start=1):
                self._value(item, get_args(bare)[0], (*keys, f"[{number}]"))
        return self._converted(node, self._plain(node, keys), annotation, keys)

    def _map(self, node: yaml.Node, bare: object, keys: Keys) -> dict[str, object]:
        key_type, value_type = get_args(bare)
        entries: dict[str, object] = {}
        for key, key_node, value_node in self._entries(node, keys):
            self._converted(key_node, key, key_type, (*keys, key))
            entries[key] = self._value(value_node, value_type, (*keys, key))
        return entries

    def _converted(self, node: yaml.Node, plain: Plain, annotation: object, keys: Keys) -> object:
        try:
            value: object = msgspec.convert(plain, annotation)
        except msgspec.ValidationError:
            may_quote = isinstance(plain, int | float) and _takes(annotation, str(plain))
            hint = f"Allowed: {allowed(annotation)}."
            if may_quote:
                hint += f' In quotes it would be: "{plain}".'
            self._refuse(node, keys, f"found {_found(plain)}", hint)
        return value

    def _entries(self, node: yaml.Node, keys: Keys) -> list[tuple[str, yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            found = "a list" if isinstance(node, yaml.SequenceNode) else f"`{node.value}`"
            found = "nothing" if _is_null(node) else found
            self._refuse(node, keys, f"found {found}", "Allowed: settings, as `key: value` lines.")
        seen: dict[str, int] = {}
        entries: list[tuple[str, yaml.Node, yaml.Node]] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == f"{_TAG}merge":
                self._refuse(key_node, keys, "this key is not a plain name", "Write plain names.")
            key = _text(key_node)
            line = key_node.start_mark.line + 1
            if key in seen:
                self._refuse(
                    key_node,
                    (*keys, key),
                    f"is given twice, first in line {seen[key]}",
                    "Keep one of the two.",
                )
            seen[key] = line
            self.places[".".join((*keys, key))] = self._place(key_node.start_mark)
            entries.append((key, key_node, value_node))
        return entries

    def _plain(self, node: yaml.Node, keys: Keys) -> Plain:
        if isinstance(node, yaml.SequenceNode):
            return [
                self._plain(item, (*keys, f"[{number}]"))
                for number, item in enumerate(node.value, start=1)
            ]
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, keys, "found settings", "Allowed: one value.")
        text = _text(node)
        if node.style is not None:
            return text
        return self._unquoted(node, text, keys)

    def _unquoted(self, node: yaml.Node, text: str, keys: Keys) -> Plain:
        if text in _NULL:
            return None
        if text in ("true", "false"):
            return text == "true"
        if text.lower() in _OLD_BOOLEANS:
            hint = f'Write true or false; if text is meant, put it in quotes: "{text}".'
            self._refuse(node, keys, f"found `{text}`, which YAML may read as true or false", hint)
        if _INT.fullmatch(text):
            if len(text) > _MOST_DIGITS:
                hint = "Write a shorter number; if text is meant, put it in quotes."
                self._refuse(node, keys, f"found a number of {len(text)} digits", hint)
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if node.tag in _NOT_TEXT or node.tag == f"{_TAG}null" or _FLOAT.fullmatch(text):
            hint = f'Write a plain decimal number; if text is meant, put it in quotes: "{text}".'
            self._refuse(node, keys, f"found `{text}`, which YAML may read as another value", hint)
        return text

    def _unknown(self, node: yaml.Node, keys: Keys, known: list[str]) -> NoReturn:
        near = difflib.get_close_matches(keys[-1], known)
        # Letters that changed places are the likeliest slip, and difflib does not count it as one.
        near.sort(key=lambda name: sorted(name) != sorted(keys[-1]))
        hint = f"Did you mean `{near[0]}`? " if near else ""
        self._refuse(node, keys, "is not a setting", f"{hint}Allowed here: {', '.join(known)}.")

    def _refuse_cross_references(self, text: str) -> None:
        """Anchors, aliases and tags make a value depend on another place: not for settings."""
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if found := _FORBIDDEN.get(type(token)):
                raise ConfigError(
                    f"{self._place(token.start_mark)}: found {found}, which is not allowed here",
                    hint="Write the value itself; text that begins with & * or ! needs quotes.",
                )

    def _refuse(self, node: yaml.Node, keys: Keys, problem: str, hint: str) -> NoReturn:
        key = ".".join(keys).replace(".[", "[")
        raise ConfigError(
            f"{self._place(node.start_mark)}: {f'{key}: ' if key else ''}{problem}", hint=hint
        )

    def _place(self, mark: yaml.Mark | None) -> str:
        return (
            str(self._path) if mark is None else f"{self._path}:{mark.line + 1}:{mark.column + 1}"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}", hint="Name a file that can be read."
        ) from error


def _decoded(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: is not UTF-8: found byte 0x{data[error.start]:02x}",
            hint="Save the file as UTF-8.",
        ) from error
    return _checked_json(path, text) if path.suffix == ".json" else text


def _checked_json(path: Path, text: str) -> str:
    """JSON is YAML, except for tabs; they stand only between its values, so a space does."""
    try:
        json.loads(text)
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        raise ConfigError(
            f"{path}:{line}:{column}: is not JSON: {getattr(error, 'msg', error)}",
            hint="Check commas, quotes and brackets near there.",
        ) from error
    return text.replace("\t", " ")


def _text(node: yaml.ScalarNode) -> str:
    """What a scalar says; JSON writes a character beyond 16 bits as two escapes, joined here."""
    return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_struct(arm: object) -> bool:
    return isinstance(arm, type) and issubclass(arm, msgspec.Struct)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL


def _takes(annotation: object, text: str) -> bool:
    try:
        msgspec.convert(text, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _found(plain: Plain) -> str:
    if plain is None:
        return "nothing (null)"
    if isinstance(plain, str):
        return f'the text "{plain}"'
    return "a list" if isinstance(plain, list) else json.dumps(plain)


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return str((extra or {}).get("description") or _words(inner))
        case inspect.UnionType(types=arms):
            return " or ".join(_words(arm) for arm in arms)
        case inspect.LiteralType(values=values):
            return ", ".join(_found(value).removeprefix("the text ") for value in values)
        case inspect.IntType():
            return f"a whole number{_range(info)}"
        case inspect.FloatType():
            return f"a number{_range(info)}"
        case inspect.StrType(min_length=least, max_length=most):
            return f"text{' (not empty)' if least else ''}{f' of at most {most}' if most else ''}"
        case inspect.VarTupleType(item_type=item, min_length=least):
            return f"a list{f' of at least {least}' if least else ''}, each {_words(item)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case _:
            return "settings, as `key: value` lines"


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    low = [f"from {info.ge:g}"] if info.ge is not None else []
    low += [f"above {info.gt:g}"] if info.gt is not None else []
    high = [f"up to {info.le:g}"] if info.le is not None else []
    high += [f"below {info.lt:g}"] if info.lt is not None else []
    return "".join(f" {part}" for part in low + high)
