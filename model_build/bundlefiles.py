"""A bundle's files: how they are written, put in place, and given other thresholds.

They are made beside their place, loaded as the agent loads them, and only then moved.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_agent.bundle import Bundle, load
from edge_agent.classifier import Classifier
from edge_agent.labels import Label
from edge_agent.modelfile import Certificate, Metric, ModelFile, Thresholds
from model_build.cards import card


def with_thresholds(
    bundle: Bundle, labels: Sequence[Label], thresholds: Thresholds, metrics: Sequence[Metric]
) -> Bundle:
    """Give the bundle in its folder other thresholds, and figures and card anew; nothing else.

    Args:
        bundle: As the agent reads it.
        labels: The same in the same order, with their thresholds.
        thresholds: What they were chosen for.
        metrics: All figures of the bundle.

    Raises:
        BundleError: The agent refuses what would be written.
    """
    record = msgspec.structs.replace(
        bundle.record, labels=tuple(labels), thresholds=thresholds, metrics=tuple(metrics)
    )
    contents = {
        name: (bundle.folder / name).read_bytes()
        for name in ("model.tflite", "golden.npz", "certificate.json")
    }
    contents["model.json"] = as_json(record)
    contents["MODEL_CARD.md"] = card(record, bundle.certificate).encode()
    return place(bundle.folder, contents)


def as_json(record: ModelFile | Certificate) -> bytes:
    """As the bundle's files are written: sorted keys, two spaces, a final newline."""
    plain = msgspec.to_builtins(record)
    if plain.get("thresholds", ...) is None:
        del plain["thresholds"]
    text = json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def place(folder: Path, contents: dict[str, bytes]) -> Bundle:
    """Put a bundle's files into `folder`, if the agent takes them; give what it reads there.

    Raises:
        BundleError: The agent refuses what would be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        for name, content in contents.items():
            Path(made, name).write_bytes(content)
        bundle = load(Path(made))
        Classifier(bundle, delegate=True)
        Classifier(bundle, delegate=False)
        for name in contents:
            Path(made, name).replace(folder / name)
    return msgspec.structs.replace(bundle, folder=folder)
