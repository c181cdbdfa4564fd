"""All findings of a folder in one pass, each with its place and the number of devices it hits.

The fast path converts a device's values at once; only what fails is read entry by entry, as the
device itself would, so that the finding has its place. What comes from the same place is told once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from edge_agent.config import Config
from edge_agent.configtree import Branch, Place, Problem
from edge_agent.errors import EarshotError
from edge_agent.fleet import models, neighbours, rules, secrets
from edge_agent.fleet.composing import Combination, Fleet, Values, lock_problem, read
from edge_agent.fleet.folder import Folder, Kind
from edge_agent.fleet.inventory import Column, Device
from edge_agent.fleet.models import Model
from edge_agent.fleet.rules import Broken, Subject
from edge_agent.settings import is_collection, near, setting_type

Severity: TypeAlias = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong, or may be."""

    severity: Severity
    problem: Problem
    devices: int
    """How many it hits."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    findings: tuple[Finding, ...]
    """By file and line."""
    devices: int
    affected: int
    """Devices with an error."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


class _Findings:
    """Gathers findings; what is the same at the same place is one."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Severity, Problem]] = Counter()
        self.affected: set[str] = set()

    def add(self, severity: Severity, problem: Problem, devices: Sequence[Device] = ()) -> None:
        self.counts[severity, problem] += len(devices)
        if severity == "error":
            self.affected.update(device.name for device in devices)


def check(fleet: Fleet) -> Report:
    """All that is wrong with a fleet."""
    findings = _Findings()
    folder = fleet.folder
    for problem in (*folder.problems, *folder.inventory.problems):
        findings.add("error", problem)
    for problem in secrets.readable(folder.path):
        findings.add("error", problem)
    combinations: dict[int, tuple[Combination, list[Device]]] = {}
    for device in fleet.devices:
        combination = fleet.combination(device)
        combinations.setdefault(id(combination), (combination, []))[1].append(device)
    _layers(findings, folder, list(combinations.values()))
    _locked_columns(findings, fleet)
    checker = _Devices(fleet, findings)
    seen = neighbours.Neighbours()
    for device in fleet.devices:
        config = checker.check(device)
        if config is not None:
            seen.add(device, config)
    for problem in neighbours.unused(folder):
        findings.add("error", problem)
    for problem, devices in neighbours.rows(folder, fleet.devices):
        findings.add("warning", problem, devices)
    for severe, device, broken, others in seen.broken():
        problem = _placed(fleet.tree(device), broken)
        findings.add("error" if severe else "warning", problem, others)
    return Report(
        findings=tuple(
            Finding(severity=severity, problem=problem, devices=count)
            for (severity, problem), count in sorted(
                findings.counts.items(), key=lambda item: (item[0][1].place, item[0][1].key)
            )
        ),
        devices=len(fleet.devices),
        affected=len(findings.affected),
    )


def _layers(
    findings: _Findings, folder: Folder, combinations: list[tuple[Combination, list[Device]]]
) -> None:
    """What is wrong with a file by itself, and with a combination of them."""
    users: dict[tuple[Kind, str], list[Device]] = {}
    for combination, devices in combinations:
        for layer in combination.layers:
            users.setdefault((layer.kind, layer.name), []).extend(devices)
        for problem in combination.problems:
            findings.add("error", problem, devices)
        for column, kind, name in combination.missing:
            near_names = near(name, [one for of, one in folder.layers if of == kind])
            for device in devices:
                findings.add(
                    "error",
                    Problem(
                        place=device.place(column),
                        key=column,
                        found=f'device {device.name}: "{name}": there is no {kind}/{name}.yaml',
                        hint=f"Did you mean {near_names[0]}?" if near_names else "Write that file.",
                    ),
                    [device],
                )
    for key, layer in folder.layers.items():
        for problem in layer.problems:
            findings.add("error", problem, users.get(key, []))


def _locked_columns(findings: _Findings, fleet: Fleet) -> None:
    folder = fleet.folder
    for column in folder.inventory.columns:
        for locked, owner in folder.settings.locked.items():
            keys = tuple(locked.split("."))
            shared = min(len(keys), len(column.keys))
            if keys[:shared] == column.keys[:shared]:
                users = [one for one in fleet.devices if _sets(one, column)]
                if users:
                    problem = lock_problem(column.place, locked, owner, folder)
                    findings.add("error", problem, users)


def _sets(device: Device, column: Column) -> bool:
    return any(one.index == column.index for one, _ in device.settings)


class _Devices:
    """Checks one device after the other."""

    def __init__(self, fleet: Fleet, findings: _Findings) -> None:
        self._fleet = fleet
        self._findings = findings
        self._models: dict[str, Model | EarshotError] = {}
        self._plaintext = fleet.folder.settings.allow_plaintext

    def check(self, device: Device) -> Config | None:
        """Its configuration; None where it has none, which is then told."""
        combination = self._fleet.combination(device)
        if not combination.whole:
            return None
        values, problems = self._fleet.values(device)
        problems += _strangers(device, combination)
        for problem in problems:
            self._findings.add("error", problem, [device])
        if problems:
            return None
        config = self._config(device, values)
        if config is None:
            return None
        microphone = combination.layer("microphones")
        subject = Subject(
            config=config,
            model=self._model(device, config.model.path),
            offers=None if microphone is None else microphone.notes.offers,
            plaintext=self._plaintext,
            # What a release brings is for the only microphone.
            calibrated=device.lab_offset_db is not None and len(config.microphones) == 1,
        )
        tree: Branch | None = None
        for broken in rules.broken(subject):
            tree = tree or self._fleet.tree(device)
            severity: Severity = "error" if broken.severe else "warning"
            self._findings.add(severity, _placed(tree, broken), [device])
        return config

    def _config(self, device: Device, values: Values) -> Config | None:
        try:
            return msgspec.convert(values, Config)
        except msgspec.ValidationError:
            config, problems = read(self._fleet.tree(device))
            for problem in problems:
                self._findings.add("error", problem, [device])
            return config

    def _model(self, device: Device, text: str) -> Model | None:
        if text not in self._models:
            try:
                self._models[text] = models.load(text, self._fleet.folder.path)
            except EarshotError as error:
                self._models[text] = error
        found = self._models[text]
        if isinstance(found, Model):
            return found
        broken = Broken(key="model.path", found=found.message, hint=found.hint)
        self._findings.add("error", _placed(self._fleet.tree(device), broken), [device])
        return None


def _strangers(device: Device, combination: Combination) -> Iterator[Problem]:
    """Cells that would make a new entry of a collection: more likely a slip than a wish."""
    for column, _ in device.settings:
        node: object = combination.values
        for depth, key in enumerate(column.keys[:-1]):
            known = node if isinstance(node, dict) else {}
            above = setting_type(Config, column.keys[:depth]) if depth else None
            if above is not None and is_collection(above) and key not in known:
                likely = near(key, list(known))
                yield Problem(
                    place=column.place,
                    key=".".join(column.keys),
                    found=f"no layer has {'.'.join(column.keys[: depth + 1])}",
                    hint=f"Did you mean `{likely[0]}`?"
                    if likely
                    else "Make the entry in a file; a column only changes it.",
                )
                break
            node = known.get(key)


def _placed(tree: Branch, broken: Broken) -> Problem:
    """A rule's finding at its setting; where that is left out, at what it is part of."""
    place = tree.place
    node: object = tree
    for key in broken.key.split("."):
        if not isinstance(node, Branch) or key not in node.entries:
            break
        node = node.entries[key]
        place = node.place
    return Problem(place=place, key=broken.key, found=broken.found, hint=broken.hint)


def first_error(report: Report) -> Place | None:
    """Where the first error stands."""
    return next((one.problem.place for one in report.findings if one.severity == "error"), None)
