"""Conversion gives int8 throughout, and each gate refuses what it is there for."""

from collections.abc import Callable
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_agent.classifier import Network, dequantise, quantise
from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build import networks
from model_build.quantise import OPERATORS, convert, gates

LABELS = 14


@pytest.fixture(scope="module")
def calibration() -> Samples:
    patches = np.random.default_rng(0).normal(0, 1.5, (100, 120)).clip(-4, 4)
    return patches.astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    keras.utils.set_random_seed(1)
    return networks.build("dnn", LABELS, "sigmoid")


@pytest.fixture(scope="module")
def model(trained: keras.Model, calibration: Samples) -> bytes:
    return convert("dnn", trained.get_weights(), LABELS, calibration)


def _changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """The flatbuffer with something changed in its first graph."""
    read = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    change(read.subgraphs[0])
    builder = flatbuffers.Builder(len(model))
    builder.Finish(read.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_what_was_converted_passes_the_gates(model: bytes, calibration: Samples) -> None:
    gates(model, (120,), LABELS, calibration)


def test_the_int8_network_scores_as_the_float_one(
    model: bytes, trained: keras.Model, calibration: Samples
) -> None:
    network = Network(model, delegate=False, stateful=False)
    found = np.stack([network.run(quantise(patch, network.input)) for patch in calibration])
    wanted = trained.predict(calibration, verbose=0)
    # The gate of the build on real patches, held on these too.
    assert np.abs(dequantise(found, network.output) - wanted).mean() < 0.01


def test_converting_twice_gives_the_same_bytes(
    model: bytes, trained: keras.Model, calibration: Samples
) -> None:
    assert convert("dnn", trained.get_weights(), LABELS, calibration) == model


def test_a_converter_that_dies_is_named_with_its_network(calibration: Samples) -> None:
    with pytest.raises(BuildError, match="dnn: the converter ended with code 1"):
        convert("dnn", [calibration], LABELS, calibration)


def test_gate_1_refuses_another_front_end(model: bytes, calibration: Samples) -> None:
    with pytest.raises(BuildError, match=r"gate 1: input .* is \(1, 120\), not \(1, 48, 64\)"):
        gates(model, (48, 64), LABELS, calibration)


def test_gate_1_refuses_another_number_of_labels(model: bytes, calibration: Samples) -> None:
    with pytest.raises(BuildError, match=r"gate 1: output .* is \(1, 14\), not \(1, 10\)"):
        gates(model, (120,), 10, calibration)


def test_gate_1_refuses_a_dimension_that_is_left_open(model: bytes, calibration: Samples) -> None:
    def leave_open(graph: Any) -> None:
        graph.tensors[graph.inputs[0]].shapeSignature = [-1, 120]

    with pytest.raises(BuildError, match=r"gate 1: tensor .* has no fixed shape"):
        gates(_changed(model, leave_open), (120,), LABELS, calibration)


def test_gate_2_refuses_a_float_tensor(model: bytes, calibration: Samples) -> None:
    def be_float(graph: Any) -> None:
        graph.tensors[graph.operators[0].outputs[0]].type = schema.TensorType.FLOAT32

    with pytest.raises(BuildError, match=r"gate 2: tensor .* is of type 0"):
        gates(_changed(model, be_float), (120,), LABELS, calibration)


def test_gate_3_refuses_a_version_that_the_old_runtime_was_not_seen_to_run(
    model: bytes, calibration: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATORS, "LOGISTIC", 1)
    with pytest.raises(BuildError, match="gate 3: operator LOGISTIC is version 2, at most 1"):
        gates(model, (120,), LABELS, calibration)


def test_gate_3_refuses_an_unknown_operator(
    model: bytes, calibration: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(OPERATORS, "FULLY_CONNECTED")
    with pytest.raises(BuildError, match="gate 3: operator FULLY_CONNECTED was never run"):
        gates(model, (120,), LABELS, calibration)


def test_gate_4_refuses_another_output_scale(model: bytes, calibration: Samples) -> None:
    def double(graph: Any) -> None:
        graph.tensors[graph.outputs[0]].quantization.scale = [2 / 256]

    with pytest.raises(BuildError, match="gate 4: the output has scale"):
        gates(_changed(model, double), (120,), LABELS, calibration)


def test_gate_4_refuses_an_input_that_saturates(model: bytes, calibration: Samples) -> None:
    with pytest.raises(BuildError, match="gate 4: the input holds"):
        gates(model, (120,), LABELS, calibration * 2)
