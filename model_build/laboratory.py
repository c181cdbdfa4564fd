"""A question to the laboratory: a task, its divisions, a seed; and what each model answers to it.

Rows, answers and unfinished trainings are kept below the cache under a name that holds a hash of
all that they depend on, so what was answered once is not asked again.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from model_build import devicefit, labconfig, labmodels, labnetworks, labrows, labtasks, protocol
from model_build import yamnet as teacher
from model_build.datasets import Clip
from model_build.features import audio_sha256
from model_build.labconfig import LabConfig
from model_build.labmodels import Model
from model_build.labrows import Table
from model_build.protocol import Answers, Material
from model_build.results import Cost, Device, Result, Unit

MEMBERS = ("xgboost", "cnn", "cnn_lstm")
"""Of the ensemble, if none are named."""

# TensorFlow Models, research/audioset/yamnet/README.md: weights and multiplications per patch.
_YAMNET_WEIGHTS, _YAMNET_MULTIPLY_ADDS = 3_700_000, 69_200_000


class Flattering(msgspec.Struct, frozen=True, kw_only=True):
    """The split that stands beside the leak-free one."""

    unit: Unit = "clip"
    share: float | None = None
    """Of the test; None: as large as a fold."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every model alike."""

    task: str
    """A key of `labtasks.TASKS`."""
    data: Path
    cache: Path
    against_rest: str | None = None
    per_class: int | None = None
    seed: int = 0
    quick: bool = False
    """Networks learn for a moment only."""
    yamnet: Path | None = None
    flattering: Flattering = Flattering()
    preset: str | None = None
    command: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A model, the rows that it was given, and what it answered."""

    model: Model
    given: Material
    answers: list[list[Answers]]
    place: Path


class Laboratory:
    """Answers a question, model by model.

    Args:
        question: The same for all of them.

    Raises:
        BuildError: The task cannot be read, or has no such label.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.task = labtasks.TASKS[question.task]
        self._read = labtasks.read(question.task, question.data)
        clips: Sequence[Clip] = drawn(self._read.clips, question.per_class, question.seed)
        if question.against_rest is not None:
            clips = protocol.one_against_rest(clips, question.against_rest)
        self.clips = clips
        self._rows: dict[str, Material] = {}

    @property
    def trials(self) -> int:
        """How often each model is trained: once a fold, and once for the split beside them."""
        return len({clip.fold for clip in self.clips if clip.fold is not None}) + 1

    def check(self, model: Model) -> None:
        """Refuse a model for which something is missing, before hours went into others.

        Raises:
            BuildError: Says what.
        """
        if model.rows == labnetworks.YAMNET and self.question.yamnet is None:
            raise BuildError(
                f"{model.name} needs YAMNet's file",
                hint="Give --yamnet FILE, a .tflite with embeddings (docs/laboratory.md).",
            )

    def ask(self, model: Model, told: Callable[[], None] = lambda: None) -> Asked:
        """Train a model and ask it, or take up what it answered before.

        Args:
            model: By `labmodels.find`.
            told: Called at the end of each epoch of a network.

        Raises:
            BuildError: Its rows cannot be made.
        """
        given = self.material(model.rows)
        place = self._place(model, given)
        question = self.question
        train = labmodels.trainer(model, question.seed, place, quick=question.quick, told=told)
        return Asked(
            model=model, given=given, answers=protocol.answers(train, given, place), place=place
        )

    def result(self, asked: Asked, device: Device | None = None) -> Result:
        """A model's figures; `device` says what came of its export, if that was tried."""
        return self._result(
            asked.given,
            asked.answers,
            name=asked.model.called,
            title=asked.model.title,
            rows=self._rows_in_words(asked),
            cost=self._cost(asked),
            device=device
            or Device(why_not=self.obstacles(asked.model) or ("it was not exported",)),
        )

    def ensemble(self, members: Sequence[Asked]) -> Result:
        """Of models that were asked: the mean of their probabilities.

        Args:
            members: By `labmodels.check_members`; judged by clip.
        """
        names = [one.model.name for one in members]
        first = members[0]
        common = set.intersection(
            *({clip.path for clip in one.given.table.clips} for one in members)
        )
        answers = [
            [
                _together([one.answers[way][at] for one in members], members, common)
                for at in range(len(first.answers[way]))
            ]
            for way in range(len(first.answers))
        ]
        return self._result(
            first.given,
            answers,
            name=labmodels.ENSEMBLE,
            title=f"mean of {', '.join(names)}",
            rows="theirs",
            cost=None,
            device=Device(why_not=("the agent runs one network, and this is several models",)),
        )

    def obstacles(self, model: Model) -> tuple[str, ...]:
        """Why the device cannot compute a model's rows or run it, a sentence each."""
        if not model.network:
            return ("the agent runs int8 networks, and this is none",)
        if model.rows == labnetworks.YAMNET:
            return ("its rows are what a larger network hears, which the agent does not run",)
        return tuple(str(one) for one in devicefit.obstacles(_config(model.rows)))

    def material(self, rows: str) -> Material:
        """The task's rows of one kind, and their divisions; those of the last kind are at hand."""
        if rows not in self._rows:
            self._rows.clear()
            self._rows[rows] = self._material(rows)
        return self._rows[rows]

    def _material(self, rows: str) -> Material:
        table = self._table(rows)
        question, flattering = self.question, self.question.flattering
        honest = protocol.leak_free(table, self.task.folds)
        share = flattering.share or 1 / len(honest.divisions)
        if flattering.unit == "clip":
            beside = protocol.random_clips(table, self.clips, share, question.seed)
        else:
            beside = protocol.random_windows(table, share, question.seed)
        return protocol.material(table, (honest, beside), self._read.skipped)

    def _table(self, rows: str) -> Table:
        question = self.question
        if rows != labnetworks.YAMNET:
            return labrows.table(self.clips, question.data, _config(rows), question.cache)
        assert question.yamnet is not None, "`check` asks for it"
        heard = teacher.embeddings(
            self.clips,
            question.data,
            FrontendSettings(),
            teacher.Yamnet(question.yamnet),
            question.cache,
        )
        return Table(
            clips=heard.clips,
            rows=heard.rows.astype(np.float32),
            starts=heard.starts,
            columns=tuple(f"embedding_{number}" for number in range(teacher.EMBEDDING)),
            skipped=heard.skipped,
        )

    def _place(self, model: Model, given: Material) -> Path:
        question = self.question
        rows = (
            hashlib.sha256(question.yamnet.read_bytes()).hexdigest()
            if model.rows == labnetworks.YAMNET and question.yamnet is not None
            else msgspec.json.encode(_config(model.rows)).decode()
        )
        depends = (
            model.version,
            rows,
            audio_sha256(given.table.clips, question.data),
            *(f"{clip.label} {clip.fold}" for clip in given.table.clips),
        )
        digest = hashlib.sha256("\n".join(depends).encode()).hexdigest()[:12]
        name = f"{question.task}-{model.name}-{question.seed}-{digest}"
        return question.cache / "laboratory" / name

    def _rows_in_words(self, asked: Asked) -> str:
        size = " x ".join(str(size) for size in asked.given.table.rows.shape[1:])
        return f"{asked.model.rows}: {size} values"

    def _cost(self, asked: Asked) -> Cost | None:
        if not asked.model.network:
            taken = asked.answers[0][0].taken
            assert taken is not None, "every classical model tells"
            return Cost(
                size_bytes=taken.size_bytes,
                multiply_adds=taken.multiply_adds,
                rows_per_s=_rows_per_s(_config(asked.model.rows)),
                latency_ms=taken.latency_ms,
            )
        shape = asked.given.table.rows.shape[1:]
        built = labnetworks.build(asked.model.name, shape, len(asked.given.labels))
        weights, multiply_adds = built.count_params(), labnetworks.multiply_adds(built)
        if asked.model.rows == labnetworks.YAMNET:
            front = FrontendSettings()
            return Cost(
                size_bytes=4 * (weights + _YAMNET_WEIGHTS),
                multiply_adds=multiply_adds + _YAMNET_MULTIPLY_ADDS,
                rows_per_s=front.rate / (front.patch_hop * front.hop),
            )
        return Cost(
            size_bytes=4 * weights,
            multiply_adds=multiply_adds,
            rows_per_s=_rows_per_s(_config(asked.model.rows)),
        )

    def _result(
        self,
        given: Material,
        answers: Sequence[Sequence[Answers]],
        *,
        name: str,
        title: str,
        rows: str,
        cost: Cost | None,
        device: Device,
    ) -> Result:
        question = self.question
        return Result(
            task=question.task,
            task_title=self.task.title,
            against_rest=question.against_rest,
            preset=question.preset,
            model=name,
            model_title=title,
            rows=rows,
            seed=question.seed,
            per_class=question.per_class,
            quick=question.quick,
            labels=given.labels,
            sides=protocol.sides(given, answers),
            cost=cost,
            device=device,
            missing=self._read.missing,
            skipped=given.skipped,
            command=question.command,
        )


def drawn(clips: Sequence[Clip], per_class: int | None, seed: int) -> Sequence[Clip]:
    """No more clips of each class in each fold than so many, drawn by the seed; None: all."""
    if per_class is None:
        return clips
    taken: Counter[tuple[str, int | None]] = Counter()
    kept = []
    for index in np.random.default_rng(seed).permutation(len(clips)).tolist():
        where = (clips[index].label, clips[index].fold)
        taken[where] += 1
        if taken[where] <= per_class:
            kept.append(index)
    return [clips[index] for index in sorted(kept)]


def _config(rows: str) -> LabConfig:
    return labconfig.load(Path(rows))


def _rows_per_s(config: LabConfig) -> float | None:
    if config.patches is None:
        return None
    return config.steps.resample.rate / (config.patches.hop * config.grid.hop)


def _together(answers: Sequence[Answers], members: Sequence[Asked], common: set[str]) -> Answers:
    """The mean of what members said of the clips that all of them know, as the first numbers them.

    Windows are no clips: where they are judged, each clip's windows are not the same for all.
    """
    said = []
    for one, member in zip(answers, members, strict=True):
        paths = [member.given.table.clips[unit].path for unit in one.units]
        said.append(dict(zip(paths, one.scores, strict=True)))
    first = answers[0]
    clips = members[0].given.table.clips
    units = [int(unit) for unit in first.units if clips[unit].path in common]
    scores = [np.mean([of[clips[unit].path] for of in said], axis=0) for unit in units]
    return Answers(
        name=first.name,
        units=np.array(units, np.intp),
        scores=np.array(scores),
        trained_on=first.trained_on,
        losses=(),
    )
