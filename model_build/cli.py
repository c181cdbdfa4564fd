"""Options and exit codes of `model-build`; each command is imported when it is called.

0: done. 1: our mistake, with a traceback. 2: something that the user can mend, told in two lines.
"""

import io
import logging
import os
import sys
from pathlib import Path

# Before numpy is imported: on a small machine its threads spin against each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click
import msgspec

from edge_agent import __version__, resources
from edge_agent.errors import EarshotError
from model_build import cli_data, cli_lab, cli_models, cli_report, cli_tune
from model_build.extras import require

_NETWORK = click.option(
    "--network",
    type=click.Choice(["dnn", "cnn", "cnn_lstm"]),
    required=True,
    help="Which of the table in model_build/networks.py.",
)
_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="EARSHOT_DATA",
    required=True,
    show_envvar=True,
    help="The folder of recordings with their manifests.",
)
_CACHE = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(".cache"),
    show_default=True,
    help="For features, and for runs that were cut off.",
)
_SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all draws."
)
_YAMNET = click.option(
    "--yamnet",
    type=click.Path(path_type=Path),
    help="Learn from this teacher, too: a YAMNet .tflite with embeddings.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one object, nothing else.")


@click.group()
@click.version_option(__version__, prog_name="model-build")
def cli() -> None:
    """Earshot's laboratory: from recordings to the bundle that the agent runs."""


@cli.command()
@_NETWORK
@_DATA
@_CACHE
@_SEED
@_YAMNET
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path),
    help="What `tune` chose for this network, instead of its own plan.",
)
def train(
    network: str,
    data: Path,
    cache: Path,
    seed: int,
    yamnet: Path | None,
    settings_file: Path | None,
) -> None:
    """Train a street network; an interrupted run goes on where it stopped.

    \b
    model-build train --network cnn --data ../shared/data
    """
    _require_training()
    from model_build import settingsfile
    from model_build.runs import train_street

    typed = _typed("train", network, seed, yamnet)
    chosen = None
    if settings_file is not None:
        chosen = settingsfile.read(settings_file, network).settings
        typed += f" --settings {settings_file.name}"
    train_street(network, data, cache, seed, typed, yamnet_file=yamnet, chosen=chosen)


@cli.command()
@_NETWORK
@_DATA
@_CACHE
@_SEED
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The bundle's folder, models/street for the default one.",
)
@click.option(
    "--legacy-python",
    type=click.Path(path_type=Path),
    default=Path(".venv-legacy/bin/python"),
    show_default=True,
    help="An interpreter with tflite-runtime 2.14 (extra `legacy`).",
)
def quantise(
    network: str,
    data: Path,
    cache: Path,
    seed: int,
    out: Path,
    legacy_python: Path,
) -> None:
    """Convert a trained network to int8, pass it through the gates, write its bundle.

    What `folds` found with the same cache goes into the model card.

    \b
    model-build quantise --network cnn --data ../shared/data --out models/street
    """
    _require_training()
    from model_build.release import bundle_street

    typed = _typed("quantise", network, seed)
    bundle = bundle_street(network, data, cache, seed, out, legacy_python, typed)
    for metric in bundle.record.metrics:
        print(f"{metric.value:6.2f}  {metric.metric} ({metric.split})")
    print(f"{out}: {bundle.record.model_bytes} bytes, sha256 {bundle.model_sha256}")


@cli.command()
@click.option(
    "--task",
    type=click.Choice(["urbansound8k", "esc50"]),
    default="urbansound8k",
    show_default=True,
    help="Whose folds.",
)
@_NETWORK
@_DATA
@_CACHE
@_SEED
@_YAMNET
@_JSON
def folds(
    task: str,
    network: str,
    data: Path,
    cache: Path,
    seed: int,
    yamnet: Path | None,
    as_json: bool,
) -> None:
    """Retrain a network on all but one of a task's folds, for each fold, and judge it by that one.

    UrbanSound8K gets a random split as well. It flatters, since slices of one recording stand on
    both its sides.

    \b
    model-build folds --network cnn --data ../shared/data
    """
    _require_training()
    from model_build import fold_results
    from model_build import folds as folds_of
    from model_build.tasks import TASKS

    typed = _typed(f"folds --task {task}", network, seed, yamnet)
    result = folds_of.run(TASKS[task], network, data, cache, seed, typed, yamnet)
    fold_results.keep(result, cache)
    if as_json:
        print(msgspec.json.encode(result).decode())
        return
    for name, accuracy in result.folds.items():
        print(f"{name:12} {accuracy:5.1f} % of clips")
    print(f"{'mean':12} {result.mean:5.1f} %, spread {result.spread:.1f}, {result.clips} clips")
    if result.random is not None:
        print(
            f"{'random clips':12} {result.random:5.1f} % of {result.random_clips}, which flatters"
        )
    for skip in result.skipped:
        print(f"skipped {skip.path}: {skip.reason}")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="CSV: path,label.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder that the manifest's paths are relative to.",
)
@click.option("--fold", type=int, help="Only the clips of this fold.")
@click.option("--map", "renamed", help="The manifest's labels to the model's: theirs=ours,...")
@click.option("--plots", type=click.Path(path_type=Path), help="A folder for two pictures.")
@_JSON
def evaluate(
    model: Path,
    manifest: Path,
    root: Path,
    fold: int | None,
    renamed: str | None,
    plots: Path | None,
    as_json: bool,
) -> None:
    """Judge a bundle by recordings, through the device's own front end and classifier.

    A MODEL that is not there is looked for among what is shipped, like models/street.

    \b
    model-build evaluate models/street --manifest clips.csv --root . --fold 3
    """
    if plots:
        require("--plots", "matplotlib")
    from model_build import evaluate as judge
    from model_build import evaluate_report

    labels = judge.parse_map(renamed) if renamed else None
    shipped = resources.root() / model
    bundle = shipped if not model.exists() and shipped.exists() else model
    found = judge.evaluate(bundle, manifest, root, fold=fold, renamed=labels)
    if plots:
        from model_build.plots.clips import draw

        draw(found, plots)
    print(evaluate_report.as_json(found) if as_json else evaluate_report.as_text(found))


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@_DATA
@click.option(
    "--false-alarms-per-day",
    "budget_per_day",
    type=click.FloatRange(0, 1e6, min_open=True),
    default=10.0,
    show_default=True,
    help="False alarms that are allowed, all labels together.",
)
@click.option(
    "--ambient",
    type=click.Path(path_type=Path),
    help="A folder of your own recordings in which none of the sounds is heard.",
)
@_SEED
@click.option("--plots", type=click.Path(path_type=Path), help="A folder for a picture a label.")
@click.option(
    "--curves",
    type=click.Path(path_type=Path),
    help="A file for recall against false alarms, which `report` shows.",
)
@click.option("--dry-run", is_flag=True, help="Leave the bundle as it is.")
@_JSON
def certify(
    model: Path,
    data: Path,
    budget_per_day: float,
    ambient: Path | None,
    seed: int,
    plots: Path | None,
    curves: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Choose a bundle's thresholds for a budget of false alarms, and write them into it.

    They are chosen on validation recordings and judged once on the test's; docs/certify.md says
    what the figures mean.

    \b
    model-build certify models/street --data ../shared/data --false-alarms-per-day 10
    """
    require("certify", "scipy", "sed_scores_eval", *(["matplotlib"] if plots else []))
    from model_build import certify as judge
    from model_build import certify_report

    typed = (
        f"model-build certify {model.name} --false-alarms-per-day {budget_per_day:g} --seed {seed}"
        + (f" --ambient {ambient.name}" if ambient else "")
    )
    found, listeners = judge.certify(
        model,
        data,
        budget_per_day=budget_per_day,
        seed=seed,
        ambient=ambient,
        command=typed,
        write=not dry_run,
    )
    if curves:
        from model_build import operating

        operating.write(operating.curves(found, listeners, typed), curves)
    if plots:
        from model_build.plots.delay import draw

        draw(listeners, list(found.chosen.values()), plots)
    print(certify_report.as_json(found) if as_json else certify_report.as_text(found))


def _typed(command: str, network: str, seed: int, yamnet: Path | None = None) -> str:
    """The command as the card shows it: without folders, which are this machine's own."""
    taught = f" --yamnet {yamnet.name}" if yamnet else ""
    return f"model-build {command} --network {network} --seed {seed}{taught}"


def _require_training() -> None:
    require("this command", "tensorflow")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@_DATA
@_SEED
@click.option("--plots", type=click.Path(path_type=Path), help="A folder for a picture each.")
@_JSON
def robustness(model: Path, data: Path, seed: int, plots: Path | None, as_json: bool) -> None:
    """Judge a bundle by test scenes at other levels, in noise, clipped, through worse microphones.

    \b
    model-build robustness models/street --data ../shared/data --plots plots
    """
    require("robustness", "scipy", "sed_scores_eval", *(["matplotlib"] if plots else []))
    from model_build import robustness as judge
    from model_build import robustness_report

    found = judge.robustness(model, data, seed=seed)
    if plots:
        from model_build.plots.curves import draw

        draw(found, plots)
    print(robustness_report.as_json(found) if as_json else robustness_report.as_text(found))


for command in (
    cli_data.data,
    cli_lab.prepare,
    cli_lab.explore,
    cli_models.compare,
    cli_models.preset,
    cli_report.report,
    cli_tune.tune,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; what the user can mend ends with two lines and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name that the terminal cannot show is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    try:
        cli()
    except EarshotError as error:
        _refuse(error.message, error.hint)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(
            f"{error.filename}: {error.strerror}",
            "Check the path, who may read and write it, and the space that is left there.",
        )


def _refuse(message: str, hint: str) -> None:
    print(f"model-build: {message}\n  {hint}", file=sys.stderr)
    sys.exit(2)
