"""What `doctor` looks at of the systemd service: its files, and whether it runs."""

import shlex
import subprocess
from pathlib import Path

from edge_agent.commands.finding import Finding, fault, named, ok, there, warning
from edge_agent.commands.install import (
    CREDENTIALS_PATH,
    LINK,
    SYSUSERS_PATH,
    TMPFILES_PATH,
    UNIT,
    UNIT_PATH,
    credentials,
    is_live,
)
from edge_agent.commands.tree import Tree, is_link_to, is_ours

ACCOUNT = "earshot"
_INSTALL = "sudo edge-agent install"
_ASKED = ("ActiveState", "SubState", "Result", "NRestarts", "StatusText", "NeedDaemonReload")
_ANSWER_S = 10


def service(root: Path) -> list[Finding]:
    """What `install` put there, and what systemd says of it.

    Args:
        root: Of the system.
    """
    tree = Tree(root, dry_run=True)
    unit = tree.at(UNIT_PATH)
    if not there(unit):
        return [warning("service", "not installed: nothing starts the agent at boot", _INSTALL)]
    if is_link_to(unit, "/dev/null"):
        todo = f"sudo systemctl unmask {UNIT} && {_INSTALL}"
        return [warning("service", f"{unit} is masked: it never starts", todo)]
    findings = [*_files(tree, unit), *_credentials(tree)]
    if is_live(root):
        if named(ACCOUNT) is None:
            todo = "sudo systemd-sysusers earshot.conf"
            findings.append(fault("service", f"there is no account {ACCOUNT}", todo))
        findings.append(_running())
    elif not findings:
        findings.append(ok("service", "installed and enabled; systemd does not run this system"))
    return findings


def _files(tree: Tree, unit: Path) -> list[Finding]:
    findings = []
    program = _program(unit)
    if program is not None and there(tree.at(program)) is False:
        found = f"{unit} starts {program}, which is not there"
        findings.append(fault("service", found, f"Install the agent there, then {_INSTALL}"))
    places = map(tree.at, (UNIT_PATH, CREDENTIALS_PATH, SYSUSERS_PATH, TMPFILES_PATH))
    edited = [str(place) for place in places if there(place) and not is_ours(place)]
    if edited:
        findings.append(
            warning(
                "service",
                f"edited by hand, so that no upgrade renews it: {', '.join(edited)}",
                f"Say it in a drop-in (sudo systemctl edit earshot-agent), remove the file, then "
                f"{_INSTALL}",
            )
        )
    if not is_link_to(tree.at(LINK), UNIT_PATH):
        found = "not enabled: it does not start at boot"
        findings.append(warning("service", found, "sudo systemctl enable earshot-agent"))
    return findings


def _credentials(tree: Tree) -> list[Finding]:
    """A credential and the line that hands it over belong together."""
    drop_in = tree.at(CREDENTIALS_PATH)
    shown = drop_in.read_text(encoding="utf-8", errors="replace") if there(drop_in) else ""
    findings = []
    for path in credentials():
        here, handed = there(tree.at(path)), f":{path}\n" in shown
        if here is False and handed:
            found = f"there is no {tree.at(path)}, without which the service cannot start"
            findings.append(fault("service", found, f"Put the file there, or {_INSTALL}"))
        elif here and not handed:
            found = f"the service is not given {tree.at(path)}"
            findings.append(fault("service", found, _INSTALL))
    return findings


def _program(unit: Path) -> str | None:
    """What the unit starts, as systemd reads it."""
    lines = unit.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        if line.startswith("ExecStart="):
            words = shlex.split(line.partition("=")[2], posix=True)
            return words[0].replace("%%", "%").replace("$$", "$") if words else None
    return None


def _running() -> Finding:
    command = ["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_ANSWER_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return warning("service", f"systemd does not answer: {error}", f"systemctl status {UNIT}")
    return judged(done.stdout)


def judged(shown: str) -> Finding:
    """What `systemctl show` tells of the service.

    Args:
        shown: Its lines, `Name=value`.
    """
    told = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state, sub = told.get("ActiveState", ""), told.get("SubState", "")
    journal = "journalctl -u earshot-agent -n 20 says why"
    if state == "failed" or sub == "auto-restart":
        result = f"{told.get('Result')}, {told.get('NRestarts')} restarts"
        return fault("service", f"it ends again and again ({result})", journal)
    if told.get("NeedDaemonReload") == "yes":
        found = "systemd has not read the unit since it changed"
        todo = "sudo systemctl daemon-reload && sudo systemctl restart earshot-agent"
        return warning("service", found, todo)
    if state == "active":
        status = told.get("StatusText") or "no word yet"
        return ok("service", f"runs; it says: {status}")
    if state == "activating":
        return warning("service", "it starts just now, or waits for a microphone", journal)
    todo = "sudo systemctl start earshot-agent"
    return warning("service", f"it does not run ({state or 'unknown'})", todo)
