"""`edge-agent config`: one device's file, checked, shown and explained."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from edge_agent import configfile
from edge_agent.commands.findings import lines
from edge_agent.configfile import LoadedConfig
from edge_agent.configtree import Place, Problem
from edge_agent.errors import ConfigError, EarshotError
from edge_agent.fleet import models
from edge_agent.fleet.checking import Finding
from edge_agent.fleet.provenance import shown
from edge_agent.labels import problems as label_problems
from edge_agent.settings import near


def check(files: Sequence[Path], *, as_json: bool) -> int:
    """Print everything that the agent would refuse.

    Returns:
        The exit code: 1 with findings.
    """
    found = [one for path in files for one in _findings(path)]
    for line in lines(found, "json" if as_json else "text"):
        print(line)
    if not as_json:
        print(
            f"{len(found)} error{'' if len(found) == 1 else 's'} in {len(files)} "
            f"file{'' if len(files) == 1 else 's'}"
        )
    return 1 if found else 0


def show(path: Path, *, as_json: bool) -> None:
    """Print every setting in force."""
    loaded = configfile.load(path)
    values = msgspec.to_builtins(loaded.config)
    if as_json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return
    for depth, key, value, place in _walk(values, loaded, ""):
        indent, name = "  " * depth, key.rpartition(".")[2]
        print(f"{indent}{name}:" if value is None else f"{indent}{name}: {value}  # {place}")


def explain(key: str, path: Path) -> None:
    """Print a setting, or all below it, with where it comes from.

    Raises:
        ConfigError: There is no such setting.
    """
    loaded = configfile.load(path)
    rows = [
        (name, value, place)
        for _, name, value, place in _walk(msgspec.to_builtins(loaded.config), loaded, "")
        if value is not None
    ]
    found = [row for row in rows if row[0] == key or row[0].startswith(f"{key}.")]
    if not found:
        likely = near(key, [row[0] for row in rows])
        raise ConfigError(
            f"{key}: is not a setting of {path}",
            hint=f"Did you mean {likely[0]}?" if likely else "`edge-agent config show` has all.",
        )
    for name, value, place in found:
        print(f"{name} = {value}\n  {place}")


def _findings(path: Path) -> Iterator[Finding]:
    problems = list(configfile.problems_of(path))
    if not problems:
        problems = list(_against_model(configfile.load(path)))
    for problem in sorted(problems, key=lambda one: one.place):
        yield Finding(severity="error", problem=problem, devices=0)


def _against_model(loaded: LoadedConfig) -> Iterator[Problem]:
    config = loaded.config
    try:
        model = models.load(config.model.path, loaded.path)
    except EarshotError as error:
        yield _problem(loaded, "model.path", error)
        return
    for refused in label_problems(config, model.labels, model.name):
        yield _problem(loaded, refused.key or "", refused)


def _problem(loaded: LoadedConfig, key: str, error: EarshotError) -> Problem:
    file, *numbers = loaded.place(key).rsplit(":", 2)
    line, column = (int(number) for number in numbers) if len(numbers) == 2 else (0, 0)
    return Problem(
        place=Place(file, line, column),
        key=key,
        found=error.message.removeprefix(f"{key}: "),
        hint=error.hint,
    )


def _walk(
    values: object, loaded: LoadedConfig, above: str, depth: int = 0
) -> Iterator[tuple[int, str, str | None, str]]:
    """Depth, key, value (None for a group) and place of each setting."""
    assert isinstance(values, dict), "groups of settings are dictionaries"
    for name, value in values.items():
        key = f"{above}{name}"
        place = loaded.places.get(key, "default")
        if isinstance(value, dict) and value:
            yield depth, key, None, place
            yield from _walk(value, loaded, f"{key}.", depth + 1)
        else:
            yield depth, key, shown(value), place
