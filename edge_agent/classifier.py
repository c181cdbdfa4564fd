"""Scores from features by an int8 network; the only door to a runtime.

LiteRT where it is installed, else tflite-runtime, on one thread. LiteRT hands int8 work to its
XNNPACK delegate, which is several times faster and rounds a little differently; without the
delegate both runtimes compute with the same plain kernels, byte for byte.
"""

import importlib
from typing import Final, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from edge_agent.bundle import Bundle, Int8, Tensor, golden_features
from edge_agent.errors import BundleError
from edge_agent.frontend import Patches
from edge_agent.records import Samples

_RUNTIMES: Final = (
    ("LiteRT", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)
_REINSTALL: Final = (
    "Install the agent's packages again, or take the runtime that it was built with."
)

# In int8 steps. XNNPACK may take the other side of a rounding in every layer (measured worst: 23);
# plain kernels agree exactly on x86, and round otherwise on Arm (measured worst: 3).
_SCORE_STEPS: Final = {True: 32, False: 6}
# A feature near the middle between two steps may fall to either side, so one step, and rarely.
_INPUT_STEPS: Final = 1
_INPUT_SHARE: Final = 0.01
_LEAST, _MOST = np.float32(-128), np.float32(127)


class _Detail(TypedDict):
    """What the runtimes say of a tensor, as far as it is used."""

    name: str
    index: int
    shape: npt.NDArray[np.int32]
    dtype: type[np.generic]
    quantization: tuple[float, int]


class _Interpreter(Protocol):
    """What is used of the runtimes' interpreters."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[_Detail]: ...
    def get_output_details(self) -> list[_Detail]: ...
    def set_tensor(self, index: int, value: Int8) -> None: ...
    def invoke(self) -> None: ...
    def get_tensor(self, index: int) -> Int8: ...
    def reset_all_variables(self) -> None: ...


class Network:
    """An int8 network in whichever runtime is installed.

    Args:
        model: The flatbuffer.
        delegate: Let LiteRT use XNNPACK; without it the plain kernels compute.
        stateful: Reset what the network remembers before each inference.

    Raises:
        BundleError: No runtime is installed, or it cannot load the network.
    """

    def __init__(self, model: bytes, *, delegate: bool, stateful: bool) -> None:
        self.runtime, self._interpreter = _open(model, delegate=delegate)
        self._input, self.input = _only(self._interpreter.get_input_details(), "input")
        self._output, self.output = _only(self._interpreter.get_output_details(), "output")
        self._stateful = stateful

    def run(self, values: Int8) -> Int8:
        """The int8 output, flat, for one int8 input of as many values as the network takes."""
        if self._stateful:
            self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._input, values.reshape(self.input.shape))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output).reshape(-1)


class Classifier:
    """A bundle's network, checked against the bundle, from features to scores.

    Args:
        bundle: As `bundle.load` gives it.
        delegate: Let LiteRT use XNNPACK, as the device does.

    Raises:
        BundleError: The network is not the one that `model.json` describes, or computes something
            else here than in the laboratory.
    """

    def __init__(self, bundle: Bundle, *, delegate: bool = True) -> None:
        self.labels = tuple(label.id for label in bundle.labels)
        self._network = Network(bundle.model, delegate=delegate, stateful=bundle.stateful)
        self.runtime = self._network.runtime
        _check_tensor(bundle, "input", self._network.input, bundle.input)
        _check_tensor(bundle, "output", self._network.output, bundle.output)
        self._input = bundle.input
        # The real value of each int8, negative ones behind the others, as an index has them.
        every = np.arange(256, dtype=np.uint8).view(np.int8)
        self._values = dequantise(every, bundle.output)
        inputs = quantise(golden_features(Patches(bundle.frontend)), bundle.input)
        _check_inputs(bundle, inputs)
        _check_scores(bundle, np.stack([self._network.run(row) for row in inputs]), delegate)

    def scores(self, features: Samples) -> Samples:
        """One score per label, (labels,), 0 to 1.

        Args:
            features: A patch of the bundle's front end, float32 of its shape.
        """
        steps = self._network.run(quantise(features, self._input))
        scores: Samples = self._values.take(steps)
        return scores


def quantise(features: Samples, tensor: Tensor) -> Int8:
    """Features in steps of the tensor's scale; what is out of range saturates.

    A bare cast would wrap an out-of-range value to the other end.
    """
    steps: Samples = np.divide(features, np.float32(tensor.scale))
    np.rint(steps, out=steps)
    np.add(steps, np.float32(tensor.zero_point), out=steps)
    # Not np.clip: by way of three functions, each of them cold, it takes twice as long.
    np.maximum(steps, _LEAST, out=steps)
    return np.minimum(steps, _MOST, out=steps).astype(np.int8)


def dequantise(values: Int8, tensor: Tensor) -> Samples:
    """Real values of an int8 tensor, float32."""
    steps = values.astype(np.float32) - np.float32(tensor.zero_point)
    return steps * np.float32(tensor.scale)


def _open(model: bytes, *, delegate: bool) -> tuple[str, _Interpreter]:
    for name, module in _RUNTIMES:
        try:
            runtime = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        kernels = runtime.OpResolverType.AUTO
        if not delegate:
            kernels = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter: _Interpreter = runtime.Interpreter(
                model_content=model, num_threads=1, experimental_op_resolver_type=kernels
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                f"{name} cannot load the network: {error}",
                hint="Build the bundle again; the network is damaged or needs a newer runtime.",
            ) from error
        return name, interpreter
    raise BundleError(
        "no runtime for networks is installed (ai-edge-litert or tflite-runtime)",
        hint="Install ai-edge-litert; there is none for 32-bit systems, which are not supported.",
    )


def _only(details: list[_Detail], name: str) -> tuple[int, Tensor]:
    if len(details) != 1:
        raise BundleError(
            f"the network has {len(details)} {name} tensors instead of one",
            hint="Build the bundle again with one input and one output.",
        )
    (detail,) = details
    scale, zero_point = detail["quantization"]
    if detail["dtype"] is not np.int8 or not scale > 0:
        raise BundleError(
            f"the network's {name} is {np.dtype(detail['dtype'])} with scale {scale}, not int8",
            hint="Build the bundle again with int8 input and output.",
        )
    shape = tuple(detail["shape"].tolist())
    return detail["index"], Tensor(shape=shape, scale=float(scale), zero_point=int(zero_point))


def _check_tensor(bundle: Bundle, name: str, found: Tensor, wanted: Tensor) -> None:
    # model.json keeps a float32 scale as the shortest decimal that reads back the same.
    same = np.float32(found.scale) == np.float32(wanted.scale)
    if not same or (found.shape, found.zero_point) != (wanted.shape, wanted.zero_point):
        raise BundleError(
            f"{bundle.folder}: the network's {name} is {_described(found)}, "
            f"model.json says {_described(wanted)}",
            hint="Build the bundle again: model.json belongs to another network.",
        )


def _described(tensor: Tensor) -> str:
    return f"{tensor.shape}, scale {tensor.scale:.9g}, zero point {tensor.zero_point}"


def _check_inputs(bundle: Bundle, inputs: Int8) -> None:
    steps = _steps(inputs, bundle.golden.input)
    worst, share = int(steps.max()), float(np.mean(steps > 0))
    if worst > _INPUT_STEPS or share > _INPUT_SHARE:
        raise BundleError(
            f"{bundle.folder}: the network's input for the golden signals is up to {worst} int8 "
            f"steps away from the laboratory's, {share:.2%} of the values differ; "
            f"{_INPUT_STEPS} step on {_INPUT_SHARE:.0%} is allowed",
            hint=_REINSTALL,
        )


def _check_scores(bundle: Bundle, scores: Int8, delegate: bool) -> None:
    worst = int(_steps(scores, bundle.golden.scores).max())
    if worst > _SCORE_STEPS[delegate]:
        raise BundleError(
            f"{bundle.folder}: scores of the golden signals are up to {worst} int8 steps away from "
            f"the laboratory's, {_SCORE_STEPS[delegate]} are allowed",
            hint=_REINSTALL,
        )


def _steps(found: Int8, wanted: Int8) -> npt.NDArray[np.int16]:
    difference: npt.NDArray[np.int16] = np.abs(found.astype(np.int16) - wanted)
    return difference
