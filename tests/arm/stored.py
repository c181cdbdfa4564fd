"""The fixtures: where they lie, what is in them, and the steps of the numbers that they hold."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.records import Samples

FOLDER = Path(__file__).parent / "fixtures"
LIBROSA = FOLDER / "librosa.npz"
ANSWERS = FOLDER / "answers.npz"
HEARD = FOLDER / "heard.json"

GRIDS = {
    "320/48/12": FrontendSettings(clip=None),
    "400/40/10": FrontendSettings(clip=None, hop=400, patch=40, patch_hop=10),
    "250/64/16": FrontendSettings(clip=None, hop=250, patch=64, patch_hop=16),
    "160/96/25": FrontendSettings(clip=None, hop=160, patch=96, patch_hop=25),
}
"""FRONTEND's four; tiles of 10 and 25 frames fill no whole groups of four rows."""

LEVEL_STEP_DB = 1e-7
"""Of librosa's levels: four bytes each, and finer than any tolerance."""
COEFFICIENT_STEP = 1e-6
PATCHES = 200
FRAMES_AHEAD = 12
FILM_FLOOR_DB = -80.0

Whole: TypeAlias = npt.NDArray[np.integer]


def windows(film: Whole) -> Samples:
    """The film's 200 patches: (200, 48, 64) log-mel dB of whole decibels."""
    levels = (film + FILM_FLOOR_DB).astype(np.float32)
    return np.stack([levels[n * FRAMES_AHEAD : n * FRAMES_AHEAD + 48] for n in range(PATCHES)])
