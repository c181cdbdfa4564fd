"""A network is made fit for int8 without becoming another one."""

import keras
import numpy as np
import pytest

from edge_agent.classifier import Network, dequantise, quantise
from edge_agent.records import Samples
from model_build import networks, parity, settle
from model_build.quantise import convert

LABELS = 14


@pytest.fixture(scope="module")
def patches() -> Samples:
    """Smooth in time and frequency, as log-mel patches are."""
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 1, (48, 48, 1)) + rng.normal(0, 1, (48, 1, 64))
    return (steps + rng.normal(0, 0.5, (48, 48, 64))).clip(-4, 4).astype(np.float32)


@pytest.fixture
def trained(patches: Samples) -> keras.Model:
    """Channels of very different size, as training leaves them."""
    keras.utils.set_random_seed(2)
    network = networks.build("cnn", LABELS, "sigmoid")
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, *rest = layer.get_weights()
            sizes = np.geomspace(0.3, 3, len(gamma), dtype=np.float32)
            layer.set_weights([gamma * np.random.default_rng(4).permutation(sizes), *rest])
            layer.momentum = 0.0
    # One pass with training's statistics, which are kept at once.
    network(patches, training=True)
    return network


def test_equalising_channels_changes_no_score(trained: keras.Model, patches: Samples) -> None:
    before, sizes = trained.predict(patches, verbose=0), _channels(trained, patches)
    settle.equalise(trained, patches)
    # float32 through 17 layers.
    assert trained.predict(patches, verbose=0) == pytest.approx(before, abs=1e-5)
    assert np.ptp(np.log(_channels(trained, patches))) < np.ptp(np.log(sizes)) / 2


def _channels(network: keras.Model, patches: Samples) -> Samples:
    """The loudest value of each channel in front of a depthwise layer."""
    heard = keras.Model(network.input, network.get_layer("block3_point_relu").output)
    sizes: Samples = heard.predict(patches, verbose=0).max(axis=(0, 1, 2))
    return sizes


def test_the_twin_rounds_as_int8_does(trained: keras.Model, patches: Samples) -> None:
    settle.equalise(trained, patches)
    twin = settle.twin(trained)
    model = convert("cnn", trained.get_weights(), LABELS, patches)
    network = Network(model, delegate=False, stateful=False)
    codes = quantise(patches, network.input)
    int8 = dequantise(parity.run(network, codes), network.output)
    # The twin does not round what it hears.
    heard = dequantise(codes, network.input)
    capped = networks.build("cnn", LABELS, "sigmoid", capped=True)
    capped.set_weights(trained.get_weights())
    exact = capped.predict(heard, verbose=0)
    noise = (twin.predict(heard, verbose=0) - exact).std()
    # Scales that differ a little make other errors, but of the same size.
    assert noise == pytest.approx((int8 - exact).std(), rel=0.3)


def test_weights_pass_between_the_network_and_its_twin(trained: keras.Model) -> None:
    twin = settle.twin(trained)
    for ours, theirs in zip(trained.get_weights(), twin.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
