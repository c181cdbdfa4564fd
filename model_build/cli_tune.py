"""The command of `model-build` that searches settings; see `cli` for exit codes."""

from pathlib import Path
from typing import Literal

import click
import msgspec

from model_build.cli_lab import CONFIG, JSON, SEED
from model_build.cli_models import (
    CACHE,
    DATA,
    MODELS,
    PER_CLASS,
    QUICK,
    YAMNET,
    require_laboratory,
    typed,
)
from model_build.extras import require


@click.command()
@click.argument(
    "model",
    type=click.Choice(MODELS),
)
@click.option(
    "--search",
    "how",
    type=click.Choice(["grid", "random", "tpe"]),
    default="tpe",
    show_default=True,
    help="Every point of the grid, at random, or by what did well so far (TPE).",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Of the whole study, what was tried before included; a grid ends with its last point.",
)
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    help="Settings and their ranges: a YAML or JSON file. Default: the model's shipped one.",
)
@click.option(
    "--task",
    type=click.Choice(["urbansound8k", "esc50", "music_speech_noise"]),
    default="urbansound8k",
    show_default=True,
    help="Whose clips and folds.",
)
@click.option("--against-rest", metavar="LABEL", help="Two classes: this label, and the rest.")
@click.option(
    "--hold-out", metavar="FOLD", type=int, help="Judges what was chosen. Default: the last fold."
)
@click.option(
    "--storage",
    metavar="URL",
    help="Where Optuna keeps the study, to go on with or share it. Default: nowhere.",
)
@click.option("--study", help="Its name there. Default: of task, model, search and seed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file of settings; a page lies beside it. Default: MODEL.yaml.",
)
@DATA
@CONFIG
@CACHE
@YAMNET
@PER_CLASS
@QUICK
@SEED
@JSON
def tune(
    model: str,
    how: Literal["grid", "random", "tpe"],
    trials: int,
    space: Path | None,
    task: str,
    against_rest: str | None,
    hold_out: int | None,
    storage: str | None,
    study: str | None,
    out: Path | None,
    data: Path,
    config_path: Path,
    cache: Path,
    yamnet: Path | None,
    per_class: int | None,
    quick: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Search a model's settings, and write the best ones as a file that `compare` reads.

    Cross-validated by recording on all folds but one; that one judges what was chosen, beside the
    model's own settings.

    \b
    model-build tune svm --data ../shared/data --storage sqlite:///svm.db
    """
    require_laboratory("tune")
    require("tune", "optuna", "matplotlib")
    from model_build import settingsfile, spaces, tuning, tuning_page
    from model_build.laboratory import Laboratory, Question

    axes = spaces.load(space or spaces.shipped(model))
    question = Question(
        task=task,
        data=data,
        cache=cache,
        against_rest=against_rest,
        per_class=per_class,
        seed=seed,
        quick=quick,
        yamnet=yamnet,
        command=typed("tune"),
    )
    plan = tuning.Plan(
        model=model,
        rows=str(config_path),
        space=axes,
        how=how,
        trials=trials,
        held_out=hold_out,
        storage=storage,
        study=study,
    )
    found = tuning.tune(Laboratory(question), plan)
    out = out or Path(f"{model}.yaml")
    settingsfile.write(found.chosen, out)
    tuning_page.write(found, out.with_suffix(".html"))
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        print(tuning_page.as_text(found))
        print(f"{out}: what `compare --settings` reads; {out.with_suffix('.html')}: the page")
