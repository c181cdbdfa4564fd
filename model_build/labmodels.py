"""Every model of the laboratory by its name: what it is, its rows, and what trains it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_agent.errors import BuildError
from model_build import classical, labnetworks
from model_build.labtraining import Told, Trained, at_once
from model_build.protocol import Train
from model_build.settingsfile import Settings

OFFERED = (
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
)
"""Those that stand for a family; the others belong to presets."""

ENSEMBLE = "ensemble"
_CLASSICAL_ROWS = "classical"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    title: str
    rows: str
    """A configuration, or `labnetworks.YAMNET`."""
    epochs: int
    """Of one training; 1 for what has none."""
    network: bool
    version: str
    """Changes when the same rows would give another model."""
    settings: Settings = {}
    """Other ones than its own."""

    @property
    def called(self) -> str:
        """Its name; with other settings it is another model."""
        return f"{self.name}_tuned" if self.settings else self.name


def find(
    name: str, *, rows: str | None = None, quick: bool = False, settings: Settings | None = None
) -> Model:
    """A model by its name.

    Args:
        name: A key of `classical.KINDS` or `labnetworks.NETWORKS`.
        rows: What a classical model learns from, instead of the default.
        quick: It will learn for a moment only.
        settings: Other ones than its own, as `settingsfile` has them.

    Raises:
        BuildError: A network has no such setting, or not of such a value.
    """
    settings = settings or {}
    told = "".join(f", {key} {_short(value)}" for key, value in settings.items())
    own = f" {msgspec.json.encode(settings, order='sorted').decode()}" if settings else ""
    if name in classical.KINDS:
        return Model(
            name=name,
            title=classical.KINDS[name].title + told,
            rows=rows or _CLASSICAL_ROWS,
            epochs=1,
            network=False,
            version=f"2{own}",
            settings=settings,
        )
    network = labnetworks.NETWORKS[name]
    course = labnetworks.course(name, settings)
    if quick:
        course = at_once(course)
    return Model(
        name=name,
        title=network.title + told,
        rows=network.rows,
        epochs=course.plan.epochs,
        network=True,
        version=f"1 {msgspec.json.encode(course).decode()}",
        settings=settings,
    )


def check_members(names: Sequence[str]) -> None:
    """Refuse what no ensemble can be made of.

    Raises:
        BuildError: There are fewer than two, or one of them gives no probabilities.
    """
    if len(set(names)) < 2 or "svm" in names:
        raise BuildError(
            f"{', '.join(names)}: no ensemble can be made of this",
            hint="Name two models or more that give probabilities; an SVM gives votes.",
        )


def trainer(model: Model, seed: int, place: Path, *, quick: bool, told: Told) -> Train:
    """What trains it, as the protocol asks for it; networks keep their state at `place`."""
    if not model.network:
        return classical.trainer(model.name, seed, model.settings)
    return lambda lesson: Trained(
        model.name, lesson, seed, place, quick=quick, settings=model.settings, told=told
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
