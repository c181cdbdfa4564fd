"""The options of `edge-agent update` and of the release on a device; see `cli` for exit codes."""

import sys
from pathlib import Path

import click

SETTINGS = click.option(
    "--settings",
    type=click.Path(path_type=Path),
    default=Path("/etc/earshot/updates.json"),
    show_default=True,
    help="Which repository, which device.",
)


@click.command()
@SETTINGS
@click.option("--repo", metavar="URL|DIR", help="Instead of the settings' one; a stick's folder.")
@click.option("--now", "at_once", is_flag=True, help="Do not wait for this device's turn.")
@click.option("--trust-clock", is_flag=True, help="I vouch for the clock, though nothing set it.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def update(
    settings: Path, repo: str | None, at_once: bool, trust_clock: bool, dry_run: bool
) -> None:
    """Look for a release, try it, and keep it or return to the one before.

    Exit code 1 when a release was refused, rolled back or left undecided.

    \b
    edge-agent update --dry-run
    sudo edge-agent update --repo /media/usb/repository
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.update import update

    sys.exit(
        update(
            settings, repo, SystemClock(), at_once=at_once, trust_clock=trust_clock, dry_run=dry_run
        )
    )


@click.command("status")
@SETTINGS
@click.option("--json", "as_json", is_flag=True, help="Print one object, nothing else.")
def status(settings: Path, as_json: bool) -> None:
    """Say which release is in force, and how far an update is.

    \b
    edge-agent config status
    """
    from edge_agent.commands.release import status

    status(settings, as_json=as_json)


@click.command("rollback")
@SETTINGS
def rollback(settings: Path) -> None:
    """Go back to the release before; the one in force is not tried again.

    \b
    edge-agent config rollback
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.release import rollback

    rollback(settings, SystemClock())


@click.command("confirm")
@SETTINGS
def confirm(settings: Path) -> None:
    """Keep a release that is on trial or undecided, without further watching.

    \b
    edge-agent config confirm
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.release import confirm

    confirm(settings, SystemClock())


@click.command("guard")
@SETTINGS
def guard(settings: Path) -> None:
    """Before each start of the service: nothing that is on trial is started twice.

    \b
    edge-agent config guard
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.release import guard

    guard(settings, SystemClock())
