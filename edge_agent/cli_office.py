"""The options of `edge-agent config` and `edge-agent fleet`; see `cli` for exit codes.

1 means findings, or differences that were asked about.
"""

import sys
from pathlib import Path

import click

from edge_agent import cli_publish, cli_rollout, cli_update
from edge_agent.cli_flash import broker, decommission, flash, identity, try_device
from edge_agent.cli_options import CHOSEN, DIR, JSON

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/earshot/agent.yaml"),
    show_default=True,
    help="The device's configuration.",
)
_DEVICE = click.option("--device", required=True, help="Of the inventory.")


@click.group()
def config() -> None:
    """One device's configuration: check it, show it, say where a value comes from."""


@config.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@JSON
def config_check(files: tuple[Path, ...], as_json: bool) -> None:
    """Find everything in configurations that the agent would refuse.

    \b
    edge-agent config check device.yaml
    """
    from edge_agent.commands.config import check

    sys.exit(check(files, as_json=as_json))


@config.command("show")
@_CONFIG
@JSON
def config_show(config_path: Path, as_json: bool) -> None:
    """Print every setting in force, and whether the file or a default says so.

    \b
    edge-agent config show --config device.yaml
    """
    from edge_agent.commands.config import show

    show(config_path, as_json=as_json)


@config.command("explain")
@click.argument("key")
@_CONFIG
def config_explain(key: str, config_path: Path) -> None:
    """Say where a setting, or each setting below it, comes from.

    \b
    edge-agent config explain mqtt --config device.yaml
    """
    from edge_agent.commands.config import explain

    explain(key, config_path)


@config.command("schema")
@click.option("--layer", is_flag=True, help="Of a fleet's layer instead of a whole file.")
def config_schema(layer: bool) -> None:
    """Print the JSON Schema of a configuration, for editors.

    \b
    edge-agent config schema --layer
    """
    from edge_agent.commands.fleet import schema

    schema("layer" if layer else "config")


for _command in (cli_update.status, cli_update.rollback, cli_update.confirm, cli_update.guard):
    config.add_command(_command)


@click.group()
def fleet() -> None:
    """Many devices in one folder: layers of settings, an inventory, what each device gets.

    DEVICES are names, with * and ?, or site=NAME, group=, ring=, board=, mic=; all must fit.
    """


@fleet.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def fleet_init(folder: Path) -> None:
    """Make a sample folder, valid as it is.

    \b
    edge-agent fleet init my-fleet
    """
    from edge_agent.commands.fleet import init

    init(folder)


@fleet.command("check")
@DIR
@JSON
@click.option("--github", is_flag=True, help="Print annotations for GitHub's checks.")
def fleet_check(folder: Path | None, as_json: bool, github: bool) -> None:
    """Find everything that is wrong, with its place and how many devices it hits.

    Exit code 1 when there are errors; warnings leave it 0.

    \b
    edge-agent fleet check
    """
    from edge_agent.commands.fleet import check

    if github:
        sys.exit(check(folder, "github"))
    sys.exit(check(folder, "json" if as_json else "text"))


@fleet.command("list")
@CHOSEN
@DIR
@JSON
@click.option("--ansible", is_flag=True, help="Print what Ansible's inventory scripts print.")
def fleet_list(chosen: tuple[str, ...], folder: Path | None, as_json: bool, ansible: bool) -> None:
    """List the devices with the layers that make them.

    \b
    edge-agent fleet list site=harbour ring=canary
    """
    from edge_agent.commands.fleet import inventory, listing

    if ansible:
        inventory(folder, chosen)
    else:
        listing(folder, chosen, as_json=as_json)


@fleet.command("show")
@click.argument("device")
@DIR
@JSON
def fleet_show(device: str, folder: Path | None, as_json: bool) -> None:
    """Print a device's merged settings, each with its file, line and column.

    \b
    edge-agent fleet show harbour-01
    """
    from edge_agent.commands.fleet import show

    show(folder, device, as_json=as_json)


@fleet.command("explain")
@click.argument("key", required=False)
@_DEVICE
@DIR
@JSON
def fleet_explain(key: str | None, device: str, folder: Path | None, as_json: bool) -> None:
    """Say which files had a say in a setting of a device, the one in force first.

    \b
    edge-agent fleet explain mqtt.host --device harbour-01
    """
    from edge_agent.commands.fleet import explain

    explain(folder, device, key or "", as_json=as_json)


@fleet.command("diff")
@click.argument("revision", default="HEAD")
@CHOSEN
@DIR
@click.option("--key", help="Only this setting and what is below it.")
@click.option("--exit-code", "by_code", is_flag=True, help="End with 1 when something differs.")
@JSON
def fleet_diff(
    revision: str,
    chosen: tuple[str, ...],
    folder: Path | None,
    key: str | None,
    by_code: bool,
    as_json: bool,
) -> None:
    """Say what the folder changes on which devices, against a revision of git (HEAD by default).

    \b
    edge-agent fleet diff v41 site=harbour
    """
    from edge_agent.commands.fleet import diff

    sys.exit(diff(folder, revision, chosen, key=key, by_code=by_code, as_json=as_json))


@fleet.command("render")
@CHOSEN
@DIR
@click.option("--out", type=click.Path(path_type=Path), help="By default build/ in the folder.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def fleet_render(
    chosen: tuple[str, ...], folder: Path | None, out: Path | None, dry_run: bool
) -> None:
    """Write config.json and release.json of each device; the same folder gives the same bytes.

    \b
    edge-agent fleet render --out build
    """
    from edge_agent.commands.fleet import render

    sys.exit(render(folder, out, chosen, dry_run=dry_run))


@fleet.command("schema")
@click.argument("name", type=click.Choice(["config", "layer", "fleet", "plan"]), default="layer")
def fleet_schema(name: str) -> None:
    """Print the JSON Schema of a layer, of fleet.yaml, of a plan or of a whole configuration.

    \b
    edge-agent fleet schema fleet
    """
    from edge_agent.commands.fleet import schema

    schema(name)


for _command in (
    identity,
    broker,
    flash,
    try_device,
    cli_publish.keys,
    cli_publish.publish,
    decommission,
    cli_rollout.status,
    cli_rollout.calibrations,
    cli_rollout.rollout,
    cli_rollout.simulate,
):
    fleet.add_command(_command)
