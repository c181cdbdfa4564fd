"""The front end against what librosa computed on x86, in both modes and on all grids.

Tolerances are those of tests/test_frontend_librosa.py: some times what was measured, and for
`fast` what holds at the default settings on every class of sound.
"""

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.config import FrontendSettings
from edge_agent.frontend import Frames, Mode, golden_signals
from tests.arm import stored

pytestmark = pytest.mark.arm

LEVEL_DB: dict[Mode, float] = {"exact": 2e-6, "fast": 0.05}
COEFFICIENT: dict[Mode, float] = {"exact": 1e-5, "fast": 0.03}
with np.load(stored.LIBROSA) as found:
    BY_LIBROSA = {name: found[name] for name in found}


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("name", [name for name in BY_LIBROSA if name.startswith("logmel")])
def test_levels_are_librosas(name: str, mode: Mode) -> None:
    _, grid, signal = name.split()
    found = _computed(stored.GRIDS[grid], mode, signal)
    wanted = BY_LIBROSA[name] * stored.LEVEL_STEP_DB
    np.testing.assert_allclose(found, wanted, rtol=0, atol=LEVEL_DB[mode])


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("name", [name for name in BY_LIBROSA if name.startswith("mfcc")])
def test_coefficients_are_librosas(name: str, mode: Mode) -> None:
    _, _, signal = name.split()
    found = _computed(FrontendSettings(kind="mfcc", clip=None), mode, signal)
    wanted = BY_LIBROSA[name] * stored.COEFFICIENT_STEP
    np.testing.assert_allclose(found, wanted, rtol=0, atol=COEFFICIENT[mode])


def _computed(settings: FrontendSettings, mode: Mode, signal: str) -> npt.NDArray[np.float64]:
    samples = golden_signals()[signal]
    frames = Frames(settings, mode)
    return frames.batch_double(samples)
