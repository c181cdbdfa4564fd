"""The laboratory's commands of `model-build`; see `cli` for exit codes."""

from pathlib import Path

import click
import msgspec

from model_build.extras import require

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("classical"),
    show_default=True,
    help="Steps, features and rows: a YAML or JSON file, or the name of a shipped one.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one object, nothing else.")


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@_CONFIG
@click.option(
    "--device", is_flag=True, help="Refuse what cannot go into a device bundle, print what does."
)
@_JSON
def prepare(recording: Path, config_path: Path, device: bool, as_json: bool) -> None:
    """Take a recording through a configuration's steps and features, and say what each made of it.

    \b
    model-build prepare street.flac --config zoo
    """
    require("prepare", "librosa", "noisereduce")
    from model_build import describe, devicefit, labconfig

    config = labconfig.load(config_path)
    if device:
        print(msgspec.json.encode(devicefit.frontend(config)).decode())
        return
    found = describe.describe(recording, config)
    print(msgspec.json.encode(found).decode() if as_json else describe.as_text(found))
