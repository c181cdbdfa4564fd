"""`edge-agent fleet status`: what is wanted of each device against what it says of itself."""

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from edge_agent.clock import Clock
from edge_agent.commands.office import fleet_of, refuse_errors
from edge_agent.commands.reading import heard
from edge_agent.config import MqttConfig
from edge_agent.errors import BrokerError, UpdateError
from edge_agent.fleet import exposition, identity, standing
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.differing import count
from edge_agent.fleet.inventory import Device, selected
from edge_agent.fleet.rendering import Renderer
from edge_agent.fleet.reports import Report, Reports
from edge_agent.fleet.secrets import put
from edge_agent.fleet.standing import Standing, Wanted
from edge_agent.release import Release


def status(
    path: Path | None,
    repo: Path | None,
    chosen: Sequence[str],
    clock: Clock,
    *,
    reader: str,
    wait_s: float,
    as_json: bool,
    prometheus: Path | None = None,
) -> int:
    """Print where each device stands.

    Args:
        path: The fleet's folder.
        repo: Wanted is what is published there; None: what the folder makes of each device now.
        chosen: Words that choose devices.
        clock: The office's.
        reader: Under whose name we listen.
        wait_s: For what the brokers keep.
        as_json: A line of JSON for each device.
        prometheus: A file for a collector of metrics, written beside what is printed.

    Returns:
        The exit code: 1 where a device does not stand as wanted.

    Raises:
        EarshotError: The folder has errors, or a broker cannot be reached.
    """
    question = asked(path, repo, chosen, clock)
    away: list[BrokerError] = []
    found = heard(
        question.fleet,
        question.devices,
        reader,
        clock,
        question.answered,
        wait_s,
        question.also,
        away,
    )
    lines = standings(question, found, clock)
    if prometheus is not None:
        # Whole: a collector that reads half of it takes half of the devices for gone.
        put(prometheus, exposition.text(lines, clock.utc_ns() / 1e9).encode())
    told(lines, away, repo, clock, as_json=as_json)
    return 0 if all(line.fine for line in lines) else 1


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Whom we ask, and what is wanted of them."""

    fleet: Fleet
    devices: tuple[Device, ...]
    wanted: dict[str, Wanted]
    also: tuple[tuple[str, MqttConfig], ...] = ()
    """Where devices talk with what is published for them."""

    def answered(self, found: Reports) -> bool:
        """Whether everybody was told of."""
        return all(_is_whole(found.get(one.name)) for one in self.devices)


def asked(path: Path | None, repo: Path | None, chosen: Sequence[str], clock: Clock) -> Question:
    """What `status` asks.

    Raises:
        EarshotError: The folder has errors, or the repository cannot be read.
    """
    fleet = fleet_of(path)
    refuse_errors(fleet)
    devices = tuple(selected(fleet.devices, chosen))
    if repo is None:
        return Question(fleet=fleet, devices=devices, wanted=rendered(fleet, devices))
    wanted, also = published(repo, devices, clock)
    return Question(fleet=fleet, devices=devices, wanted=wanted, also=tuple(also))


def told(
    lines: Sequence[Standing],
    away: Sequence[BrokerError],
    repo: Path | None,
    clock: Clock,
    *,
    as_json: bool,
) -> None:
    """Print where each device stands, and which brokers were not heard."""
    if as_json:
        for line in lines:
            print(json.dumps(msgspec.to_builtins(line), ensure_ascii=False))
    else:
        _print(lines)
        if repo is not None:
            _warn(repo, clock)
    sys.stdout.flush()
    for error in away:
        print(f"warning: {error.message}; whoever is there is not heard", file=sys.stderr)


def rendered(fleet: Fleet, devices: Sequence[Device]) -> dict[str, Wanted]:
    """What the folder makes of each device now."""
    renderer = Renderer(fleet, None)
    return {device.name: _wanted(renderer.release(device)[1]) for device in devices}


def published(
    repo: Path, devices: Sequence[Device], clock: Clock
) -> tuple[dict[str, Wanted], list[tuple[str, MqttConfig]]]:
    """What each device is offered, and where it talks with that.

    Raises:
        UpdateError: The repository cannot be read, or the extra is missing.
    """
    try:
        from edge_agent.fleet import published as files
        from edge_agent.fleet.repository import Repository, utc
    except ModuleNotFoundError as error:
        raise UpdateError(
            f"{error.name} is not installed", hint='Install the extra: pip install "earshot[ota]"'
        ) from error
    held = Repository(repo, utc(clock.utc_ns()))
    found: dict[str, Wanted] = {}
    brokers: list[tuple[str, MqttConfig]] = []
    for name, one in files.offered(held, [device.name for device in devices]).items():
        parcel = files.parcel(repo, name, one.sha256)
        found[name] = _wanted(msgspec.json.decode(parcel.release, type=Release))
        brokers.append((name, files.broker_of(parcel)))
    return found, brokers


def standings(question: Question, found: Reports, clock: Clock) -> list[Standing]:
    """A line for each device."""
    ends = standing.certificate_ends(question.fleet.folder.path / identity.FOLDER)
    now_ns = clock.utc_ns()
    lines: list[Standing] = []
    for device in question.devices:
        report = found.get(device.name, Report())
        verdict, why = standing.judged(question.wanted.get(device.name), report, now_ns)
        end = ends.get(device.name)
        one = question.wanted.get(device.name)
        lines.append(
            Standing(
                device=device.name,
                site=device.site,
                ring=device.ring,
                wanted=None if one is None else one.release,
                reported=None if report.release is None else report.release.in_force,
                verdict=verdict,
                why=why,
                online=report.online,
                seen_s=None if report.seen_ns is None else (now_ns - report.seen_ns) / 1e9,
                certificate_days=None if end is None else (end - standing.utc(now_ns)).days,
                faults=report.faults,
                queued=report.queued,
            )
        )
    return lines


def _wanted(release: Release) -> Wanted:
    return Wanted(
        release=release.release,
        config_sha256=release.config_sha256,
        model_sha256=release.model_sha256,
    )


def _is_whole(report: Report | None) -> bool:
    """All three topics are told of."""
    return (
        report is not None
        and report.info is not None
        and report.online is not None
        and report.seen_ns is not None
    )


def _print(lines: Sequence[Standing]) -> None:
    head = ("DEVICE", "SITE", "WANTED", "RUNS", "SEEN", "CERT", "STANDS")
    rows = [head, *(_cells(line) for line in lines)]
    wide = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(wide[i]) for i, cell in enumerate(row)).rstrip())
    counts = standing.tallied(lines)
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    print(f"{count(len(lines))}: {told}")


def said(line: Standing) -> str:
    """How a device stands, why, and its faults."""
    stands = line.verdict if not line.why else f"{line.verdict}: {line.why}"
    return f"{stands}; faults: {', '.join(line.faults)}" if line.faults else stands


def _cells(line: Standing) -> tuple[str, ...]:
    return (
        line.device,
        line.site,
        "-" if line.wanted is None else str(line.wanted),
        "-" if line.reported is None else str(line.reported),
        "-" if line.seen_s is None else _age(line.seen_s),
        _days(line.certificate_days),
        said(line),
    )


def _age(seconds: float) -> str:
    for limit_s, unit_s, unit in ((180, 1, "s"), (10_800, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit_s:
            return f"{max(0.0, seconds) / unit_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _days(days: int | None) -> str:
    if days is None:
        return "-"
    if days < 0:
        return "ended"
    return f"{days} d{'!' if days < standing.RENEW_DAYS else ''}"


def _warn(repo: Path, clock: Clock) -> None:
    from edge_agent.fleet.repository import Repository, utc

    for name, left in Repository(repo, utc(clock.utc_ns())).expiring():
        when = "has expired" if left < timedelta() else f"expires in {left.days} days"
        print(f"warning: {name} of the repository {when}: edge-agent fleet publish --refresh")
