"""The laboratory's commands of `model-build`; see `cli` for exit codes."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from model_build.extras import require

if TYPE_CHECKING:
    from model_build.results import Result

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("classical"),
    show_default=True,
    help="Steps, features and rows: a YAML or JSON file, or the name of a shipped one.",
)
_SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all draws."
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
@_CONFIG
@click.option(
    "--per-class",
    type=click.IntRange(1),
    help="Look at no more clips of each class than these, drawn by the seed. Default: all.",
)
@_SEED
@_JSON
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
    help="For features, answers, unfinished trainings and, in `results`, what came out.",
)
_PER_CLASS = click.option(
    "--per-class",
    type=click.IntRange(1),
    help="No more clips of each class in each fold than these: a quick look. Default: all.",
)
_QUICK = click.option(
    "--quick",
    is_flag=True,
    help="Networks learn for two short epochs, to see that everything runs.",
)
_YAMNET = click.option(
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
    type=click.Choice(
        [
            "svm",
            "forest",
            "boosting",
            "xgboost",
            "dnn",
            "lstm",
            "gru",
            "cnn1d",
            "cnn",
            "cnn_lstm",
            "yamnet",
            "ensemble",
        ]
    ),
    multiple=True,
    help="Only this one; may be given more than once. Default: all, yamnet if its file is given.",
)
@click.option(
    "--member",
    "members",
    type=click.Choice(
        [
            "forest",
            "boosting",
            "xgboost",
            "dnn",
            "lstm",
            "gru",
            "cnn1d",
            "cnn",
            "cnn_lstm",
            "yamnet",
        ]
    ),
    multiple=True,
    help="Of the ensemble; may be given more than once. Default: xgboost, cnn, cnn_lstm.",
)
@click.option("--against-rest", metavar="LABEL", help="Two classes: this label, and the rest.")
@_DATA
@_CONFIG
@_CACHE
@_YAMNET
@_PER_CLASS
@_QUICK
@_SEED
@_JSON
def compare(
    task: str,
    models: tuple[str, ...],
    members: tuple[str, ...],
    against_rest: str | None,
    data: Path,
    config_path: Path,
    cache: Path,
    yamnet: Path | None,
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
    _require_laboratory("compare")
    from model_build import comparing, labmodels
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
        command=_typed("compare"),
    )
    every = [*labmodels.OFFERED, labmodels.ENSEMBLE]
    if yamnet is None:
        every.remove("yamnet")
    found = comparing.compare(question, models or every, rows=str(config_path), members=members)
    _told(found, as_json=as_json)


@click.command()
@click.argument(
    "name",
    type=click.Choice(["audify", "music-speech-noise", "cnn-lstm", "imbalanced-zoo", "advanced"]),
)
@_DATA
@_CACHE
@_YAMNET
@_PER_CLASS
@_QUICK
@_SEED
@_JSON
def preset(
    name: str,
    data: Path,
    cache: Path,
    yamnet: Path | None,
    per_class: int | None,
    quick: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Train a published system under its own protocol and the leak-free one, side by side.

    \b
    model-build preset audify --data ../shared/data
    """
    _require_laboratory("preset")
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
        command=_typed("preset"),
    )
    _told(comparing.preset(question, name), as_json=as_json)


def _require_laboratory(command: str) -> None:
    require(command, "librosa", "noisereduce", "sklearn", "xgboost", "tensorflow")


def _typed(command: str) -> str:
    """What the user typed, without the folders of this machine."""
    context = click.get_current_context()
    words = ["model-build", command]
    for parameter in context.command.params:
        value = context.params[str(parameter.name)]
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif parameter.name in ("data", "cache", "as_json") or value in (
            None,
            (),
            parameter.default,
        ):
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
