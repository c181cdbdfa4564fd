"""Writes the fixtures, on x86, with librosa at hand: python -m tests.arm.record

They change with librosa, a model, the meter or the recordings; look at what changed, and why.
No audio is in them: levels of a scene that is synthesised, int8 scores, readings and events.
"""

import hashlib
import platform
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import librosa
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.bundle import load
from edge_agent.classifier import Network, quantise
from edge_agent.commands.scene import RATE, compose
from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames, from_levels, golden_signals
from edge_agent.records import Samples
from edge_agent.resample import resample
from tests.arm import stored
from tests.arm.heard import heard
from tests.arm.recordings import write_all
from tests.conftest import ROOT


def main() -> None:
    """Write all three."""
    if platform.machine() != "x86_64":
        sys.exit("The fixtures are x86's word: write them there.")
    stored.FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(stored.LIBROSA, allow_pickle=False, **_by_librosa())
    np.savez_compressed(stored.ANSWERS, allow_pickle=False, **_answers())
    with TemporaryDirectory() as folder:
        found = {
            name: heard(path, hashlib.sha256(path.read_bytes()).hexdigest())
            for name, path in write_all(Path(folder)).items()
        }
    stored.HEARD.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def _by_librosa() -> dict[str, stored.Whole]:
    """Log-mel by grid and signal, and MFCCs of the default grid, in whole steps."""
    found = {}
    signals = golden_signals()
    for grid, settings in stored.GRIDS.items():
        for name in signals if settings.hop == 320 else ("noise", "chirp"):
            levels = _log_mel(signals[name], settings)
            found[f"logmel {grid} {name}"] = _steps(levels, stored.LEVEL_STEP_DB)
            if settings.hop == 320 and name in ("noise", "chirp"):
                coefficients = librosa.feature.mfcc(S=levels, n_mfcc=settings.n_mfcc, norm="ortho")
                found[f"mfcc {grid} {name}"] = _steps(coefficients, stored.COEFFICIENT_STEP)
    return found


def _log_mel(samples: Samples, settings: FrontendSettings) -> npt.NDArray[np.float64]:
    power = librosa.feature.melspectrogram(
        y=samples.astype(np.float64),
        sr=settings.rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        center=False,
        n_mels=settings.n_mels,
        fmin=settings.fmin,
        fmax=settings.fmax,
    )
    return np.asarray(10 * np.log10(power + settings.floor_value))


def _steps(values: npt.NDArray[np.float64], step: float) -> stored.Whole:
    return np.round(values.T / step).astype(np.int32)


def _answers() -> dict[str, stored.Whole]:
    """The film, and each bundle's int8 input and answers."""
    film = _film()
    found: dict[str, stored.Whole] = {"film": film}
    for path in sorted((ROOT / "models").glob("*/model.json")):
        bundle = load(path.parent)
        inputs = quantise(from_levels(stored.windows(film), bundle.frontend), bundle.input)
        if bundle.frontend.kind != "logmel":
            # A matrix product lies between; elsewhere it may round to the next step.
            found[f"{bundle.name} input"] = inputs
        for way in ("plain", "delegate"):
            network = Network(bundle.model, delegate=way == "delegate", stateful=bundle.stateful)
            found[f"{bundle.name} {way}"] = np.stack([network.run(row) for row in inputs])
    return found


def _film() -> stored.Whole:
    """The demo's scene for 49 s, as log-mel frames in whole decibels."""
    scene = np.concatenate([compose(0, lap) for lap in (0, 1)])
    frames = Frames(FrontendSettings(), "exact").batch(resample(scene, RATE, 16_000))
    length = (stored.PATCHES - 1) * stored.FRAMES_AHEAD + 48
    return np.round(frames[:length] - stored.FILM_FLOOR_DB).astype(np.uint8)


if __name__ == "__main__":
    main()
