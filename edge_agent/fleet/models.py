"""What a fleet needs to know of a model: its labels and its hash, without a runtime or numpy."""

import hashlib
from pathlib import Path

import msgspec

from edge_agent.configfile import find_model
from edge_agent.errors import BundleError
from edge_agent.labels import Label
from edge_agent.modelfile import ModelFile, parse


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle by its `model.json`."""

    name: str
    labels: tuple[Label, ...]
    sha256: str
    hop_s: float
    """From one patch to the next."""


def load(text: str, beside: Path) -> Model:
    """The model that `model.path` names.

    Args:
        text: As configured.
        beside: The fleet's folder.

    Raises:
        ConfigError: There is no such folder.
        BundleError: It is no bundle, or was changed after its build.
    """
    folder = find_model(text, beside)
    record = parse(folder / "model.json", _bytes(folder / "model.json"), ModelFile)
    found = hashlib.sha256(_bytes(folder / "model.tflite")).hexdigest()
    if found != record.model_sha256:
        raise BundleError(
            f"{folder / 'model.tflite'}: sha256 is {found[:12]}, model.json says "
            f"{record.model_sha256[:12]}",
            hint="Copy the bundle again; the file is cut short, or was changed after its build.",
        )
    front = record.frontend
    return Model(
        name=record.name,
        labels=record.labels,
        sha256=found,
        hop_s=front.patch_hop * front.hop / front.rate,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read: {error.strerror}",
            hint="A bundle is a folder with model.json and model.tflite: copy the whole again.",
        ) from error
