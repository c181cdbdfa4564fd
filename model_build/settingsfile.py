"""The best settings that a search found, as a file that training reads."""

from pathlib import Path
from typing import TypeAlias

import msgspec

from edge_agent.errors import BuildError
from model_build import typedfile
from model_build.spaces import Value

Settings: TypeAlias = dict[str, Value]
"""Of a classical model those of its estimator; of a network those of its plan."""

_HEAD = """\
# Settings that `model-build tune` chose. Trained with them, beside its own, by:
#   model-build compare --settings {name}
"""
_STREET_HEAD = """\
# and on the street by:
#   model-build train --network {model} --settings {name}
"""
_STREET = ("dnn", "cnn", "cnn_lstm")


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
    head = _HEAD + (_STREET_HEAD if chosen.model in _STREET else "")
    head = head.format(name=path.name, model=chosen.model)
    path.write_text(head + msgspec.yaml.encode(chosen).decode(), encoding="utf-8")


def read(path: Path, model: str | None = None) -> Chosen:
    """Read such a file.

    Args:
        path: The file.
        model: For which it has to be; None: any.

    Raises:
        ConfigError: It is none, with the place.
        BuildError: It is another model's.
    """
    chosen = typedfile.read(path, Chosen, if_empty="`model-build tune` writes such a file.")
    assert isinstance(chosen, Chosen), "what is built is what was asked for"
    if model is not None and chosen.model != model:
        raise BuildError(
            f"{path}: holds settings of {chosen.model}, not of {model}",
            hint=f"Run `model-build tune {model}`, or train {chosen.model} with it.",
        )
    return chosen
