"""Makes a bundle: the same inputs give the same bytes, and only what the agent takes is written."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.bundle import Bundle, Golden, golden_features
from edge_agent.classifier import Network, quantise
from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import Patches, fingerprint
from edge_agent.labels import Label
from edge_agent.modelfile import (
    SCHEMA,
    Certificate,
    CertifiedClip,
    DataSet,
    Metric,
    ModelFile,
    Training,
    failed_checks,
)
from model_build.bundlefiles import as_json, place
from model_build.cards import card
from model_build.parity import Found

# What events start from until thresholds are certified for a budget of false alarms.
_ON, _OFF, _COOLDOWN_S = 0.5, 0.35, 5.0

# Zip's first day: a date of its own would make every build another file.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def label(label_id: str, title: str, *, impulsive: bool, stationary: bool) -> Label:
    """A label with the thresholds that hold while nothing is certified."""
    return Label(
        id=label_id,
        title=title,
        impulsive=impulsive,
        stationary=stationary,
        on=_ON,
        off=_OFF,
        n=1 if impulsive else 2,
        m=1 if impulsive else 3,
        min_duration_s=0.0,
        cooldown_s=_COOLDOWN_S,
    )


def write(
    folder: Path,
    *,
    name: str,
    version: str,
    labels: Sequence[Label],
    multilabel: bool,
    frontend: FrontendSettings,
    tflite: bytes,
    stateful: bool = False,
    training: Training,
    data: Sequence[DataSet],
    weights_licence: str,
    metrics: Sequence[Metric],
    found: Found,
    clips: Sequence[CertifiedClip],
) -> Bundle:
    """Write `folder`, and give what the agent reads there.

    Args:
        folder: `models/<name>`; made if it is not there.
        name: Of the model, as health messages show it.
        version: Of its weights.
        labels: In the order of the output.
        multilabel: Sigmoid scores; else softmax.
        frontend: With the constants of standardisation.
        tflite: The int8 network.
        stateful: It remembers and must be reset.
        training: How the weights were made.
        data: Every set used, with its licence.
        weights_licence: What the weights inherit.
        metrics: Every figure of the card.
        found: By `parity.compare`.
        clips: The recordings of `found`.

    Raises:
        BuildError: A check did not pass.
        BundleError: The agent refuses what was written.
    """
    problems = failed_checks(found.checks)
    if problems:
        raise BuildError(
            f"{name}: {'; '.join(problems)}",
            hint="Train longer or otherwise, or convert with other calibration patches.",
        )
    network = Network(tflite, delegate=False, stateful=stateful)
    golden_npz = _pack(_golden(network, frontend))
    record = ModelFile(
        schema=SCHEMA,
        name=name,
        version=version,
        labels=tuple(labels),
        multilabel=multilabel,
        frontend=frontend,
        frontend_sha256=fingerprint(frontend),
        input=network.input,
        output=network.output,
        stateful=stateful,
        model_sha256=hashlib.sha256(tflite).hexdigest(),
        model_bytes=len(tflite),
        golden_sha256=hashlib.sha256(golden_npz).hexdigest(),
        training=training,
        data=tuple(data),
        weights_licence=weights_licence,
        metrics=tuple(metrics),
    )
    certificate = Certificate(
        schema=SCHEMA,
        model_sha256=record.model_sha256,
        frontend_sha256=record.frontend_sha256,
        labels=tuple(label.id for label in labels),
        made_by=found.made_by,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        checks=found.checks,
    )
    contents = {
        "model.tflite": tflite,
        "golden.npz": golden_npz,
        "model.json": as_json(record),
        "certificate.json": as_json(certificate),
        "MODEL_CARD.md": card(record, certificate).encode(),
    }
    return place(folder, contents)


def _golden(network: Network, frontend: FrontendSettings) -> Golden:
    features = golden_features(Patches(frontend, "exact"))
    values = quantise(features, network.input)
    scores = np.stack([network.run(row) for row in values])
    return Golden(features=features, input=values, scores=scores)


def _pack(golden: Golden) -> bytes:
    """As `numpy.savez_compressed` does, with a date that never changes."""
    arrays: dict[str, npt.NDArray[np.generic]]
    arrays = {"features": golden.features, "input": golden.input, "scores": golden.scores}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_DATE)
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
