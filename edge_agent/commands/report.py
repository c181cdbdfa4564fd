"""`edge-agent report`: what a device measured and heard, from its own store."""

import csv
import io
import sys
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from edge_agent import configfile, timezone
from edge_agent.archive import Archive
from edge_agent.commands.fiware import entities
from edge_agent.commands.report_data import NAMES, Report, gather, rounded
from edge_agent.commands.report_page import page, warnings
from edge_agent.errors import ConfigError, StoreError
from edge_agent.written import rfc3339

Format: TypeAlias = Literal["html", "csv", "json", "fiware"]
_NS = 1_000_000_000


def report(
    config_path: Path,
    state_dir: Path | None,
    microphone: str | None,
    first: date | datetime,
    last: date | datetime,
    zone_name: str | None,
    kind: Format,
) -> str:
    """The report as text.

    Args:
        config_path: The device's configuration: site, and where its state is.
        state_dir: The state folder, as of a card that was taken out; by default the configured one.
        microphone: Which; may be left out where there is only one.
        first: The beginning; a date is its local midnight.
        last: The end, not included; a date is the local midnight after it.
        zone_name: Time zone, as `Europe/Berlin`; by default that of the site.
        kind: How it is written.

    Raises:
        ConfigError: A setting or an option cannot be used.
        StoreError: The store cannot be read, or holds no such microphone.
    """
    loaded = configfile.load(config_path)
    with configfile.placed(loaded):
        zone = timezone.zone(loaded.config.site.timezone, "site.timezone")
    if zone_name is not None:
        zone = timezone.zone(zone_name)
    archive = Archive(state_dir or loaded.path.parent / loaded.config.state_dir)
    name = _microphone(archive, microphone)
    from_s, to_s = _instant(first, zone), _instant(last, zone, after=True)
    if from_s >= to_s:
        raise ConfigError(
            f"--from {first} is not before --to {last}", hint="A date in --to is included."
        )
    site = loaded.config.site
    if kind == "fiware":
        minutes = list(archive.minutes(name, from_s * _NS, to_s * _NS))
        with configfile.placed(loaded):
            return _lines(entities(minutes, site), len(minutes), name)
    found = gather(archive, site, name, from_s, to_s, zone, loaded.config.lden)
    match kind:
        case "html":
            return page(found, site, zone)
        case "csv":
            for warning in warnings(found):
                print(warning, file=sys.stderr)
            return _csv(found)
        case "json":
            return msgspec.json.encode(rounded(found)).decode() + "\n"


def _lines(found: Iterable[bytes], minutes: int, name: str) -> str:
    """A line for each entity.

    Raises:
        StoreError: There are minutes, but none that may be given.
    """
    lines = [f"{one.decode()}\n" for one in found]
    if minutes and not lines:
        raise StoreError(
            f"none of the {minutes} minutes of {name} may be given as NoiseLevelObserved: each has "
            "no level or no calibration, or its time was not known",
            hint="`edge-agent calibrate` gives the microphone its decibels; --format json tells "
            "what there is.",
        )
    return "".join(lines)


def _csv(report: Report) -> str:
    """A line for each hour in which something was heard."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    suffix = "" if report.unit == "dB" else "_dbfs"
    writer.writerow(["start", "period_s", "heard_s", *(f"{one}{suffix}" for one in NAMES)])
    for hour in report.hours:
        levels = (hour.levels.get(name) for name in NAMES)
        writer.writerow(
            [
                rfc3339(hour.start_s * _NS),
                hour.period_s,
                f"{hour.heard_s:.3f}",
                *("" if level is None else f"{level:.1f}" for level in levels),
            ]
        )
    return text.getvalue()


def _microphone(archive: Archive, wanted: str | None) -> str:
    names = archive.microphones()
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    listed = ", ".join(names) or "none yet"
    raise StoreError(
        f"the store holds no microphone {wanted!r}" if wanted else "which microphone?",
        hint=f"It holds {listed}. Choose one by --microphone.",
    )


def _instant(given: date | datetime, zone: tzinfo, *, after: bool = False) -> int:
    """Seconds UTC."""
    if isinstance(given, datetime):
        return round(given.timestamp())
    midnight = datetime.combine(given + timedelta(days=1) if after else given, time(), zone)
    return round(midnight.timestamp())
