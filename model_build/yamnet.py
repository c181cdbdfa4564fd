"""The teacher's ears: YAMNet, from a file that the user gives, and what it hears in each patch.

Its front end is inside the file: 15,600 samples at 16 kHz in; out come 521 scores and an embedding
of 1,024 values, which are never negative. Weights: Apache-2.0 (TensorFlow Models); not shipped.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import Patches, fingerprint
from edge_agent.records import Samples
from model_build import features
from model_build.datasets import Clip
from model_build.features import Features

RATE = 16_000
SAMPLES = 15_600
EMBEDDING = 1024
# Clips come at any level, and YAMNet's floor is fixed: each is brought to this peak.
_PEAK = 0.5
_HINT = (
    "Give a YAMNet that takes 15600 float samples and returns 521 scores and 1024 embeddings; "
    "most copies in circulation return scores only."
)


class Yamnet:
    """A YAMNet file.

    Args:
        path: A .tflite.

    Raises:
        BuildError: It cannot be read, or is not a YAMNet with embeddings.
    """

    def __init__(self, path: Path) -> None:
        try:
            model = path.read_bytes()
        except OSError as error:
            raise BuildError(f"{path}: cannot be read ({error.strerror})", hint=_HINT) from error
        self.sha256 = hashlib.sha256(model).hexdigest()
        try:
            self._interpreter = Interpreter(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BuildError(f"{path}: is no model ({error})", hint=_HINT) from error
        given = self._interpreter.get_input_details()
        found = [
            detail
            for detail in self._interpreter.get_output_details()
            if detail["shape"][-1] == EMBEDDING
        ]
        if [detail["shape"][-1] for detail in given] != [SAMPLES] or len(found) != 1:
            raise BuildError(f"{path}: is no YAMNet with embeddings", hint=_HINT)
        self._given, self._answer = given[0], found[0]

    def embedding(self, samples: Samples) -> Samples:
        """What it hears in a patch.

        Args:
            samples: (15600,), full scale 1.0.

        Returns:
            (1024,), not negative.
        """
        self._interpreter.set_tensor(
            self._given["index"], np.ascontiguousarray(samples).reshape(self._given["shape"])
        )
        self._interpreter.invoke()
        found: Samples = self._interpreter.get_tensor(self._answer["index"]).reshape(-1)
        return found


def embeddings(
    clips: Sequence[Clip], root: Path, settings: FrontendSettings, yamnet: Yamnet, cache: Path
) -> Features:
    """The square root of YAMNet's embedding for each patch, row by row as `features.patches`.

    The root brings the long tails of the values nearer to what a linear layer can use.

    Args:
        clips: The recordings.
        root: What their paths are relative to.
        settings: Cuts the patches, at 16 kHz.
        yamnet: The teacher.
        cache: For the rows.
    """
    front = Patches(features.raw(settings))
    if settings.rate != RATE or front.span < SAMPLES:
        raise ValueError(f"{front.span} samples at {settings.rate} Hz: YAMNet needs more")
    inset = (front.span - SAMPLES) // 2
    kept = cache / f"yamnet-{yamnet.sha256[:8]}-{fingerprint(features.raw(settings))[:12]}"
    kept.mkdir(parents=True, exist_ok=True)

    def remembered(samples: Samples) -> Samples:
        """Kept by sound: the same recordings are asked for in many lists."""
        path = kept / f"{hashlib.sha256(samples.tobytes()).hexdigest()}.npy"
        if not path.is_file():
            partial = path.with_suffix(".partial.npy")
            np.save(partial, compute(samples).astype(np.float16))
            partial.replace(path)
        rows: Samples = np.load(path, allow_pickle=False)
        return rows

    def compute(samples: Samples) -> Samples:
        samples = features.looped(samples, front.span)
        peak = float(np.abs(samples).max()) or 1.0
        samples = samples * np.float32(_PEAK / peak)
        starts = range(inset, len(samples) - front.span + inset + 1, front.hop)
        return np.sqrt([yamnet.embedding(samples[at : at + SAMPLES]) for at in starts])

    return features.cached(f"yamnet-{yamnet.sha256[:8]}", clips, root, settings, cache, remembered)
