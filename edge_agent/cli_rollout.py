"""The options of what watches a fleet: `fleet status`, `calibrations`, `rollout`, `simulate`.

See `cli` for exit codes. 1 means that a device does not stand as wanted or was not heard, that a
rollout was stopped, or that a message was lost.
"""

import sys
from pathlib import Path

import click

from edge_agent.cli_options import CHOSEN, DIR, JSON, REPO, WAIT

_KEYS = click.option(
    "--keys",
    "keys_folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Where release.pem and online.pem lie.",
)
_FORCE = click.option(
    "--force", is_flag=True, help="Begin although the first ring lacks a board or a microphone."
)
_READER_HELP = "Who listens at the broker: edge-agent fleet identity issue --reader NAME."


@click.command("status")
@CHOSEN
@DIR
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
@WAIT
@click.option(
    "--prometheus",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write the figures for a textfile collector, to a file named like earshot.prom.",
)
@click.option("--watch", is_flag=True, help="Go on, and tell each change, until Ctrl-C.")
@JSON
def status(
    chosen: tuple[str, ...],
    folder: Path | None,
    repo: Path | None,
    reader: str,
    wait_s: float,
    prometheus: Path | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Say of each device what is wanted and what it says of itself, as its broker holds it.

    Exit code 1 where one does not stand as wanted, or its certificate ends within 30 days.

    \b
    edge-agent fleet status --repo /srv/earshot site=harbour
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.fleet_status import status as command

    if watch:
        from edge_agent.commands.fleet_watch import watch as watching

        if prometheus is not None:
            raise click.UsageError("--prometheus is written once a call: let cron do that.")
        sys.exit(
            watching(
                folder, repo, chosen, SystemClock(), reader=reader, wait_s=wait_s, as_json=as_json
            )
        )
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


@click.command("calibrations")
@CHOSEN
@DIR
@click.option("--reader", metavar="NAME", default="office", show_default=True, help=_READER_HELP)
@WAIT
def calibrations(chosen: tuple[str, ...], folder: Path | None, reader: str, wait_s: float) -> None:
    """Print a CSV of what each microphone's decibels rest on, as its device says.

    Exit code 1 where a device was not heard, or a microphone has no calibration.

    \b
    edge-agent fleet calibrations site=harbour > calibrations.csv
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.calibrations import calibrations as command

    sys.exit(command(folder, chosen, SystemClock(), reader=reader, wait_s=wait_s))


@click.group()
def rollout() -> None:
    """A release given to few devices first, watched, and stopped where it fails."""


@rollout.command("plan")
@REPO
@_FORCE
@DIR
def rollout_plan(repo: Path, force: bool, folder: Path | None) -> None:
    """Print who would be given the folder's release, in which ring; change nothing.

    \b
    edge-agent fleet rollout plan --repo /srv/earshot
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.rollout import plan

    plan(folder, repo, SystemClock(), force=force)


@rollout.command("run")
@_KEYS
@REPO
@click.option("--reader", metavar="NAME", default="rollout", show_default=True, help=_READER_HELP)
@click.option("--go-on", is_flag=True, help="Go on in spite of what stopped it.")
@_FORCE
@click.option(
    "--window",
    type=click.IntRange(0, 86400),
    default=600,
    show_default=True,
    help="Seconds over which devices spread their restarts.",
)
@DIR
def rollout_run(
    keys_folder: Path,
    repo: Path,
    reader: str,
    go_on: bool,
    force: bool,
    window: int,
    folder: Path | None,
) -> None:
    """Begin the rollout of the folder's release, or go on with it, and lead it to its end.

    It may be ended at any moment and goes on where it was. Exit code 1 where it was stopped.

    \b
    edge-agent fleet rollout run --keys keys --repo /srv/earshot
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.rollout import run

    sys.exit(
        run(
            folder,
            keys_folder,
            repo,
            SystemClock(),
            reader=reader,
            force=force,
            go_on=go_on,
            window_s=window,
        )
    )


@rollout.command("status")
@REPO
@click.option("--reader", metavar="NAME", default="office", show_default=True, help=_READER_HELP)
@DIR
def rollout_status(repo: Path, reader: str, folder: Path | None) -> None:
    """Print how the latest rollout stands, by what its devices say now.

    \b
    edge-agent fleet rollout status --repo /srv/earshot
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.rollout import status as command

    sys.exit(command(folder, repo, SystemClock(), reader=reader))


@rollout.command("abort")
@_KEYS
@REPO
@click.option(
    "--window",
    type=click.IntRange(0, 86400),
    default=60,
    show_default=True,
    help="Seconds over which devices spread their restarts.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@DIR
def rollout_abort(
    keys_folder: Path, repo: Path, window: int, dry_run: bool, folder: Path | None
) -> None:
    """Give the devices of the latest rollout what they had before, under a higher number.

    \b
    edge-agent fleet rollout abort --keys keys --repo /srv/earshot
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.rollout import abort

    abort(folder, keys_folder, repo, SystemClock(), window_s=window, dry_run=dry_run)


@click.command("simulate")
@click.argument("devices", type=click.IntRange(1, 100_000), metavar="N")
@click.option(
    "--broker",
    metavar="HOST:PORT",
    help="One that lets everybody in. By default a mosquitto of our own, on loopback.",
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(1, 86400),
    default=60.0,
    show_default=True,
    help="Seconds.",
)
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two level readings of a device.",
)
@click.option(
    "--sirens",
    type=click.FloatRange(0.1, 86400),
    default=60.0,
    show_default=True,
    help="Seconds between two sirens of a device, on average.",
)
@click.option("--storms", type=click.IntRange(0, 100), default=0, help="Cut all lines so often.")
@click.option("--kills", type=click.IntRange(0, 100), default=0, help="Kill our broker so often.")
@click.option("--seed", type=click.IntRange(0, 2**63), default=0, show_default=True)
@JSON
def simulate(
    devices: int,
    broker: str | None,
    seconds: float,
    every: float,
    sirens: float,
    storms: int,
    kills: int,
    seed: int,
    as_json: bool,
) -> None:
    """Play N devices before a broker, and hold what arrives against what was sent, by id.

    \b
    edge-agent fleet simulate 1000 --storms 1 --kills 1
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.simulate import simulate as command
    from edge_agent.fleet.simulate import Wishes

    wishes = Wishes(
        devices=devices,
        seconds=seconds,
        every_s=every,
        sirens_s=sirens,
        storms=storms,
        kills=kills,
        seed=seed,
    )
    sys.exit(command(wishes, broker, SystemClock(), as_json=as_json))
