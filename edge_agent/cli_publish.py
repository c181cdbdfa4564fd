"""The options of `edge-agent fleet keys` and `fleet publish`; see `cli` for exit codes."""

from pathlib import Path
from typing import Literal

import click

from edge_agent.cli_options import DIR, REPO

_KEYS = click.option(
    "--keys",
    "keys_folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Where the private keys lie; outside of the fleet's folder.",
)


@click.group()
def keys() -> None:
    """The keys that sign what devices are given."""


@keys.command("init")
@_KEYS
@REPO
@click.option("--devices", type=click.IntRange(1), help="How many there will be. Default: as now.")
@DIR
def keys_init(keys_folder: Path, repo: Path, devices: int | None, folder: Path | None) -> None:
    """Make four keys and an empty repository.

    \b
    edge-agent fleet keys init --keys /media/safe/keys --repo /srv/earshot
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.publish import init

    init(folder, keys_folder, repo, devices, SystemClock())


@keys.command("rotate")
@click.argument("role", type=click.Choice(["root", "targets", "release", "online"]))
@_KEYS
@REPO
def keys_rotate(
    role: Literal["root", "targets", "release", "online"], keys_folder: Path, repo: Path
) -> None:
    """Replace a key; devices follow by themselves.

    \b
    edge-agent fleet keys rotate release --keys /media/safe/keys --repo /srv/earshot
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.publish import rotate

    rotate(role, keys_folder, repo, SystemClock())


@click.command("publish")
@click.argument("chosen", nargs=-1, metavar="[DEVICES]...")
@_KEYS
@REPO
@DIR
@click.option(
    "--window",
    type=click.IntRange(0, 86400),
    default=600,
    show_default=True,
    help="Seconds over which devices spread their restarts.",
)
@click.option("--refresh", is_flag=True, help="Publish nothing; sign anew before it expires.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def publish(
    chosen: tuple[str, ...],
    keys_folder: Path,
    repo: Path,
    folder: Path | None,
    window: int,
    refresh: bool,
    dry_run: bool,
) -> None:
    """Sign what the folder makes of the devices, and add what is new to the repository.

    \b
    edge-agent fleet publish --keys keys --repo /srv/earshot ring=canary
    edge-agent fleet publish --keys keys --repo /srv/earshot --refresh
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands import publish as command

    if refresh:
        if chosen or dry_run:
            raise click.UsageError("--refresh concerns the repository as a whole, and writes it.")
        command.refresh(keys_folder, repo, SystemClock())
        return
    command.publish(
        folder, keys_folder, repo, chosen, SystemClock(), window_s=window, dry_run=dry_run
    )
