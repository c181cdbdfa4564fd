"""Runs several models on one question, keeps each result, and gives all of them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from model_build import labexport, labmodels, results
from model_build.labmodels import Model
from model_build.laboratory import MEMBERS, Laboratory, Question
from model_build.presets import PRESETS, Entry
from model_build.progress import Progress
from model_build.results import Result
from model_build.settingsfile import Chosen

_log = logging.getLogger(__name__)


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Where bundles go."""

    folder: Path
    """Each into a folder of its own below this."""
    legacy_python: Path
    """An interpreter with tflite-runtime 2.14, which every bundle must run in."""


def compare(
    question: Question,
    names: Sequence[str],
    *,
    rows: str | None = None,
    members: Sequence[str] = (),
    export: Export | None = None,
    chosen: Sequence[Chosen] = (),
) -> list[Result]:
    """Ask models one by one; each result is written when it is there.

    Args:
        question: The same for all.
        names: Of models, the ensemble among them.
        rows: What classical models learn from; None: their default.
        members: Of the ensemble, whether they are asked on their own or not.
        export: Where bundles go; None: none are made.
        chosen: Settings of models that are asked a second time, with these.

    Raises:
        BuildError: The task cannot be read, a model's file is missing, or no ensemble can be made
            of these members; before anything is trained.
    """
    entries = [Entry(model=name, rows=rows) for name in names if name != labmodels.ENSEMBLE]
    entries += [Entry(model=one.model, rows=one.rows, settings=one.settings) for one in chosen]
    joined = (members or MEMBERS) if labmodels.ENSEMBLE in names else ()
    if joined:
        labmodels.check_members(joined)
    return _asked(question, entries, joined, rows, export)


def preset(question: Question, name: str, *, export: Export | None = None) -> list[Result]:
    """Ask a published system's models under its own protocol and the leak-free one.

    Args:
        question: Task, split and label are the preset's own.
        name: A key of `PRESETS`.
        export: Where bundles go; None: none are made.
    """
    one = PRESETS[name]
    own = msgspec.structs.replace(
        question,
        task=one.task,
        against_rest=one.against_rest,
        flattering=one.flattering,
        preset=name,
    )
    return _asked(own, one.entries, (), None, export)


def _asked(
    question: Question,
    entries: Sequence[Entry],
    members: Sequence[str],
    rows: str | None,
    export: Export | None,
) -> list[Result]:
    laboratory = Laboratory(question)
    quick = question.quick
    models = [
        labmodels.find(entry.model, rows=entry.rows, quick=quick, settings=entry.settings)
        for entry in entries
    ]
    joined = [labmodels.find(name, rows=rows, quick=quick) for name in members]
    for model in (*models, *joined):
        laboratory.check(model)
    trials = laboratory.trials
    found = []
    done = 0
    with Progress(trials * sum(model.epochs for model in _each_once([*models, *joined]))) as told:
        for model, entry in zip(models, entries, strict=True):
            _log.info("%s: %s", model.name, model.title)
            asked = laboratory.ask(model, told.step)
            done += trials * model.epochs
            told.reach(done)
            device = None
            if export is not None:
                device = labexport.export(laboratory, asked, export.folder, export.legacy_python)
            result = msgspec.structs.replace(
                laboratory.result(asked, device), published=entry.published
            )
            results.keep(result, question.cache)
            found.append(result)
        if joined:
            # What was asked above is at hand.
            result = laboratory.ensemble([laboratory.ask(model, told.step) for model in joined])
            results.keep(result, question.cache)
            found.append(result)
    return found


def _each_once(models: Sequence[Model]) -> list[Model]:
    return list({model.called: model for model in models}.values())
