"""`edge-agent doctor`: looks at everything the agent needs, and says what to do.

It is called when nothing works. So each check has its own time limit and its own thread, imports
what it needs by itself, and whatever happens in it is a finding: none stops another.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from edge_agent import configfile
from edge_agent.commands.finding import (
    Account,
    Finding,
    fault,
    myself,
    named,
    ok,
    refused,
    there,
    warning,
)
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import ConfigError, EarshotError

CONFIG_PATH = Path("/etc/earshot/agent.yaml")
SERVICE_ACCOUNT = "earshot"
_NAME_WIDTH = 14
_INDENT = " " * (10 + _NAME_WIDTH)

Run = Callable[[], Sequence[Finding]]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A look at one thing."""

    name: str
    limit_s: float
    run: Run
    if_slow: str
    """What to do where it takes longer."""


def doctor(config_path: Path | None, *, as_json: bool) -> int:
    """Print what was found; the exit code.

    Args:
        config_path: None: the service's, where there is one.
        as_json: One object, nothing else.
    """
    # What the agent's parts log is no news here: their findings say it.
    logging.getLogger().addHandler(logging.NullHandler())
    configuration, loaded = _configuration(config_path)
    findings = [configuration]
    if not as_json:
        print(_line(configuration), flush=True)
    for finding in examined(_checks(loaded)):
        findings.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    faults = sum(finding.status == "fault" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    if as_json:
        checks = [msgspec.to_builtins(finding) for finding in findings]
        told = {"ok": not faults, "faults": faults, "warnings": warnings, "checks": checks}
        print(json.dumps(told, separators=(",", ":")))
    else:
        print(f"\nfaults: {faults}, warnings: {warnings}")
    return 1 if faults else 0


def examined(checks: Sequence[Check]) -> Iterator[Finding]:
    """Run one after the other; each gives at least one finding, in its time."""
    for check in checks:
        found: list[Finding] = []
        # A daemon: what hangs in the kernel must not keep the command from ending.
        thread = threading.Thread(target=_run, args=(check, found), daemon=True)
        thread.start()
        thread.join(check.limit_s)
        if thread.is_alive():
            yield fault(check.name, f"took longer than {check.limit_s:g} s", check.if_slow)
        else:
            yield from found


def _run(check: Check, found: list[Finding]) -> None:
    try:
        found += check.run()
    except EarshotError as error:
        found.append(refused(check.name, error))
    except ImportError as error:
        found.append(
            fault(
                check.name,
                f"a part of the agent cannot be loaded: {error}",
                "Install the agent again, with all that it needs: pip install --force-reinstall.",
            )
        )
    except Exception as error:  # noqa: BLE001 # nothing may stop the other checks
        found.append(
            fault(
                check.name,
                f"the check itself failed: {type(error).__name__}: {error}",
                "Mend what it names; if it names nothing, it is our mistake: please report it.",
            )
        )


def _configuration(given: Path | None) -> tuple[Finding, LoadedConfig | None]:
    path = given or CONFIG_PATH
    if given is None and there(path) is False:
        todo = "Name the device's with --config, or make one: sudo edge-agent install"
        return warning("configuration", f"there is no {path}; defaults are used", todo), None
    try:
        loaded = configfile.load(path)
    except ConfigError as error:
        return refused("configuration", error), None
    except OSError as error:
        # Where a folder on the way may not be entered.
        todo = "Give a file that you may read, or do this as root."
        return fault("configuration", f"{path}: {error.strerror}", todo), None
    return ok("configuration", str(path)), loaded


def _checks(loaded: LoadedConfig | None) -> list[Check]:
    account = _account(loaded)

    # Imported here and in each check: a package that is missing is one finding and no traceback.
    def system() -> Sequence[Finding]:
        from edge_agent.commands import doctor_host

        return [doctor_host.system(), doctor_host.clock()]

    def disk() -> Sequence[Finding]:
        from edge_agent.commands import doctor_host

        return doctor_host.disk(loaded, account)

    def permissions() -> Sequence[Finding]:
        from edge_agent.commands import doctor_host

        return doctor_host.permissions(loaded, account)

    def service() -> Sequence[Finding]:
        from edge_agent.commands import doctor_service

        return doctor_service.service(Path("/"))

    def model() -> Sequence[Finding]:
        from edge_agent.commands import doctor_sound

        return [doctor_sound.model(loaded)]

    def calibrations() -> Sequence[Finding]:
        from edge_agent.commands import doctor_calibration

        return doctor_calibration.calibrations(loaded)

    def microphones() -> Sequence[Finding]:
        from edge_agent.commands import doctor_sound

        return doctor_sound.microphones(loaded)

    def broker() -> Sequence[Finding]:
        from edge_agent.commands import doctor_broker

        return [doctor_broker.broker(loaded)]

    count = len(loaded.config.microphones) if loaded else 1
    return [
        Check(name="system", limit_s=10, run=system, if_slow="Look at the load of the machine."),
        Check(name="disk", limit_s=10, run=disk, if_slow="Look at the disk: it does not answer."),
        Check(name="permissions", limit_s=10, run=permissions, if_slow="Look at the disk."),
        Check(name="service", limit_s=20, run=service, if_slow="Look at systemd: systemctl status"),
        Check(name="model", limit_s=60, run=model, if_slow="Look at the load of the machine."),
        Check(name="calibration", limit_s=10, run=calibrations, if_slow="Look at the disk."),
        Check(
            name="microphone",
            limit_s=15 * count,
            run=microphones,
            if_slow="Unplug the microphone and plug it in again.",
        ),
        Check(
            name="broker",
            limit_s=45,
            run=broker,
            if_slow="Look at the network and its name server: neither answers in time.",
        ),
    ]


def _account(loaded: LoadedConfig | None) -> Account:
    """The service's own account for the service's configuration, else whoever runs this."""
    if loaded is not None and loaded.path.resolve() == CONFIG_PATH:
        return named(SERVICE_ACCOUNT) or myself()
    return myself()


def _line(finding: Finding) -> str:
    line = f"{finding.status:<8}  {finding.check:<{_NAME_WIDTH}}{finding.found}"
    return line if finding.todo is None else f"{line}\n{_INDENT}{finding.todo}"
