"""The network that runs is the one of the bundle, and computes what it did in the laboratory."""

import platform
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import resources
from edge_agent.bundle import Bundle, Golden, Tensor, load
from edge_agent.classifier import Classifier, Network, dequantise, quantise
from edge_agent.errors import BundleError

pytestmark = pytest.mark.arm

STEPS = Tensor(shape=(1, 3), scale=0.5, zero_point=-3)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(resources.root() / "models" / "street")


@pytest.mark.parametrize("delegate", [True, False])
def test_the_shipped_network_reproduces_its_golden_scores(bundle: Bundle, delegate: bool) -> None:
    classifier = Classifier(bundle, delegate=delegate)
    found = np.stack([classifier.scores(features) for features in bundle.golden.features])
    wanted = (bundle.golden.scores.astype(np.float64) + 128) / 256
    # Steps of 1/256: 32 with XNNPACK; x86's plain kernels are those that made them.
    plain = 0 if platform.machine() == "x86_64" else 6
    assert np.abs(found - wanted).max() <= (32 if delegate else plain) / 256


def test_scores_come_one_per_label_between_0_and_1(bundle: Bundle) -> None:
    classifier = Classifier(bundle)
    scores = classifier.scores(bundle.golden.features[1])
    assert classifier.labels == tuple(label.id for label in bundle.labels)
    assert scores.shape == (len(classifier.labels),)
    assert scores.dtype == np.float32
    assert scores.min() >= 0
    assert scores.max() < 1
    assert classifier.runtime in ("LiteRT", "tflite-runtime")


def test_the_same_patch_gives_the_same_scores_whatever_came_between(bundle: Bundle) -> None:
    classifier = Classifier(bundle)
    first = classifier.scores(bundle.golden.features[1])
    for features in bundle.golden.features:
        classifier.scores(features)
    assert np.array_equal(classifier.scores(bundle.golden.features[1]), first)


def test_quantising_rounds_and_saturates() -> None:
    # At 0.5 a step from -3: 0.24 rounds down, 0.26 up; 1e6 would wrap to something by a bare cast.
    values = np.array([0.0, 0.24, 0.26, -0.26, 65.5, 66.0, 1e6, -62.5, -63.0, -1e6], np.float32)
    wanted = [-3, -3, -2, -4, 127, 127, 127, -128, -128, -128]
    assert quantise(values, STEPS).tolist() == wanted


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=50))
def test_a_quantised_value_survives_there_and_back(steps: list[int]) -> None:
    values = np.array(steps, np.int8)
    assert np.array_equal(quantise(dequantise(values, STEPS), STEPS), values)


@pytest.mark.parametrize(
    "change",
    [{"scale": 0.25}, {"zero_point": 7}],
)
@pytest.mark.parametrize("name", ["input", "output"])
def test_a_network_with_other_tensors_than_the_bundle_says_is_refused(
    bundle: Bundle, name: str, change: dict[str, float]
) -> None:
    tensor = msgspec.structs.replace(getattr(bundle, name), **change)
    other = msgspec.structs.replace(bundle, **{name: tensor})
    with pytest.raises(BundleError, match=f"the network's {name} is .* model.json says") as caught:
        Classifier(other)
    assert "Build the bundle again" in caught.value.hint


def _with_golden(bundle: Bundle, **changes: object) -> Bundle:
    golden: Golden = msgspec.structs.replace(bundle.golden, **changes)
    return msgspec.structs.replace(bundle, golden=golden)


def test_an_int8_input_two_steps_away_is_refused(bundle: Bundle) -> None:
    values = bundle.golden.input.copy()
    values.flat[0] += 2 if values.flat[0] < 0 else -2
    with pytest.raises(BundleError, match="golden signals is up to 2 int8 steps away") as caught:
        Classifier(_with_golden(bundle, input=values))
    assert "Install the agent's packages again" in caught.value.hint


def test_an_int8_input_one_step_away_on_every_value_is_refused(bundle: Bundle) -> None:
    values = np.where(bundle.golden.input < 0, bundle.golden.input + 1, bundle.golden.input - 1)
    with pytest.raises(BundleError, match=r"of the values differ; 1 step on 1% is allowed"):
        Classifier(_with_golden(bundle, input=values.astype(np.int8)))


def _moved(scores: np.ndarray[tuple[int, ...], np.dtype[np.int8]], steps: int) -> object:
    moved = scores.astype(np.int16)
    moved.flat[0] += steps if moved.flat[0] < 0 else -steps
    return moved.astype(np.int8)


def test_scores_ten_steps_away_are_refused_without_the_delegate(bundle: Bundle) -> None:
    other = _with_golden(bundle, scores=_moved(bundle.golden.scores, 10))
    with pytest.raises(BundleError, match=r"up to \d+ int8 steps away .* 6 are allowed"):
        Classifier(other, delegate=False)


def test_scores_far_away_are_refused_with_the_delegate(bundle: Bundle) -> None:
    other = _with_golden(bundle, scores=_moved(bundle.golden.scores, 90))
    with pytest.raises(BundleError, match=r"int8 steps away .* 32 are allowed"):
        Classifier(other)


@pytest.mark.parametrize("model", [b"", b"nonsense" * 100])
def test_bytes_that_are_no_network_are_refused(model: bytes) -> None:
    with pytest.raises(BundleError, match="cannot load the network") as caught:
        Network(model, delegate=False, stateful=False)
    assert "Build the bundle again" in caught.value.hint


def test_the_network_is_read_once(bundle: Bundle, tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(bundle, folder=tmp_path / "gone")
    assert Classifier(elsewhere).labels
