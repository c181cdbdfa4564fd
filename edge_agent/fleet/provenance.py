"""Where each value of a device comes from: the file in force, and all that it overrode."""

import json
import re
from collections.abc import Iterator

import msgspec

from edge_agent.configtree import Branch, Keys, Leaf, Node, plain
from edge_agent.fleet.merging import chain, leaves
from edge_agent.settings import near

_PLAIN_KEY = re.compile(r"(?!(y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9_-]*")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A file that had a say in a value."""

    place: str
    value: object
    in_force: bool


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its origins, the one in force first."""

    key: str
    value: object
    origins: tuple[Origin, ...]


def traced(tree: Branch, key: str) -> list[Traced]:
    """A setting's value, or all values below a group of settings; empty where there is none."""
    keys = tuple(key.split(".")) if key else ()
    node: Node = tree
    for part in keys:
        if not isinstance(node, Branch) or part not in node.entries:
            return []
        node = node.entries[part]
    return [_traced(way, leaf) for way, leaf in leaves(node, keys)]


def likely(tree: Branch, key: str) -> list[str]:
    """Keys that may have been meant."""
    return near(key, [".".join(keys) for keys, _ in leaves(tree)])


def places(tree: Branch) -> Iterator[tuple[str, str]]:
    """Each value's key and place, as `provenance.json` has them."""
    for keys, leaf in leaves(tree):
        yield ".".join(keys), str(leaf.place)


def shown(value: object) -> str:
    """A value as JSON writes it, on one line."""
    return json.dumps(value, ensure_ascii=False)


def text(found: list[Traced]) -> Iterator[str]:
    """Lines for people."""
    for one in found:
        yield f"{one.key} = {shown(one.value)}"
        wide = max(len(origin.place) for origin in one.origins)
        values = [shown(origin.value) for origin in one.origins]
        wide_value = min(max(len(value) for value in values), 40)
        for origin, value in zip(one.origins, values, strict=True):
            state = "in force" if origin.in_force else "overridden"
            yield f"  {origin.place:{wide}}  {value:{wide_value}}  {state}"


def _traced(keys: Keys, leaf: Node) -> Traced:
    origins = tuple(
        Origin(
            place=str(node.place),
            value=plain(node),
            in_force=number == 0,
        )
        for number, node in enumerate(chain(leaf))
    )
    return Traced(key=".".join(keys), value=plain(leaf), origins=origins)


def commented(branch: Branch, depth: int = 0) -> Iterator[str]:
    """The settings as YAML, each value with its place as a comment."""
    indent = "  " * depth
    for key, entry in branch.entries.items():
        if isinstance(entry, Branch) and entry.entries:
            yield f"{indent}{_key(key)}:"
            yield from commented(entry, depth + 1)
        elif isinstance(entry, Branch):
            yield f"{indent}{_key(key)}: {{}}  # {entry.place}"
        elif isinstance(entry, Leaf):
            yield f"{indent}{_key(key)}: {shown(entry.value)}  # {entry.place}"


def _key(key: str) -> str:
    """A name that a reader might take for a number or a truth value goes in quotes."""
    return key if _PLAIN_KEY.fullmatch(key) else shown(key)
