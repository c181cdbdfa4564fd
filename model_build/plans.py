"""How long each street network trains."""

from model_build import train

# Keeps the logits of certain answers near 4.6, so that their int8 steps stay small.
_SMOOTHING = 0.02
PLANS = {
    "dnn": train.Plan(epochs=20, batch=128),
    "cnn": train.Plan(epochs=24, label_smoothing=_SMOOTHING),
    "cnn_lstm": train.Plan(epochs=14, label_smoothing=_SMOOTHING),
}
# Of a network that went to school before, and what the values of an embedding weigh there.
TAUGHT = train.Plan(epochs=36, batch=128, average=0.995)
VALUES_WEIGHT = 0.1
