"""The commands of `model-build` that compare models; see `cli` for exit codes."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from model_build.cli_lab import CONFIG, JSON, SEED
from model_build.extras import require

if TYPE_CHECKING:
    from model_build.comparing import Export
    from model_build.results import Result

MODELS = (
    "svm", "forest", "boosting", "xgboost",
    "dnn", "lstm", "gru", "cnn1d", "cnn", "cnn_lstm", "yamnet",
)  # fmt: skip
"""As `labmodels` has them, which takes long to import."""

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="EARSHOT_DATA",
    required=True,
    show_envvar=True,
    help="The folder of recordings with their manifests.",
)
CACHE = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(".cache"),
    show_default=True,
    help="For features, answers, unfinished trainings and, in `results`, what came out.",
)
PER_CLASS = click.option(
    "--per-class",
    type=click.IntRange(1),
    help="No more clips of each class in each fold than these: a quick look. Default: all.",
)
QUICK = click.option(
    "--quick",
    is_flag=True,
    help="Networks learn for two short epochs, to see that everything runs.",
)
_SETTINGS = click.option(
    "--settings",
    "settings_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Also train a model with what `tune` chose; may be given more than once.",
)
_EXPORT = click.option(
    "--export",
    type=click.Path(path_type=Path),
    help="Write a bundle of each network that the device can run, below this folder.",
)
_LEGACY = click.option(
    "--legacy-python",
    type=click.Path(path_type=Path),
    default=Path(".venv-legacy/bin/python"),
    show_default=True,
    help="An interpreter with tflite-runtime 2.14 (extra `legacy`), for --export.",
)
YAMNET = click.option(
    "--yamnet",
    type=click.Path(path_type=Path),
    help="A YAMNet .tflite with embeddings, which transfer learning learns from.",
)


@click.command()
@click.option(
    "--task",
    type=click.Choice(["urbansound8k", "esc50", "music_speech_noise"]),
    default="urbansound8k",
    show_default=True,
    help="Whose clips and folds.",
)
@click.option(
    "--model",
    "models",
    type=click.Choice([*MODELS, "ensemble"]),
    multiple=True,
    help="Only this one; may be given more than once. Default: all, yamnet if its file is given.",
)
@click.option(
    "--member",
    "members",
    type=click.Choice(MODELS[1:]),
    multiple=True,
    help="Of the ensemble; may be given more than once. Default: xgboost, cnn, cnn_lstm.",
)
@click.option("--against-rest", metavar="LABEL", help="Two classes: this label, and the rest.")
@DATA
@CONFIG
@_SETTINGS
@CACHE
@YAMNET
@_EXPORT
@_LEGACY
@PER_CLASS
@QUICK
@SEED
@JSON
def compare(
    task: str,
    models: tuple[str, ...],
    members: tuple[str, ...],
    against_rest: str | None,
    data: Path,
    config_path: Path,
    settings_files: tuple[Path, ...],
    cache: Path,
    yamnet: Path | None,
    export: Path | None,
    legacy_python: Path,
    per_class: int | None,
    quick: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Train models on a task, all by one protocol, and print one table.

    Official folds, and beside them a split by clip at random, which flatters. --config is for
    classical models; a network has rows of its own. A run that was cut off goes on.

    \b
    model-build compare --task urbansound8k --data ../shared/data
    """
    require_laboratory("compare")
    from model_build import comparing, labmodels, settingsfile
    from model_build.laboratory import Question

    question = Question(
        task=task,
        data=data,
        cache=cache,
        against_rest=against_rest,
        per_class=per_class,
        seed=seed,
        quick=quick,
        yamnet=yamnet,
        command=typed("compare"),
    )
    every = [*labmodels.OFFERED, labmodels.ENSEMBLE]
    if yamnet is None:
        every.remove("yamnet")
    found = comparing.compare(
        question,
        models or every,
        rows=str(config_path),
        members=members,
        export=_export(export, legacy_python),
        chosen=[settingsfile.read(path) for path in settings_files],
    )
    _told(found, as_json=as_json)


@click.command()
@click.argument(
    "name",
    type=click.Choice(["audify", "music-speech-noise", "cnn-lstm", "imbalanced-zoo", "advanced"]),
)
@DATA
@CACHE
@YAMNET
@_EXPORT
@_LEGACY
@PER_CLASS
@QUICK
@SEED
@JSON
def preset(
    name: str,
    data: Path,
    cache: Path,
    yamnet: Path | None,
    export: Path | None,
    legacy_python: Path,
    per_class: int | None,
    quick: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Train a published system under its own protocol and the leak-free one, side by side.

    \b
    model-build preset audify --data ../shared/data
    """
    require_laboratory("preset")
    from model_build import comparing
    from model_build.laboratory import Question
    from model_build.presets import PRESETS

    question = Question(
        task=PRESETS[name].task,
        data=data,
        cache=cache,
        per_class=per_class,
        seed=seed,
        quick=quick,
        yamnet=yamnet,
        command=typed("preset"),
    )
    found = comparing.preset(question, name, export=_export(export, legacy_python))
    _told(found, as_json=as_json)


def require_laboratory(command: str) -> None:
    """Refuse a command in a sentence if a package of the laboratory is missing."""
    require(command, "librosa", "noisereduce", "sklearn", "xgboost", "tensorflow")


def _export(folder: Path | None, legacy_python: Path) -> "Export | None":
    from model_build.comparing import Export

    return None if folder is None else Export(folder=folder, legacy_python=legacy_python)


# Folders are this machine's own.
_NOT_TOLD = ("data", "cache", "export", "legacy_python", "as_json", "out", "storage")


def typed(command: str) -> str:
    """What the user typed, for results and cards."""
    context = click.get_current_context()
    words = ["model-build", command]
    for parameter in context.command.params:
        value = context.params[str(parameter.name)]
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif parameter.name in _NOT_TOLD or value in (None, (), parameter.default):
            continue
        elif isinstance(value, bool):
            words += [parameter.opts[0]] if value else []
        else:
            values = value if isinstance(value, tuple) else (value,)
            for one in values:
                words += [parameter.opts[0], one.name if isinstance(one, Path) else str(one)]
    return " ".join(words)


def _told(found: "list[Result]", *, as_json: bool) -> None:
    from model_build import protocol_report

    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        print(protocol_report.as_text(found))
