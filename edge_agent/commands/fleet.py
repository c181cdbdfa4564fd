"""`edge-agent fleet`: what a folder of layers and an inventory makes of each device."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_agent import resources
from edge_agent.commands.findings import Form, lines
from edge_agent.commands.office import device_named
from edge_agent.commands.office import where as _where
from edge_agent.errors import ConfigError, EarshotError
from edge_agent.fleet import differing, folder, hosts, provenance, rendering, revision, schemas
from edge_agent.fleet.checking import Report, first_error
from edge_agent.fleet.checking import check as checked
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.differing import count
from edge_agent.fleet.inventory import selected

_NOT_SAMPLE = ("agent.yaml", "demo.yaml")
"""What else lies beside the sample folder."""
_IGNORED = "build/\ncards/\n*.img\n"
"""What is made of the folder; cards and images hold secrets in plain text."""


def init(path: Path) -> None:
    """Make a sample folder.

    Raises:
        EarshotError: The folder holds something already, or cannot be made.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise EarshotError(f"{path}: is not an empty folder", hint="Name one that is not there.")
    sample = resources.root() / "firmware_configs"
    try:
        shutil.copytree(
            sample, path, ignore=shutil.ignore_patterns(*_NOT_SAMPLE), dirs_exist_ok=True
        )
        (path / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    except OSError as error:
        raise EarshotError(
            f"{path}: cannot be made: {error.strerror}", hint="Name a folder that you may write to."
        ) from error
    print(f"{path} is ready. Next: cd {path} && edge-agent fleet check")


def check(path: Path | None, form: Form) -> int:
    """Print all findings.

    Returns:
        The exit code: 1 with errors.
    """
    where = _where(path)
    report = checked(_fleet(where))
    _print_report(report, form, where)
    return 1 if report.errors else 0


def listing(path: Path | None, chosen: Sequence[str], *, as_json: bool) -> None:
    """Print the devices with their layers."""
    fleet = _fleet(_where(path))
    for device in selected(fleet.folder.inventory.devices, chosen):
        files = [layer.file for layer in fleet.combination(device).layers]
        if as_json:
            told = {"device": device.name, "state": device.state, "ring": device.ring}
            print(json.dumps({**told, "layers": files}))
        else:
            print(f"{device.name:20} {device.state:8} {device.ring or '-':8} {' '.join(files)}")


def inventory(path: Path | None, chosen: Sequence[str]) -> None:
    """Print the devices as Ansible's inventory."""
    fleet = _fleet(_where(path))
    print(hosts.listing(selected(fleet.folder.inventory.devices, chosen)).decode())


def show(path: Path | None, name: str, *, as_json: bool) -> None:
    """Print a device's merged settings."""
    fleet = _fleet(_where(path))
    device = device_named(fleet, name)
    if as_json:
        print(rendering.canonical(fleet.values(device)[0]).decode(), end="")
        return
    for line in provenance.commented(fleet.tree(device)):
        print(line)


def explain(path: Path | None, name: str, key: str, *, as_json: bool) -> None:
    """Print where a device's setting comes from.

    Raises:
        ConfigError: It has no such setting.
    """
    fleet = _fleet(_where(path))
    tree = fleet.tree(device_named(fleet, name))
    found = provenance.traced(tree, key)
    if not found and key:
        likely = provenance.likely(tree, key)
        raise ConfigError(
            f"{key}: device {name} has no such setting",
            hint=f"Did you mean {likely[0]}?" if likely else "`edge-agent fleet show` has all.",
        )
    if as_json:
        for one in found:
            print(json.dumps(msgspec.to_builtins(one), ensure_ascii=False))
        return
    for line in provenance.text(found):
        print(line)


def diff(
    path: Path | None,
    asked: str,
    chosen: Sequence[str],
    *,
    key: str | None,
    by_code: bool,
    as_json: bool,
) -> int:
    """Print what the folder changes against a revision.

    Returns:
        The exit code: 1 when something differs and `by_code` asks for it.
    """
    where = _where(path)
    after = _fleet(where)
    _refuse_errors(after, str(where))
    with revision.at(where, asked) as old:
        before = _fleet(old)
        _refuse_errors(before, asked)
        found = differing.difference(before, after, selected(after.devices, chosen), key=key)
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False))
    else:
        for line in differing.text(found):
            print(line)
    differs = bool(found.changes or found.added or found.retired)
    return 1 if differs and by_code else 0


def render(path: Path | None, out: Path | None, chosen: Sequence[str], *, dry_run: bool) -> int:
    """Write what each device receives.

    Returns:
        The exit code: 1 where the folder has errors, and then nothing was written.
    """
    where = _where(path)
    fleet = _fleet(where)
    report = checked(fleet)
    if report.errors:
        _print_report(report, "text", where)
        return 1
    target = where / "build" if out is None else out
    devices = selected(fleet.devices, chosen)
    if dry_run:
        print(f"would write {count(len(devices))} to {target}")
        return 0
    renderer = rendering.Renderer(fleet, revision.source(where, target))
    written = sum(
        1
        for _ in rendering.write(
            (renderer.render(device) for device in devices), target, whole=not chosen
        )
    )
    print(f"{count(written)} written to {target}, release {fleet.folder.settings.release}")
    return 0


def schema(name: str) -> None:
    """Print a JSON Schema."""
    print(schemas.text(name), end="")


def _fleet(path: Path) -> Fleet:
    return Fleet(folder.read(path))


def _refuse_errors(fleet: Fleet, what: str) -> None:
    report = checked(fleet)
    differing.refuse_errors(first_error(report), what, report.errors)


def _print_report(report: Report, form: Form, where: Path) -> None:
    shown = os.path.relpath(where)
    prefix = "" if shown == "." else f"{shown}/"
    for line in lines(report.findings, form, prefix):
        print(line)
    if form == "text":
        errors, warnings = report.errors, len(report.findings) - report.errors
        print(
            f"{errors} error{'' if errors == 1 else 's'}, "
            f"{warnings} warning{'' if warnings == 1 else 's'}; "
            f"{count(report.devices)} checked, {report.affected} affected"
        )
