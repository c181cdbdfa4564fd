"""A trained network as a full int8 flatbuffer, and the gates that read the flatbuffer itself.

Conversion runs in a process of its own: the bytes depend on what a process built before, and where
the converter fails it may take the process with it, without a Python error.

Gates 1 to 4 are about the graph; what needs a runtime and real patches is in `parity`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edge_agent.errors import BuildError
from edge_agent.records import Samples

Family: TypeAlias = Literal["street", "laboratory"]
"""The table that a network stands in: the street's end in sigmoid, the laboratory's in softmax."""

_TIMEOUT_S = 900
_TRIES = 10

# The newest version of each operator that was seen to run in tflite-runtime 2.14. Another operator
# or version needs a run there first.
OPERATORS: dict[str, int] = {
    "ADD": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 5,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PACK": 2,
    "RESHAPE": 1,
    "SOFTMAX": 2,
    "SPLIT": 2,
    "STRIDED_SLICE": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
    "UNPACK": 2,
}
_PER_CHANNEL = ("CONV_2D", "DEPTHWISE_CONV_2D")


def convert_int8(
    network: str,
    weights: Sequence[npt.NDArray[np.float32]],
    outputs: int,
    calibration: Samples,
    family: Family = "street",
) -> bytes:
    """As `convert`, until what comes out passes `gates`.

    The converter is not deterministic: in about half of its runs on the recurrent network it leaves
    one state in float. What passes had the same bytes each time (docs/decisions.md).

    Raises:
        BuildError: The converter failed or died, or no run of it passed the gates.
    """
    refused: BuildError | None = None
    for _ in range(_TRIES):
        model = convert(network, weights, outputs, calibration, family)
        try:
            gates(model, calibration.shape[1:], outputs, calibration)
        except BuildError as error:
            refused = error
        else:
            return model
    assert refused is not None
    raise refused


def convert(
    network: str,
    weights: Sequence[npt.NDArray[np.float32]],
    outputs: int,
    calibration: Samples,
    family: Family = "street",
) -> bytes:
    """The int8 flatbuffer of a network.

    Args:
        network: A key of its family's table, `networks.NETWORKS` or `labnetworks.NETWORKS`.
        weights: As Keras' `get_weights` gives them.
        outputs: Number of labels.
        calibration: (n, *patch), standardised patches of training sound, which set the scales.
        family: Its table.

    Raises:
        BuildError: The converter failed or died.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "arrays.npz")
        model = Path(folder, "model.tflite")
        np.savez(arrays, calibration, *weights)
        command = [sys.executable, "-m", "model_build.quantise", family, network, str(outputs)]
        try:
            done = subprocess.run(
                [*command, str(arrays), str(model)],
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_S,
                # The converter walks over sets of names: their order must not change.
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"{network}: the converter did not end within {_TIMEOUT_S} s",
                hint="Convert on a machine with less to do.",
            ) from error
        if done.returncode != 0 or not model.is_file():
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise BuildError(
                f"{network}: the converter ended with code {done.returncode} ({last})",
                hint="Use only layers that convert to int8; a recurrent one must be unrolled.",
            )
        return model.read_bytes()


def gates(model: bytes, patch: tuple[int, ...], labels: int, calibration: Samples) -> None:
    """Refuse a flatbuffer that is not int8 throughout, or not of this front end and these labels.

    Args:
        model: The flatbuffer.
        patch: Shape of a patch of features.
        labels: How many there are.
        calibration: (n, *patch), what the scales were set by.

    Raises:
        BuildError: Names the gate and the tensor or operator.
    """
    read = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    if len(read.subgraphs) != 1:
        raise _refused(1, f"{len(read.subgraphs)} subgraphs")
    graph = read.subgraphs[0]
    _gate_ends(graph, patch, labels)
    _gate_types(graph)
    _gate_operators(read, graph)
    _gate_scales(read, graph, calibration)


def _refused(gate: int, found: str) -> BuildError:
    return BuildError(
        f"gate {gate}: {found}",
        hint="Convert by `model_build.quantise.convert`, from layers that the gates know.",
    )


# The generated schema has no types: its objects are Any, and stay in this file.
def _gate_ends(graph: Any, patch: tuple[int, ...], labels: int) -> None:
    for kind, ends, shape in (
        ("input", graph.inputs, (1, *patch)),
        ("output", graph.outputs, (1, labels)),
    ):
        if len(ends) != 1:
            raise _refused(1, f"{len(ends)} {kind}s")
        tensor = graph.tensors[ends[0]]
        found = tuple(int(size) for size in tensor.shape)
        if found != shape:
            raise _refused(1, f"{kind} {_name(tensor)} is {found}, not {shape}")
        if tensor.type != schema.TensorType.INT8:
            raise _refused(1, f"{kind} {_name(tensor)} is not int8")


def _gate_types(graph: Any) -> None:
    allowed = (schema.TensorType.INT8, schema.TensorType.INT32)
    for tensor in graph.tensors:
        if tensor.type not in allowed:
            raise _refused(2, f"tensor {_name(tensor)} is of type {tensor.type}, not int8 or int32")
        if tensor.shapeSignature is not None and -1 in tensor.shapeSignature:
            raise _refused(1, f"tensor {_name(tensor)} has no fixed shape")


def _gate_operators(read: Any, graph: Any) -> None:
    names = _operator_names()
    for operator in graph.operators:
        code = read.operatorCodes[operator.opcodeIndex]
        # Small codes stand in the older field, large ones in the newer.
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        newest = OPERATORS.get(name)
        if newest is None:
            raise _refused(3, f"operator {name} was never run in tflite-runtime 2.14")
        if code.version > newest:
            raise _refused(3, f"operator {name} is version {code.version}, at most {newest}")


def _gate_scales(read: Any, graph: Any, calibration: Samples) -> None:
    for tensor in graph.tensors:
        scales = [] if tensor.quantization is None else tensor.quantization.scale
        if scales is not None and not all(np.isfinite(scale) and scale > 0 for scale in scales):
            raise _refused(4, f"tensor {_name(tensor)} has a scale that is not above 0")
    names = _operator_names()
    for operator in graph.operators:
        code = read.operatorCodes[operator.opcodeIndex]
        if names[max(code.builtinCode, code.deprecatedBuiltinCode)] in _PER_CHANNEL:
            weights = graph.tensors[operator.inputs[1]]
            # Channels come first in CONV_2D's weights, last in DEPTHWISE_CONV_2D's.
            if len(weights.quantization.scale) not in (weights.shape[0], weights.shape[-1]):
                raise _refused(4, f"weights {_name(weights)} have one scale for all channels")
    _gate_input_range(graph.tensors[graph.inputs[0]], calibration)
    output = graph.tensors[graph.outputs[0]].quantization
    if output.scale[0] != 1 / 256 or output.zeroPoint[0] != -128:
        found = f"scale {output.scale[0]:g} and zero point {output.zeroPoint[0]}"
        raise _refused(4, f"the output has {found}, not 1/256 and -128")


def _gate_input_range(tensor: Any, calibration: Samples) -> None:
    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    low, high = scale * (-128 - zero), scale * (127 - zero)
    least, most = np.percentile(calibration, (0.1, 99.9))
    # Half a step: rounding may reach it without saturating.
    if least < low - scale / 2 or most > high + scale / 2:
        raise _refused(
            4, f"the input holds {low:.3g} to {high:.3g}, patches {least:.3g} to {most:.3g}"
        )


def _name(tensor: Any) -> str:
    return str(tensor.name, "utf-8") if isinstance(tensor.name, bytes) else str(tensor.name)


def _operator_names() -> dict[int, str]:
    kinds = vars(schema.BuiltinOperator)
    return {code: name for name, code in kinds.items() if isinstance(code, int)}


def _convert_here(family: Family, network: str, outputs: int, arrays: Path, model: Path) -> None:
    """The child's part; TensorFlow is imported in it alone."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    with np.load(arrays) as data:
        calibration, *weights = (data[name] for name in data.files)
    fixed, input_name = _fresh(family, network, outputs, calibration.shape[1:])
    fixed.set_weights(weights)
    spec = tf.TensorSpec(fixed.input_shape, tf.float32, name=input_name)
    call = tf.function(lambda patch: fixed(patch, training=False), input_signature=[spec])
    # Converted without this, variables are read by operators that calibration does not know.
    frozen = convert_variables_to_constants_v2(call.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([patch[None]] for patch in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    model.write_bytes(converter.convert())


def _fresh(family: Family, network: str, outputs: int, patch: tuple[int, ...]) -> tuple[Any, str]:
    """The network for one patch at a time, and the name of its input."""
    if family == "laboratory":
        from model_build import labnetworks

        fixed = labnetworks.build(network, patch, outputs, batch=1)
        return fixed, labnetworks.NETWORKS[network].input
    from model_build import networks

    of_street = networks.NETWORKS[network]
    fixed = networks.build(network, outputs, "sigmoid", batch=1, capped=of_street.settles)
    return fixed, of_street.input


if __name__ == "__main__":
    _convert_here(
        "laboratory" if sys.argv[1] == "laboratory" else "street",
        sys.argv[2],
        int(sys.argv[3]),
        Path(sys.argv[4]),
        Path(sys.argv[5]),
    )
