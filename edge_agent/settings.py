"""From a tree of values to the structs of `config`; each refusal has its place.

Two steps: `typed` holds each value against its type and range, as layers of a fleet need it, where
much is left out; `built` makes the structs of what is whole and so checks what spans two settings.
"""

import difflib
import types
from functools import cache
from typing import Annotated, TypeGuard, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from edge_agent.configtree import (
    Branch,
    Items,
    Keys,
    Leaf,
    Node,
    Place,
    Plain,
    Problem,
    is_null,
    key_of,
    plain,
)
from edge_agent.configtree import found as found_words

SETTINGS = "settings, as `key: value` lines"


def allowed(annotation: object) -> str:
    """What a setting of this type takes, in words, from the type and its ranges."""
    return _words(inspect.type_info(annotation))


def near(name: str, known: list[str]) -> list[str]:
    """The known names that this one may have been meant as, the likeliest first."""
    found = difflib.get_close_matches(name, known)
    # Letters that changed places are the likeliest slip, and difflib does not count it as one.
    found.sort(key=lambda other: sorted(other) != sorted(name))
    return found


@cache
def setting_type(kind: type[msgspec.Struct], keys: Keys) -> object | None:
    """The type of a setting below a struct; None where there is no such setting."""
    annotation: object = kind
    for key in keys:
        bare = _bare(annotation)
        if _is_struct(bare):
            field = _fields(bare).get(key)
            if field is None:
                return None
            annotation = field.type
        elif get_origin(bare) is dict:
            annotation = get_args(bare)[1]
        else:
            return None
    return annotation


def is_collection(annotation: object) -> bool:
    """Whether entries stand there under names that people choose."""
    return get_origin(_bare(annotation)) is dict


def is_group(annotation: object) -> bool:
    """Whether other settings stand there, not a value."""
    return is_collection(annotation) or _is_struct(_bare(annotation))


class Settings:
    """Reads trees as settings and gathers what is wrong with them.

    Args:
        layer: The tree is one of several that will be merged: an entry of a collection may be null,
            which removes it, and a text with `$` waits for what will stand in its place.
        described: Where each setting is.
    """

    def __init__(self, *, layer: bool = False, described: str = "base.yaml") -> None:
        self.problems: list[Problem] = []
        self._layer = layer
        self._described = described
        self._unbuilt = 0

    def typed(self, node: Node, annotation: object, keys: Keys = ()) -> Node | None:
        """The same tree with each value as its type has it; None: nothing of it was allowed."""
        bare = _bare(annotation)
        if is_null(node) and not _holds(annotation, bare):
            return self._typed_leaf(node, annotation, keys)
        if _is_struct(bare):
            return self._typed_struct(node, bare, keys)
        if get_origin(bare) is dict:
            return self._typed_map(node, bare, keys)
        return self._typed_leaf(node, annotation, keys)

    def built(self, node: Node, annotation: object, keys: Keys = ()) -> object:
        """The value of a typed tree; None, too, where it was refused."""
        if isinstance(node, Leaf):
            return node.value
        if isinstance(node, Items):
            return plain(node)
        bare = _bare(annotation)
        if not _is_struct(bare):
            inner = get_args(bare)[1]
            return {
                key: self.built(entry, inner, (*keys, key)) for key, entry in node.entries.items()
            }
        before = self._unbuilt
        fields = _fields(bare)
        values = {
            key: self.built(entry, fields[key].type, (*keys, key))
            for key, entry in node.entries.items()
        }
        missing = [name for name, field in fields.items() if field.required and name not in values]
        if missing:
            self._not_built(node, node.place, keys, f"`{missing[0]}` is missing", "Add it.")
            return None
        if self._unbuilt > before:
            return None
        try:
            return bare(**values)
        except ValueError as error:
            hint = f"Mend it there; {self._described} describes each setting."
            self._not_built(node, _meant(node, str(error)), keys, str(error), hint)
        return None

    def _not_built(self, node: Branch, place: Place, keys: Keys, found: str, hint: str) -> None:
        """Where something of it was refused already, this only follows from that."""
        self._unbuilt += 1
        if not node.broken:
            self._refuse(place, keys, found, hint)

    def _typed_struct(self, node: Node, kind: type[msgspec.Struct], keys: Keys) -> Branch | None:
        if not isinstance(node, Branch):
            self._no_branch(node, keys)
            return None
        fields = _fields(kind)
        before = len(self.problems)
        entries: dict[str, Node] = {}
        for key, entry in node.entries.items():
            if key not in fields:
                self._unknown(node.keys[key], (*keys, key), list(fields))
                continue
            typed = self.typed(entry, fields[key].type, (*keys, key))
            if typed is not None:
                entries[key] = typed
        return self._branch(node, entries, before)

    def _typed_map(self, node: Node, bare: object, keys: Keys) -> Branch | None:
        if not isinstance(node, Branch):
            self._no_branch(node, keys)
            return None
        key_type, value_type = get_args(bare)
        before = len(self.problems)
        entries: dict[str, Node] = {}
        for key, entry in node.entries.items():
            if not self._converted(node.keys[key], key, key_type, (*keys, key))[0]:
                continue
            if self._layer and is_null(entry):
                entries[key] = entry
                continue
            typed = self.typed(entry, value_type, (*keys, key))
            if typed is not None:
                entries[key] = typed
        return self._branch(node, entries, before)

    def _branch(self, node: Branch, entries: dict[str, Node], before: int) -> Branch:
        broken = node.broken or len(self.problems) > before
        return msgspec.structs.replace(node, entries=entries, broken=broken)

    def _typed_leaf(self, node: Node, annotation: object, keys: Keys) -> Leaf | None:
        if isinstance(node, Branch):
            self._refuse(node.place, keys, "found settings", "Allowed: one value.")
            return None
        if self._layer and _refers(node):
            return Leaf(place=node.place, value=_plain(node))
        if isinstance(node, Items):
            bare = _bare(annotation)
            item = get_args(bare)[0] if get_origin(bare) is tuple else None
            before = len(self.problems)
            for number, entry in enumerate(node.items, start=1):
                at = (*keys, f"[{number}]")
                if item is not None or isinstance(entry, Branch):
                    self._typed_leaf(entry, item, at)
            if len(self.problems) > before:
                return None
        taken, value = self._converted(node.place, _plain(node), annotation, keys)
        below = node.below if isinstance(node, Leaf) else None
        return Leaf(place=node.place, value=value, below=below) if taken else None

    def _converted(
        self, place: Place, value: Plain, annotation: object, keys: Keys
    ) -> tuple[bool, Plain]:
        try:
            converted: Plain = msgspec.convert(value, annotation)
        except msgspec.ValidationError:
            may_quote = isinstance(value, int | float) and _takes(annotation, str(value))
            hint = f"Allowed: {allowed(annotation)}."
            if may_quote:
                hint += f' In quotes it would be: "{value}".'
            self._refuse(place, keys, f"found {found_words(value)}", hint)
            return False, None
        return True, converted

    def _no_branch(self, node: Node, keys: Keys) -> None:
        value = "a list" if isinstance(node, Items) else f"`{_written(node)}`"
        found = "nothing" if is_null(node) else value
        self._refuse(node.place, keys, f"found {found}", f"Allowed: {SETTINGS}.")

    def _unknown(self, place: Place, keys: Keys, known: list[str]) -> None:
        likely = near(keys[-1], known)
        hint = f"Did you mean `{likely[0]}`? " if likely else ""
        self._refuse(place, keys, "is not a setting", f"{hint}Allowed here: {', '.join(known)}.")

    def _refuse(self, place: Place, keys: Keys, found: str, hint: str) -> None:
        self.problems.append(Problem(place=place, key=key_of(keys), found=found, hint=hint))


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """By name; looking them up resolves annotations, which takes its time."""
    return {field.name: field for field in msgspec.structs.fields(kind)}


def _bare(annotation: object) -> object:
    """The type without its ranges; of a struct or null the struct."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(bare) in (Union, types.UnionType):
        structs = [arm for arm in get_args(bare) if _is_struct(arm)]
        return structs[0] if structs else bare
    return bare


def _holds(annotation: object, bare: object) -> bool:
    """Whether nothing but settings may stand there, so that null is none of its values."""
    return (_is_struct(bare) or get_origin(bare) is dict) and get_origin(annotation) not in (
        Union,
        types.UnionType,
    )


def _meant(node: Branch, said: str) -> Place:
    """Where the setting stands that a sentence about several begins with; else the node itself."""
    found: Node = node
    for key in said.split(" ")[0].rstrip(":").split("."):
        if not isinstance(found, Branch) or key not in found.entries:
            return node.place
        found = found.entries[key]
    return found.place


def _is_struct(bare: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(bare, type) and issubclass(bare, msgspec.Struct)


def _refers(node: Node) -> bool:
    match node:
        case Leaf(value=str(text)):
            return "$" in text
        case Items(items=items):
            return any(_refers(item) for item in items)
        case _:
            return False


def _plain(node: Leaf | Items) -> Plain:
    return node.value if isinstance(node, Leaf) else [_plain_item(item) for item in node.items]


def _plain_item(node: Node) -> Plain:
    return None if isinstance(node, Branch) else _plain(node)


def _written(node: Node) -> str:
    value = node.value if isinstance(node, Leaf) else None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _takes(annotation: object, text: str) -> bool:
    try:
        msgspec.convert(text, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return str((extra or {}).get("description") or _words(inner))
        case inspect.UnionType(types=arms):
            return " or ".join(_words(arm) for arm in arms)
        case inspect.LiteralType(values=values):
            return ", ".join(found_words(value).removeprefix("the text ") for value in values)
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
            return SETTINGS


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    low = [f"from {info.ge:g}"] if info.ge is not None else []
    low += [f"above {info.gt:g}"] if info.gt is not None else []
    high = [f"up to {info.le:g}"] if info.le is not None else []
    high += [f"below {info.lt:g}"] if info.lt is not None else []
    return "".join(f" {part}" for part in low + high)
