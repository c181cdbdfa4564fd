"""Makes a trained CNN fit for int8: its channels are brought to one size, then capped.

A tensor of activations has one int8 scale for all channels, so a channel that is ten times smaller
than its neighbour keeps a tenth of the steps. A ReLU lets a factor pass through: what a channel is
divided by in front of it, the next layer's weights are multiplied by, and the network computes
what it did before (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
correction"). Rare peaks would still set the scale; they are capped at 6, and the network is trained
on for a little while with that cap.
"""

import itertools

import keras
import numpy as np

from edge_agent.records import Samples
from model_build import networks, train

# Of the values of a channel; what is above is a rare peak.
_PERCENTILE = 99.9
# Where that percentile comes to lie under the cap of 6.
_TARGET = 4.5
# In front of weights with one scale for all their inputs, a channel's factor is split between the
# activation and those weights; in front of depthwise weights, which have a scale each, it is not.
_SHARED, _OWN = 0.5, 1.0
_WIDEST = 16.0

PLAN = train.Plan(epochs=3, peak_rate=4e-4)


def settled(name: str, trained: keras.Model, patches: Samples) -> keras.Model:
    """The network with equalised channels and capped activations, to be trained on.

    Args:
        name: A key of `networks.NETWORKS`, of a network that is a chain.
        trained: With its weights; they are changed.
        patches: (n, *shape), standardised training patches.
    """
    chain = [layer for layer in trained.layers if _takes_channels(layer)]
    for layer, following in itertools.pairwise(chain):
        _equalise(trained, layer.name, following, patches)
    capped = networks.build(name, trained.output_shape[-1], "sigmoid", capped=True)
    capped.set_weights(trained.get_weights())
    return capped


def _takes_channels(layer: keras.layers.Layer) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    return isinstance(layer, kinds)


def _equalise(
    model: keras.Model, name: str, following: keras.layers.Layer, patches: Samples
) -> None:
    """Divide the channels behind layer `name` by factors, and multiply the following weights."""
    heard = keras.Model(model.input, model.get_layer(f"{name}_relu").output)
    values = heard.predict(patches, batch_size=64, verbose=0)
    size = np.percentile(values.reshape(-1, values.shape[-1]), _PERCENTILE, axis=0)
    size = np.maximum(size, 1e-3)
    share = _OWN if isinstance(following, keras.layers.DepthwiseConv2D) else _SHARED
    mean = float(np.exp(np.log(size).mean()))
    factor = np.clip((size / mean) ** share, 1 / _WIDEST, _WIDEST)
    # The same factor for all brings the largest channel under the cap.
    factor *= float((size / factor).max()) / _TARGET
    norm = model.get_layer(f"{name}_norm")
    gamma, beta, average, variance = norm.get_weights()
    norm.set_weights([gamma / factor, beta / factor, average, variance])
    kernel, *rest = following.get_weights()
    # Input channels are the last axis but one of every kind of weights.
    following.set_weights([kernel * factor[:, None], *rest])
