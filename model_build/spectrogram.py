"""What a page shows of a recording: log-mel levels of all of it, by the device's front end."""

from pathlib import Path

import numpy as np

from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames
from edge_agent.records import Samples
from model_build import features

_SHOWN = FrontendSettings()
STEP_S = _SHOWN.hop / _SHOWN.rate
"""From frame to frame."""
ABOUT = (
    f"Log-mel levels over seconds, {_SHOWN.n_mels} bands from {_SHOWN.fmin:.0f} to "
    f"{_SHOWN.fmax:.0f} Hz, 60 dB down from each clip's loudest."
)


class Spectrograms:
    """Of one recording after the other."""

    def __init__(self) -> None:
        self._frames = Frames(_SHOWN)

    def levels(self, path: Path) -> Samples:
        """(frames, bands), dB.

        Raises:
            AudioError: The recording cannot be read.
        """
        samples = features.looped(features.heard(path, _SHOWN.rate), _SHOWN.n_fft)
        return np.asarray(self._frames.batch(samples))
