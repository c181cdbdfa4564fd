"""The options of `edge-agent fleet status`; see `cli` for exit codes.

1 means that a device does not stand as wanted.
"""

import sys
from pathlib import Path

import click

_DIR = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="The fleet's folder. By default the nearest one upwards with a fleet.yaml.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, nothing else.")
_READER_HELP = "Who listens at the broker: edge-agent fleet identity issue --reader NAME."
_CHOSEN = click.argument("chosen", nargs=-1, metavar="[DEVICES]...")


@click.command("status")
@_CHOSEN
@_DIR
@click.option(
    "--repo",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Wanted is what is published there. By default what the folder makes of each device.",
)
@click.option(
    "--reader",
    metavar="NAME",
    default="office",
    show_default=True,
    help=_READER_HELP,
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the broker at most.",
)
@click.option(
    "--prometheus",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write the figures for a textfile collector, to a file named like earshot.prom.",
)
@_JSON
def status(
    chosen: tuple[str, ...],
    folder: Path | None,
    repo: Path | None,
    reader: str,
    wait_s: float,
    prometheus: Path | None,
    as_json: bool,
) -> None:
    """Say of each device what is wanted and what it says of itself, as its broker holds it.

    Exit code 1 where one does not stand as wanted, or its certificate ends within 30 days.

    \b
    edge-agent fleet status --repo /srv/earshot site=harbour
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.fleet_status import status as command

    sys.exit(
        command(
            folder,
            repo,
            chosen,
            SystemClock(),
            reader=reader,
            wait_s=wait_s,
            as_json=as_json,
            prometheus=prometheus,
        )
    )
