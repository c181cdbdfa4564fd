"""Options that several of the office's commands have."""

from pathlib import Path

import click

DIR = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="The fleet's folder. By default the nearest one upwards with a fleet.yaml.",
)
REPO = click.option(
    "--repo",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The repository: static files, to be served as they are.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, nothing else.")
CHOSEN = click.argument("chosen", nargs=-1, metavar="[DEVICES]...")
WAIT = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the broker at most.",
)
