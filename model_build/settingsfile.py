"""The best settings that a search found, as a file that training reads."""

from pathlib import Path
from typing import TypeAlias

import msgspec

from model_build import typedfile
from model_build.spaces import Value

Settings: TypeAlias = dict[str, Value]
"""Of a classical model those of its estimator; of a network those of its plan."""

_HEAD = """\
# Settings that `model-build tune` chose. Trained with them, beside its own, by:
#   model-build compare --settings {name}
"""


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one model."""

    model: str
    rows: str
    """The configuration that it was tuned on; of a network its own."""
    settings: Settings
    """Empty: none that was tried is better than its own."""
    found: str = ""
    """How, and with what score, in words."""


def write(chosen: Chosen, path: Path) -> None:
    """Write the file, YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = _HEAD.format(name=path.name)
    path.write_text(head + msgspec.yaml.encode(chosen).decode(), encoding="utf-8")


def read(path: Path) -> Chosen:
    """Read such a file.

    Raises:
        ConfigError: It is none, with the place.
    """
    chosen = typedfile.read(path, Chosen, if_empty="`model-build tune` writes such a file.")
    assert isinstance(chosen, Chosen), "what is built is what was asked for"
    return chosen
