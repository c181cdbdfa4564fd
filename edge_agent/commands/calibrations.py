"""`edge-agent fleet calibrations`: what each microphone's decibels rest on, as a table."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.clock import Clock
from edge_agent.commands.office import fleet_of, refuse_errors
from edge_agent.commands.reading import heard
from edge_agent.fleet.inventory import Device, selected
from edge_agent.fleet.reports import Report


class _Row(NamedTuple):
    """A microphone's line; None is an empty cell."""

    device: str
    site: str
    microphone: str
    source: str
    offset_db: float | None
    date: str | None
    lab_offset_db: float | None
    lab_date: str | None
    from_lab_db: float | None
    """How far the offset in force is from the laboratory's."""


def calibrations(
    path: Path | None, chosen: Sequence[str], clock: Clock, *, reader: str, wait_s: float
) -> int:
    """Print a CSV of the calibrations in force, beside the inventory's laboratory values.

    Args:
        path: The fleet's folder.
        chosen: Words that choose devices.
        clock: The office's.
        reader: Under whose name we listen.
        wait_s: For what the brokers keep.

    Returns:
        The exit code: 1 where a device was not heard, or a microphone has no calibration.

    Raises:
        EarshotError: The folder has errors, or a broker cannot be reached.
    """
    fleet = fleet_of(path)
    refuse_errors(fleet)
    devices = selected(fleet.devices, chosen)
    found = heard(
        fleet,
        devices,
        reader,
        clock,
        lambda told: all(told.get(one.name, Report()).info is not None for one in devices),
        wait_s,
    )
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(_Row._fields)
    rows = [row for device in devices for row in _rows(device, found.get(device.name, Report()))]
    table.writerows(rows)
    return 0 if all(row.offset_db is not None for row in rows) else 1


def _rows(device: Device, report: Report) -> Iterator[_Row]:
    def row(microphone: str, source: str, offset_db: float | None, date: str | None) -> _Row:
        lab_db = device.lab_offset_db
        return _Row(
            device=device.name,
            site=device.site,
            microphone=microphone,
            source=source,
            offset_db=offset_db,
            date=date,
            lab_offset_db=lab_db,
            lab_date=device.lab_date,
            from_lab_db=(
                None if offset_db is None or lab_db is None else round(offset_db - lab_db, 2)
            ),
        )

    if report.info is None:
        yield row("", "never heard", None, None)
        return
    for microphone, one in report.info.calibration.items():
        yield row(microphone, one.source, one.offset_db, one.date)
