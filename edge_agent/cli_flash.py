"""The options of `fleet identity`, `broker`, `flash`, `try`, `decommission`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_agent.cli_options import DIR, REPO, WAIT

if TYPE_CHECKING:
    from edge_agent.fleet.seed import System

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_PATH = click.Path(path_type=Path)
_MOST_DAYS = 825


@click.group()
def identity() -> None:
    """Keys and certificates of devices, brokers and listeners, by openssl."""


@identity.command("init")
@DIR
@click.option("--name", help="In the authority's certificate; by default the folder's.")
def identity_init(folder: Path | None, name: str | None) -> None:
    """Make the fleet's own authority; its key is kept encrypted.

    \b
    edge-agent fleet identity init
    """
    from edge_agent.commands.identity import init

    init(folder, name)


@identity.command("issue")
@click.argument("chosen", nargs=-1, metavar="[DEVICES]...")
@DIR
@click.option("--broker", "hosts", multiple=True, metavar="HOST", help="A broker's, by its name.")
@click.option(
    "--reader", "readers", multiple=True, metavar="NAME", help="A listener's: city, panel."
)
@click.option(
    "--days",
    type=click.IntRange(1, _MOST_DAYS),
    default=_MOST_DAYS,
    show_default=True,
    help="How long it holds.",
)
@click.option("--renew", is_flag=True, help="Also for those who have one.")
@_DRY_RUN
def identity_issue(
    chosen: tuple[str, ...],
    folder: Path | None,
    hosts: tuple[str, ...],
    readers: tuple[str, ...],
    days: int,
    renew: bool,
    dry_run: bool,
) -> None:
    """Give a key and a certificate to each device that has none, or whose one ends soon.

    \b
    edge-agent fleet identity issue
    edge-agent fleet identity issue --broker mq.example.org --reader city
    """
    from edge_agent.commands.identity import issue

    issue(folder, chosen, hosts, readers, days=days, renew=renew, dry_run=dry_run)


@identity.command("revoke")
@click.argument("name")
@DIR
@click.option("--broker", "kind", flag_value="brokers", help="NAME is a broker.")
@click.option("--reader", "kind", flag_value="readers", help="NAME is a listener.")
def identity_revoke(name: str, folder: Path | None, kind: str | None) -> None:
    """Take a certificate's worth away, of a device by default.

    \b
    edge-agent fleet identity revoke harbour-07
    """
    from edge_agent.commands.identity import revoke

    if kind == "brokers":
        revoke(folder, name, kind="brokers")
    elif kind == "readers":
        revoke(folder, name, kind="readers")
    else:
        revoke(folder, name, kind="devices")


@click.command("decommission")
@click.argument("name", metavar="DEVICE")
@DIR
@click.option(
    "--reader",
    default="office",
    show_default=True,
    metavar="NAME",
    help="Who looks what the broker keeps.",
)
@WAIT
@click.option("--force", is_flag=True, help="Also while the device is connected.")
@_DRY_RUN
def decommission(
    name: str, folder: Path | None, reader: str, wait_s: float, force: bool, dry_run: bool
) -> None:
    """End a device: nothing of it is kept at its broker, and its certificate is worth nothing.

    \b
    edge-agent fleet decommission harbour-07 --dry-run
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.decommission import decommission

    decommission(
        folder, name, SystemClock(), reader=reader, wait_s=wait_s, force=force, dry_run=dry_run
    )


@click.command("broker")
@click.argument("host", required=False)
@DIR
@click.option(
    "--format",
    "_kind",
    type=click.Choice(["mosquitto"]),
    default="mosquitto",
    show_default=True,
    help="Whose files.",
)
@click.option("--out", type=_PATH, required=True, help="A folder.")
@click.option(
    "--at",
    "place",
    default="/etc/mosquitto/earshot",
    show_default=True,
    help="Where the files will be on the broker's machine.",
)
@_DRY_RUN
def broker(
    host: str | None, folder: Path | None, _kind: str, out: Path, place: str, dry_run: bool
) -> None:
    """Write a listener with mutual TLS, the access list, and what they need, for a mosquitto.

    \b
    edge-agent fleet broker --out broker
    """
    from edge_agent.commands.identity import broker

    broker(folder, host, out, place, dry_run=dry_run)


@click.command("flash")
@click.argument("chosen", nargs=-1, required=True, metavar="DEVICES...")
@DIR
@click.option("--boot", type=_PATH, help="Where a card's boot partition is mounted.")
@click.option("--image", type=_PATH, help="An image of a card; the copy with the seed is --out.")
@click.option("--out", type=_PATH, help="With --image a file, without it a folder.")
@click.option(
    "--system",
    type=click.Choice(["raspios", "ubuntu"]),
    help="What the card must hold. For folders, where nothing can be looked at: raspios.",
)
@_DRY_RUN
def flash(
    chosen: tuple[str, ...],
    folder: Path | None,
    boot: Path | None,
    image: Path | None,
    out: Path | None,
    system: "System | None",
    dry_run: bool,
) -> None:
    """Write the seed by which a fresh card becomes a device; never to a block device.

    Onto a mounted boot partition, into a copy of an image, or into folders.

    \b
    edge-agent fleet flash harbour-07 --boot /media/me/bootfs
    edge-agent fleet flash harbour-07 --image raspios.img --out card.img
    edge-agent fleet flash 'harbour-*' --out cards
    """
    from edge_agent.commands import flash as command

    places = (boot is not None, image is not None, out is not None)
    if places in ((True, False, False), (False, True, True)) and len(chosen) > 1:
        raise click.UsageError("A card is one device: name one.")
    if boot is not None and places == (True, False, False):
        command.onto_boot(folder, chosen[0], boot, system, dry_run=dry_run)
    elif image is not None and out is not None and boot is None:
        command.into_image(folder, chosen[0], image, out, system, dry_run=dry_run)
    elif out is not None and places == (False, False, True):
        command.into_folder(folder, chosen, out, system or "raspios", dry_run=dry_run)
    else:
        raise click.UsageError("Give --boot DIR, or --image FILE and --out FILE, or --out DIR.")


@click.command("try")
@click.argument("device")
@REPO
@click.option("--out", type=_PATH, required=True, help="A folder for what the device keeps.")
@DIR
def try_device(device: str, repo: Path, out: Path, folder: Path | None) -> None:
    """Play one device on this machine, until Ctrl-C.

    It runs the agent, and takes what is published as soon as it is. Again with the same --out, it
    goes on where it was.

    \b
    edge-agent fleet try laptop-01 --repo /srv/earshot --out /tmp/laptop-01
    """
    from edge_agent.clock import SystemClock
    from edge_agent.commands.trying import try_device

    try_device(folder, device, repo, out, SystemClock())
