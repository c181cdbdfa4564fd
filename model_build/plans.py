"""How long each street network trains, and on how many fresh mixtures."""

from model_build import train

PATCHES_PER_EPOCH = 10_000
# Keeps the logits of certain answers near 4.6, so that their int8 steps stay small.
_SMOOTHING = 0.02
PLANS = {
    "dnn": train.Plan(epochs=20, batch=128),
    "cnn": train.Plan(epochs=24, label_smoothing=_SMOOTHING),
    "cnn_lstm": train.Plan(epochs=14, label_smoothing=_SMOOTHING),
}
