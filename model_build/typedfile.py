"""Reads a YAML or JSON file as a type; a slip is told with its line and column."""

from pathlib import Path

from edge_agent import configtree
from edge_agent.errors import ConfigError
from edge_agent.settings import Settings


def read(path: Path, kind: object, *, if_empty: str, shipped: Path | None = None) -> object:
    """What a file holds.

    Args:
        path: A file, or the name of a shipped one.
        kind: A struct, or a dict of structs; what is given is of it.
        if_empty: What to do about a file in which nothing stands.
        shipped: The folder of the shipped ones.

    Raises:
        ConfigError: There is no such file, or something in it is not allowed, with its place.
    """
    file = path
    if shipped is not None and not path.exists() and (shipped / f"{path}.yaml").is_file():
        file = shipped / f"{path}.yaml"
    try:
        data = file.read_bytes()
    except OSError as error:
        hint = "Name a file."
        if shipped is not None:
            names = ", ".join(sorted(one.stem for one in shipped.glob("*.yaml")))
            hint = f"Name a file, or a shipped one: {names}."
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    tree = configtree.read(file, data)
    if tree.problems:
        raise tree.problems[0].error()
    if tree.root is None or configtree.is_null(tree.root):
        raise ConfigError(f"{path}: is empty", hint=if_empty)
    settings = Settings(described="docs/laboratory.md")
    typed = settings.typed(tree.root, kind)
    if settings.problems or typed is None:
        raise settings.problems[0].error()
    found = settings.built(typed, kind)
    if settings.problems:
        raise settings.problems[0].error()
    return found
