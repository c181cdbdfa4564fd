"""Options and exit codes of `edge-agent`; each command is imported when it is called.

0: done. 1: a check failed, or our mistake (then with a traceback). 2: something that the user can
mend, told in two lines: what is wrong, and what to do.
"""

import errno
import importlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

# Before numpy is imported: on a small machine its threads spin against each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from edge_agent import __version__
from edge_agent.cli_types import Date, Moment, Number, StartTime
from edge_agent.errors import EarshotError

if TYPE_CHECKING:
    from edge_agent.commands.report import Format

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The device's configuration (YAML). Defaults: firmware_configs/base.yaml.",
)
_INSTALLED_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/earshot/agent.yaml"),
    show_default=True,
    help="The device's configuration (YAML).",
)
_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    help="Another system's root, as of an image that is being made. By default this system.",
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_SEED = click.option(
    "--seed", type=click.IntRange(0, 2**63), default=0, show_default=True, help="Makes the ids."
)


_WEEK_S = 7 * 86400
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def _printing() -> Iterator[None]:
    """For commands that are nothing without stdout: it is open, and what fails there is told."""
    if sys.stdout is None:
        raise EarshotError(
            "stdout is closed, and what was heard is printed there",
            hint="Send it to a file, or to /dev/null.",
        )
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        # What still waits has to go somewhere, or the interpreter fails over it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise EarshotError(
            f"the output cannot be written: {error.strerror}",
            hint="Make room there, or send it elsewhere.",
        ) from error


class _WithOffice(click.Group):
    """The commands of this module, and the office's, which are imported when somebody asks."""

    _OFFICE = {  # noqa: RUF012 # never changed
        "config": "cli_office",
        "fleet": "cli_office",
        "update": "cli_update",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._OFFICE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._OFFICE:
            return super().get_command(ctx, cmd_name)
        # By its name, so that the running agent neither loads nor knows it.
        office = importlib.import_module(f"edge_agent.{self._OFFICE[cmd_name]}")
        command: click.Command = getattr(office, cmd_name)
        return command


@click.group(cls=_WithOffice)
@click.version_option(__version__, prog_name="edge-agent")
def cli() -> None:
    """Earshot's agent: sound in; levels, events and alerts out over MQTT; never audio."""


@cli.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The device's configuration (YAML).",
)
def run(config_path: Path) -> None:
    """Listen and publish until stopped: the service.

    \b
    edge-agent run --config /etc/earshot/agent.yaml
    """
    from edge_agent.commands.run import run

    sys.exit(run(config_path))


@cli.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    # One that cannot be read is told of after the others were done.
    type=click.Path(path_type=Path, readable=False),
)
@_CONFIG
@click.option(
    "--start",
    "start_ns",
    type=StartTime(),
    default="1970-01-01T00:00:00Z",
    show_default=True,
    help="Time of each file's first sample.",
)
@_SEED
@click.option(
    "--explain",
    is_flag=True,
    help="Say why: which rule held back what came near, or let it through; no messages then.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one message a line, nothing else.")
def replay(
    files: tuple[Path, ...],
    config_path: Path | None,
    start_ns: int,
    seed: int,
    explain: bool,
    as_json: bool,
) -> None:
    """Run recordings through the agent's own path, faster than real time.

    Prints what `run` would publish for each file, as a timeline or as JSON lines. WAV, FLAC and
    Ogg of any rate and channel count.

    \b
    edge-agent replay street.flac
    edge-agent replay street.flac --json | jq .payload.LAeq_dbfs
    edge-agent replay street.flac --explain
    """
    from edge_agent.commands.replay import replay

    with _printing():
        code = replay(
            files, config_path, start_ns=start_ns, seed=seed, as_json=as_json, explain=explain
        )
    sys.exit(code)


@cli.command()
@click.option(
    "--seconds",
    type=Number(1, _WEEK_S),
    help="Stop after this much sound; by default the scene is played once.",
)
@click.option("--mic", is_flag=True, help="Listen to the microphone instead of the scene.")
@_CONFIG
@_SEED
@click.option("--json", "as_json", is_flag=True, help="Print one message a line, then a summary.")
def demo(
    seconds: float | None, mic: bool, config_path: Path | None, seed: int, as_json: bool
) -> None:
    """Play a street scene through model and broker, and show what arrives.

    The broker runs in this process, on loopback. At the end it says which sounds of the scene
    were heard, which were missed and which events were false.

    \b
    edge-agent demo
    edge-agent demo --mic --seconds 60
    """
    from edge_agent.commands.demo import demo

    with _printing():
        code = demo(seconds=seconds, mic=mic, as_json=as_json, seed=seed, config_path=config_path)
    sys.exit(code)


@cli.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The device's configuration (YAML). By default /etc/earshot/agent.yaml.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one object, nothing else.")
def doctor(config_path: Path | None, as_json: bool) -> None:
    """Look at all that the agent needs, and say what to do.

    Machine, clock, disk, permissions, service, model, microphones and broker. Exit code 1 when
    something is at fault.

    \b
    edge-agent doctor
    sudo edge-agent doctor --config /etc/earshot/agent.yaml
    """
    from edge_agent.commands.doctor import doctor

    with _printing():
        code = doctor(config_path, as_json=as_json)
    sys.exit(code)


@cli.command()
@_ROOT
@_DRY_RUN
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Becomes /etc/earshot/agent.yaml, unless there is one; by default a commented sample.",
)
def install(root: Path, dry_run: bool, config_path: Path | None) -> None:
    """Put the systemd service in place, to run from the next boot on.

    It may be done again at any time; a file that was changed by hand is left alone.

    \b
    edge-agent install --dry-run
    """
    from edge_agent.commands.install import install

    install(root, config_path, dry_run=dry_run)


@cli.command()
@_ROOT
@_DRY_RUN
def uninstall(root: Path, dry_run: bool) -> None:
    """Take away what install put there; configuration, credentials and state stay.

    \b
    edge-agent uninstall --dry-run
    """
    from edge_agent.commands.install import uninstall

    uninstall(root, dry_run=dry_run)


@cli.command()
@_ROOT
@click.option("--boot", type=click.Path(path_type=Path), help="By default /boot/firmware there.")
@_DRY_RUN
def unseed(root: Path, boot: Path | None, dry_run: bool) -> None:
    """Take a seed's secrets from the boot partition, once the device has them.

    The service does it at its first good start.

    \b
    edge-agent unseed --dry-run
    """
    from edge_agent.commands.unseed import unseed

    unseed(root, boot, dry_run=dry_run)


@cli.command()
@_INSTALLED_CONFIG
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="The folder of store.db, as of a card that was taken out. By default the configured one.",
)
@click.option("--microphone", help="Which; needed where there are several.")
@click.option("--from", "first", type=Moment(), required=True, help="A local date, or an instant.")
@click.option("--to", "last", type=Moment(), required=True, help="The same; a date is included.")
@click.option("--zone", help="Time zone, as Europe/Berlin. By default that of the site.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "csv", "json", "fiware"]),
    default="html",
    show_default=True,
    help="A page, hours as a table, everything, or NoiseLevelObserved entities a line.",
)
def report(
    config_path: Path,
    state_dir: Path | None,
    microphone: str | None,
    first: date | datetime,
    last: date | datetime,
    zone: str | None,
    kind: "Format",
) -> None:
    """Tell what this device measured and heard, from its own record.

    Works beside the running agent. Levels, events, the week by hours, and how much of the time
    was heard.

    \b
    edge-agent report --from 2026-06-01 --to 2026-06-07 --zone Europe/Berlin > week.html
    edge-agent report --from 2026-06-01 --to 2026-06-01 --format csv
    """
    from edge_agent.commands.report import report

    with _printing():
        print(report(config_path, state_dir, microphone, first, last, zone, kind), end="")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one device a line, nothing else.")
def devices(as_json: bool) -> None:
    """List what a microphone's `device` can be, by names that outlast a reboot.

    With the rates that the hardware takes; behind a plugin, which takes any, with its name.

    \b
    edge-agent devices
    edge-agent devices --json | jq -r .device
    """
    from edge_agent.commands.devices import show_devices

    with _printing():
        code = show_devices(as_json=as_json)
    sys.exit(code)


@cli.command()
@_INSTALLED_CONFIG
@click.option("--microphone", metavar="NAME", help="Which; may be left out where there is one.")
@click.option("--level", type=Number(60, 140), help="dB SPL that the calibrator gives.")
@click.option(
    "--frequency",
    type=Number(31.5, 16000),
    default=1000.0,
    show_default=True,
    help="Hz that the calibrator gives.",
)
@click.option("--offset", type=Number(-300, 300), help="dB SPL of a full-scale sine, if known.")
@click.option(
    "--source", type=click.Choice(["laboratory", "datasheet"]), help="Where --offset is from."
)
@click.option("--date", "day", type=Date(), help="UTC day of the calibration; by default today.")
@click.option("--operator", help="Who did it.")
@click.option("--note", help="Anything worth knowing later.")
@click.option("--force", is_flag=True, help="Take an offset far from the last one; needs --note.")
@_DRY_RUN
def calibrate(
    config_path: Path,
    microphone: str | None,
    level: float | None,
    frequency: float,
    offset: float | None,
    source: Literal["laboratory", "datasheet"] | None,
    day: str | None,
    operator: str | None,
    note: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Find what turns a microphone's dBFS into dB, from a calibrator's tone.

    Press the calibrator on, switch it on, and call this: it listens for 12 s, refuses a tone that
    is in doubt, and writes calibration.json in the state folder. The service must not hold the
    microphone meanwhile.

    \b
    edge-agent calibrate --level 94 --frequency 1000 --note "mast, 4 m"
    edge-agent calibrate --offset 119.6 --source laboratory --date 2026-03-01
    """
    if force and not note:
        raise click.UsageError("--force needs a --note that says why.")
    from edge_agent.clock import SystemClock
    from edge_agent.commands import calibrate as command

    by: command.Calibrator | command.Known
    if level is not None and offset is None and source is None:
        by = command.Calibrator(level_db=level, frequency_hz=frequency)
    elif level is None and offset is not None and source is not None:
        by = command.Known(offset_db=offset, source=source)
    else:
        raise click.UsageError("Give --level for a calibrator, or --offset with its --source.")
    remarks = command.Remarks(date=day, operator=operator, note=note)
    with _printing():
        code = command.calibrate(
            config_path, microphone, by, remarks, SystemClock(), force=force, dry_run=dry_run
        )
    sys.exit(code)


def main() -> None:
    """Run the command line; what the user can mend ends with two lines and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A bar or a file's name that the terminal cannot show is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    try:
        cli()
    except EarshotError as error:
        print(f"edge-agent: {error.message}\n  {error.hint}", file=sys.stderr)
        sys.exit(2)
