"""How long each street network trains."""

from model_build import train

# Keeps the logits of certain answers near 4.6, so that their int8 steps stay small, and the scores
# of what is not there above the step of 1/256, below which they would all be equal.
_SMOOTHING = 0.02
PLANS = {
    "dnn": train.Plan(epochs=20, batch=128),
    "cnn": train.Plan(epochs=24, label_smoothing=_SMOOTHING),
    "cnn_lstm": train.Plan(epochs=14, label_smoothing=_SMOOTHING),
}
# Of a network that went to school before, and what the values of an embedding weigh there.
TAUGHT = train.Plan(epochs=16, batch=128, average=0.995, label_smoothing=_SMOOTHING)
VALUES_WEIGHT = 0.1
