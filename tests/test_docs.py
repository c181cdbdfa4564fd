"""Documents against the code: commands and options."""

import inspect
import re
from pathlib import Path

import click
import pytest

from edge_agent.cli import cli as edge_agent
from model_build.cli import cli as model_build

ROOT = Path(__file__).resolve().parent.parent


def commands() -> list[tuple[str, str, click.Command]]:
    groups = {"edge-agent": edge_agent, "model-build": model_build}
    return [found for program, group in groups.items() for found in below(program, group)]


def below(
    program: str, group: click.Group, above: str = ""
) -> list[tuple[str, str, click.Command]]:
    """The commands of a group and of the groups in it."""
    found: list[tuple[str, str, click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += below(program, command, f"{above}{name} ")
        else:
            found.append((program, f"{above}{name}", command))
    return found


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_usage_names_every_command_and_option(
    program: str, name: str, command: click.Command
) -> None:
    usage = (ROOT / "docs" / "usage.md").read_text()
    assert f"{program} {name}" in usage
    line = next(line for line in usage.splitlines() if f"{program} {name}" in line)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in line, parameter.name


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_every_command_has_help_with_an_example(
    program: str, name: str, command: click.Command
) -> None:
    assert command.help
    assert f"\b\n{program} {name}" in inspect.cleandoc(command.help)


def test_the_page_about_security_names_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(tests/[^`]+)`", page))
    assert len(named) > 10
    assert [name for name in sorted(named) if not list(ROOT.glob(name))] == []
