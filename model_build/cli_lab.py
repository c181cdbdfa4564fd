"""The laboratory's commands of `model-build`; see `cli` for exit codes."""

from pathlib import Path

import click
import msgspec

from model_build.extras import require

CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("classical"),
    show_default=True,
    help="Steps, features and rows: a YAML or JSON file, or the name of a shipped one.",
)
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all draws."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one object, nothing else.")


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@CONFIG
@click.option(
    "--device", is_flag=True, help="Refuse what cannot go into a device bundle, print what does."
)
@JSON
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


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder that the manifests' paths are relative to.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("explore.html"),
    show_default=True,
    help="The page.",
)
@CONFIG
@click.option(
    "--per-class",
    type=click.IntRange(1),
    help="Look at no more clips of each class than these, drawn by the seed. Default: all.",
)
@SEED
@JSON
def explore(
    manifests: tuple[Path, ...],
    root: Path,
    out: Path,
    config_path: Path,
    per_class: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Look at sets of recordings before anything learns from them, and write a page about them.

    Classes, lengths, levels, the same sound twice, what cannot be read, features that say the
    same, and examples of each class.

    \b
    model-build explore urbansound8k.csv --root . --out explore.html
    """
    require("explore", "librosa", "noisereduce", "scipy", "matplotlib")
    from model_build import explore as looking
    from model_build import explore_page, labconfig

    config = labconfig.load(config_path)
    found = looking.explore(manifests, root, config, per_class=per_class, seed=seed)
    explore_page.write(found, root, out)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        print(f"{out}: {len(found.clips)} of {found.rows} clips read, {len(found.unreadable)} not")
