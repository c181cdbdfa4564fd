"""`${name}` in texts: looked up once, without functions, nesting or environment variables.

So a rendered configuration depends on the folder alone. A text that is one reference and nothing
else takes the value's own type; `$$` is a dollar.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

from edge_agent.configtree import Plain
from edge_agent.settings import near

Value: TypeAlias = bool | int | float | str | None
_TOKEN = re.compile(r"\$(?:\$|\{([^{}]*)\}|)")


class UnknownReferenceError(Exception):
    """A reference leads nowhere.

    Args:
        found: What is wrong.
        hint: What is known.
    """

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found)
        self.found = found
        self.hint = hint


def refers(value: Plain) -> bool:
    """Whether anything is to be replaced in a value."""
    if isinstance(value, str):
        return "$" in value
    return isinstance(value, list | tuple) and any(refers(item) for item in value)


def substituted(value: Plain, known: Mapping[str, Value]) -> Plain:
    """A value with its references replaced.

    Raises:
        UnknownReferenceError: A name is unknown, or a lone dollar stands there.
    """
    if isinstance(value, list | tuple):
        return [substituted(item, known) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = _TOKEN.fullmatch(value)
    if whole is not None and whole[1] is not None:
        return _looked_up(whole[1], known)

    def text(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] is None:
            raise UnknownReferenceError(
                f'found a lone $ in "{value}"', "Write ${name} for a value, or $$ for a dollar."
            )
        found = _looked_up(match[1], known)
        if found is None:
            raise UnknownReferenceError(
                f"${{{match[1]}}} is empty for this device", "Fill the cell, or do not refer to it."
            )
        return str(found).lower() if isinstance(found, bool) else str(found)

    return _TOKEN.sub(text, value)


def _looked_up(name: str, known: Mapping[str, Value]) -> Value:
    if name not in known:
        likely = near(name, list(known))
        hint = f"Did you mean ${{{likely[0]}}}? " if likely else ""
        raise UnknownReferenceError(
            f"${{{name}}} is not known", f"{hint}Known: {', '.join(sorted(known))}."
        )
    return known[name]
