"""From a configuration file to `Config`, strictly."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_agent import configtree, resources
from edge_agent.config import Config
from edge_agent.configtree import Branch, Node, Problem, is_null
from edge_agent.errors import ConfigError
from edge_agent.settings import Settings, allowed

__all__ = ["LoadedConfig", "allowed", "find_model", "load", "placed", "problems_of"]


_NO_CONFIG = "Name the device's configuration with --config, or make one: sudo edge-agent install"


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
    data = read_bytes(path, _NO_CONFIG)
    config, tree, problems = _read(path, data)
    if config is None:
        raise problems[0].error()
    return LoadedConfig(
        config=config,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        places={} if tree is None else dict(_places(tree, "")),
    )


def problems_of(path: Path) -> tuple[Problem, ...]:
    """All that `load` would refuse of a file, not only the first.

    Raises:
        ConfigError: The file cannot be read.
    """
    return tuple(_read(path, read_bytes(path))[2])


def read_bytes(path: Path, hint: str = "Name a file that can be read.") -> bytes:
    """A file's bytes.

    Args:
        path: Which.
        hint: What to do where it cannot be read.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error


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


def _read(path: Path, data: bytes) -> tuple[Config | None, Node | None, list[Problem]]:
    tree = configtree.read(path, data)
    problems = list(tree.problems)
    if tree.root is None or is_null(tree.root):
        return (None if problems else Config()), None, problems
    settings = Settings()
    typed = settings.typed(tree.root, Config)
    problems += settings.problems
    if problems or typed is None:
        return None, None, problems
    config = settings.built(typed, Config)
    assert config is None or isinstance(config, Config), "what is built is what was asked for"
    return config, typed, settings.problems


def _places(node: Node, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Branch):
        for name, entry in node.entries.items():
            yield f"{key}{name}", str(node.keys[name])
            yield from _places(entry, f"{key}{name}.")
