"""The networks have the shapes, sizes and names that conversion rests on."""

import keras
import pytest

from edge_agent.frontend import Patches
from model_build import networks
from model_build.networks import NETWORKS

# Issue and design: under 500 KB each as int8, the CNN about 200 000 weights.
MOST_WEIGHTS = {"dnn": 100_000, "cnn": 210_000, "cnn_lstm": 130_000}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> keras.Model:
    return networks.build(str(request.param), 14, "sigmoid", batch=1)


def test_a_network_takes_a_patch_of_its_front_end(network: keras.Model) -> None:
    settings = NETWORKS[network.name].frontend
    assert network.input_shape == (1, *Patches(settings).shape)
    assert networks.shape(settings) == Patches(settings).shape


def test_a_network_gives_a_score_for_each_label(network: keras.Model) -> None:
    assert network.output_shape == (1, 14)


def test_a_network_keeps_within_its_size(network: keras.Model) -> None:
    assert network.count_params() <= MOST_WEIGHTS[network.name]


def test_no_layers_name_depends_on_what_was_built_before(network: keras.Model) -> None:
    again = networks.build(network.name, 14, "sigmoid", batch=1)
    names = [layer.name for layer in network.layers]
    assert names == [layer.name for layer in again.layers]


def test_the_recurrent_network_is_what_was_asked_for() -> None:
    network = networks.build("cnn_lstm", 14, "sigmoid", batch=1)
    kinds = [type(layer).__name__ for layer in network.layers]
    convolution, dense, recurrent = (kinds.index(kind) for kind in ("Conv2D", "Dense", "LSTM"))
    assert convolution < dense < recurrent
    assert kinds.count("LSTM") == 2
    assert {"BatchNormalization", "MaxPooling2D", "Dropout"} <= set(kinds)
    assert network.get_layer("steps").output.shape == (1, 12, 384)
