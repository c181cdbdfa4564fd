"""How findings are printed: for people and editors, for programs, for GitHub's checks."""

import json
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from edge_agent.configtree import Place, Problem
from edge_agent.fleet.checking import Finding
from edge_agent.fleet.differing import count

Form: TypeAlias = Literal["text", "json", "github"]


def lines(findings: Iterable[Finding], form: Form, prefix: str = "") -> Iterator[str]:
    """A line for each finding.

    Args:
        findings: What was found.
        form: For whom.
        prefix: Before each file, so that it can be opened from here.
    """
    for finding in findings:
        place = finding.problem.place._replace(file=f"{prefix}{finding.problem.place.file}")
        match form:
            case "text":
                yield f"{place}: {finding.severity}: {_sentence(finding)}"
            case "json":
                yield _json(place, finding)
            case "github":
                text = _escaped(_sentence(finding))
                at = f"file={place.file},line={place.line},col={place.column}"
                yield f"::{finding.severity} {at}::{text}"


def _sentence(finding: Finding) -> str:
    problem = finding.problem
    key = f"{problem.key}: " if problem.key else ""
    hit = f" ({count(finding.devices)})" if finding.devices else ""
    return f"{key}{problem.found}. {problem.hint}{hit}"


def _json(place: Place, finding: Finding) -> str:
    problem: Problem = finding.problem
    told = {
        "severity": finding.severity,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "key": problem.key or None,
        "found": problem.found,
        "hint": problem.hint,
        "devices": finding.devices,
    }
    return json.dumps(told, ensure_ascii=False)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
