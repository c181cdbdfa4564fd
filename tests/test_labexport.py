"""A network of the laboratory in the agent: its bundle passes the gates, or it says why not."""

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.bundle import load
from edge_agent.classifier import Classifier
from edge_agent.frontend import Patches
from model_build import labexport, labmodels, labnetworks, results
from model_build.comparing import Export, compare
from model_build.labnetworks import Course
from model_build.laboratory import Laboratory, Question
from model_build.train import Plan
from tests import toy_streets

pytestmark = [
    pytest.mark.slow,
    # Keras' own way of turning variables into arrays.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LABELS = {"car_horn": 400.0, "siren": 1100.0}
SECONDS = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of two long, different tones in noise: patches enough for the gates."""
    folder = tmp_path_factory.mktemp("long")
    rows = [("path", "label", "fold", "freesound_id")]
    for fold in (1, 2):
        for place in range(4):
            for label, hz in LABELS.items():
                name = f"{fold}-{place}-{label}.wav"
                t = np.arange(SECONDS * toy_streets.RATE) / toy_streets.RATE
                sound = 0.2 * np.sin(2 * np.pi * (hz + 30 * place + 7 * fold) * t)
                noise = toy_streets.noise(SECONDS, 10 * fold + place)
                toy_streets.write(folder / name, (sound + noise).astype(np.float32))
                rows.append((name, label, str(fold), f"{fold}{place}{label}"))
    with (folder / "urbansound8k.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_a_network_runs_in_the_agent_and_a_forest_does_not(
    data: Path, tmp_path: Path, legacy_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(epochs=4, average=0.9, label_smoothing=0.05)
    short = Course(plan=plan, rows_per_epoch=1500)
    network = msgspec.structs.replace(labnetworks.NETWORKS["dnn"], course=short)
    monkeypatch.setitem(labnetworks.NETWORKS, "dnn", network)
    question = Question(task="urbansound8k", data=data, cache=tmp_path, command="a test")
    out = tmp_path / "bundles"
    dnn, forest = compare(
        question,
        ["dnn", "forest"],
        rows="device",
        export=Export(folder=out, legacy_python=legacy_python),
    )
    assert forest.device.why_not == ("the agent runs int8 networks, and this is none",)
    assert dnn.device.why_not == ()
    assert dnn.device.bundle == str(out / "urbansound8k-dnn")
    assert dnn.device.agreement is not None
    assert dnn.device.agreement >= 0.97
    assert dnn.device.latency_ms is not None
    assert results.found(tmp_path)[0].device == dnn.device
    bundle = load(Path(dnn.device.bundle))
    assert [label.id for label in bundle.labels] == ["car_horn", "siren"]
    assert not bundle.record.multilabel
    assert {use.use: use.clips for use in bundle.record.data} == {"training": 8, "test": 8}
    # A recording of the fold that it never heard, by the agent's own path.
    front = Patches(bundle.frontend)
    told = Classifier(bundle, delegate=True)
    t = np.arange(4 * toy_streets.RATE) / toy_streets.RATE
    horn = (0.2 * np.sin(2 * np.pi * 460 * t) + toy_streets.noise(4, 1)).astype(np.float32)
    scores = np.array([told.scores(patch) for patch in front.batch(horn)])
    assert (scores.argmax(axis=1) == 0).mean() > 0.9


def test_a_gate_that_is_not_passed_is_told_and_nothing_is_written(
    data: Path, tmp_path: Path, legacy_python: Path
) -> None:
    """Of the fewer patches of two clips a fold the gates are not satisfied."""
    question = Question(
        task="urbansound8k", data=data, cache=tmp_path, per_class=1, quick=True, command="a test"
    )
    laboratory = Laboratory(question)
    asked = laboratory.ask(labmodels.find("dnn", quick=True))
    device = labexport.export(laboratory, asked, tmp_path / "bundles", legacy_python)
    assert any("float_top1" in why for why in device.why_not)
    assert device.model_bytes is not None
    assert device.bundle is None
    assert not (tmp_path / "bundles").exists()
