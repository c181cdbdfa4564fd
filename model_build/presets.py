"""Published systems that stay reproducible: each under its own protocol and the leak-free.

What they report was reached on their data and by their way of splitting; where neither is here,
the note says what differs. Their networks stand in `labnetworks`, layer by layer.
"""

import msgspec

from model_build.laboratory import Flattering
from model_build.labtasks import THREE_WAY
from model_build.results import Published
from model_build.settingsfile import Settings
from model_build.tasks import URBANSOUND8K


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a preset, and what was published of it."""

    model: str
    """A key of `classical.KINDS` or `labnetworks.NETWORKS`."""
    rows: str | None = None
    """What a classical model learns from; a network has its own."""
    published: Published | None = None
    settings: Settings = {}
    """Other ones than the model's own."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A published system."""

    title: str
    task: str
    against_rest: str | None = None
    flattering: Flattering
    """Its own way of splitting."""
    entries: tuple[Entry, ...]


_OTHER_DATA = "published on other recordings, which are not here"

PRESETS = {
    "audify": Preset(
        title="40 MFCC means, three dense layers, ten classes",
        task=URBANSOUND8K.id,
        flattering=Flattering(share=0.3),
        entries=(
            Entry(
                model="audify",
                published=Published(
                    accuracy=0.7828,
                    note="published on all 8732 clips of UrbanSound8K at their own rate",
                ),
            ),
            Entry(model="audify_patches"),
        ),
    ),
    "music-speech-noise": Preset(
        title="MFCCs, two dense layers, three classes",
        task=THREE_WAY,
        flattering=Flattering(share=0.2),
        entries=(
            Entry(
                model="three_way",
                published=Published(accuracy=0.96, recall={"noise": 0.74}, note=_OTHER_DATA),
            ),
            Entry(model="three_way_patches"),
        ),
    ),
    "cnn-lstm": Preset(
        title="log-mel pictures, convolutions, two LSTM layers; windows split at random",
        task=URBANSOUND8K.id,
        flattering=Flattering(unit="window", share=0.2),
        entries=(Entry(model="conv_lstm", published=Published(accuracy=0.92, note=_OTHER_DATA)),),
    ),
    "imbalanced-zoo": Preset(
        title="five models on seven features of trimmed, cleaned clips; an alarm against the rest",
        task=URBANSOUND8K.id,
        against_rest="siren",
        flattering=Flattering(share=0.2),
        entries=tuple(
            Entry(
                model=model,
                rows=rows,
                published=Published(
                    accuracy=accuracy,
                    macro_f1=macro_f1,
                    minority_recall=minority,
                    note=_OTHER_DATA,
                ),
            )
            for model, rows, accuracy, macro_f1, minority in (
                ("svm", "zoo", 0.90, 0.74, 0.77),
                ("xgboost", "zoo", 0.95, 0.73, 0.32),
                ("zoo_dnn", None, 0.93, 0.80, 0.76),
                ("zoo_lstm", None, 0.87, 0.69, 0.68),
                ("zoo_gru", None, 0.91, 0.72, 0.57),
            )
        ),
    ),
    "advanced": Preset(
        title="forest and boosting with their settings searched, CNN, LSTM, transfer learning",
        task=URBANSOUND8K.id,
        flattering=Flattering(share=0.2),
        entries=(
            Entry(model="forest_searched"),
            Entry(model="boosting_searched"),
            Entry(model="cnn"),
            Entry(model="lstm"),
            Entry(model="yamnet"),
        ),
    ),
}
