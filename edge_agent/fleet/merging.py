"""Layers on top of each other: maps merge, all else replaces, null takes an entry away.

A merged leaf keeps what it replaced, so a value can be traced to every file that had a say.
"""

from collections.abc import Iterator

import msgspec

from edge_agent.config import Config
from edge_agent.configtree import Branch, Keys, Leaf, Node, Problem, is_null, key_of
from edge_agent.settings import is_collection, near, setting_type


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """Two trees as one."""

    root: Branch
    problems: tuple[Problem, ...]


def merge(lower: Branch, upper: Branch) -> Merged:
    """The upper layer on the lower one, both typed.

    A map and a value never meet: both trees were read by the same settings, and where these allow
    null beside a map, null is nothing and the map is all.
    """
    problems: list[Problem] = []
    root = _branch(lower, upper, (), problems)
    return Merged(root=root, problems=tuple(problems))


def leaves(node: Node, keys: Keys = ()) -> Iterator[tuple[Keys, Node]]:
    """Every value with its way there; a branch without entries is one, too."""
    if isinstance(node, Branch) and node.entries:
        for key, entry in node.entries.items():
            yield from leaves(entry, (*keys, key))
    else:
        yield keys, node


def chain(leaf: Node) -> Iterator[Node]:
    """The value in force and all that it replaced, the highest first."""
    node: Node | None = leaf
    while node is not None:
        yield node
        node = node.below if isinstance(node, Leaf) else None


def _branch(lower: Branch, upper: Branch, keys: Keys, problems: list[Problem]) -> Branch:
    collection = is_collection(setting_type(Config, keys)) if keys else False
    entries = dict(lower.entries)
    places = dict(lower.keys)
    broken = lower.broken or upper.broken
    for key, entry in upper.entries.items():
        at = (*keys, key)
        below = entries.get(key)
        if collection and is_null(entry):
            if below is None and not broken:
                problems.append(_nothing(entry, at, list(lower.entries)))
            entries.pop(key, None)
            places.pop(key, None)
            continue
        places[key] = upper.keys[key]
        entries[key] = _node(below, entry, at, problems)
    return msgspec.structs.replace(upper, entries=entries, keys=places, broken=broken)


def _node(below: Node | None, entry: Node, keys: Keys, problems: list[Problem]) -> Node:
    if isinstance(entry, Branch):
        # On nothing, too: a null in it has nothing to remove.
        lower = (
            below if isinstance(below, Branch) else Branch(place=entry.place, entries={}, keys={})
        )
        return _branch(lower, entry, keys, problems)
    if below is None:
        return entry
    if isinstance(entry, Leaf):
        return msgspec.structs.replace(entry, below=below)
    return entry


def _nothing(entry: Node, keys: Keys, known: list[str]) -> Problem:
    likely = near(keys[-1], known)
    hint = f"Did you mean `{likely[0]}`? " if likely else ""
    there = f"There are: {', '.join(known)}." if known else "No lower layer has an entry there."
    return Problem(
        place=entry.place,
        key=key_of(keys),
        found="null removes nothing: no lower layer has it",
        hint=hint + there,
    )
