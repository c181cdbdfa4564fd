"""The front end under numpy 1.26, whose FFT knows float64 alone.

It runs as a process of the old runtime's environment, and files carry the data. Nothing here is
simulated: tests/test_frontend.py only pretends that numpy is old.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import FrontendSettings
from edge_agent.frontend import Patches, golden_signals
from edge_agent.records import Samples
from tests.conftest import ROOT

PROGRAM = """
import sys
import numpy as np
from edge_agent.config import FrontendSettings
from edge_agent.frontend import Patches, golden_signals

given, found = sys.argv[1:]
signals = np.load(given)
answers = {"numpy": np.__version__, "mode": Patches(FrontendSettings()).mode}
try:
    answers["asked"] = Patches(FrontendSettings(), "fast").mode
except ValueError as error:
    answers["asked"] = str(error)
for kind in ("logmel", "mfcc"):
    patches = Patches(FrontendSettings(kind=kind, clip=None))
    answers[kind] = np.concatenate([patches.batch(signals[name]) for name in signals.files])
    pushed = []
    for name in signals.files:
        for piece in np.split(signals[name], range(441, signals[name].size, 441)):
            pushed += patches.push(piece)
        pushed += patches.flush()
    answers["streamed " + kind] = np.stack([patch.features for patch in pushed])
answers |= {"signal " + name: signal for name, signal in golden_signals().items()}
np.savez(found, **answers)
"""


@pytest.fixture(scope="module")
def old(legacy_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Samples]:
    """What the old environment answers, by name."""
    folder = tmp_path_factory.mktemp("old")
    np.savez(folder / "signals.npz", **golden_signals())  # type: ignore[arg-type] # allow_pickle
    done = subprocess.run(
        [str(legacy_python), "-c", PROGRAM, "signals.npz", "found.npz"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz") as found:
        return dict(found)


def test_auto_which_would_be_fast_is_exact(old: dict[str, Samples]) -> None:
    assert str(old["numpy"]).startswith("1.26.")
    assert str(old["mode"]) == "exact"


def test_fast_is_refused_with_the_reason(old: dict[str, Samples]) -> None:
    assert (
        str(old["asked"]) == f"mode fast needs numpy 2, this is {old['numpy']}: its FFT is float64"
    )


def test_golden_signals_are_the_same_bytes(old: dict[str, Samples]) -> None:
    for name, signal in golden_signals().items():
        assert old[f"signal {name}"].tobytes() == signal.tobytes(), name


@pytest.mark.parametrize(("kind", "tolerance"), [("logmel", 1e-4), ("mfcc", 5e-4)])
def test_features_of_the_golden_signals_equal_those_of_exact_here(
    old: dict[str, Samples], kind: str, tolerance: float
) -> None:
    """Tolerances of `exact` for float32, in dB: design page FRONTEND, section 6."""
    patches = Patches(FrontendSettings(kind=kind, clip=None), "exact")  # type: ignore[arg-type] # by name
    ours = np.concatenate([patches.batch(signal) for signal in golden_signals().values()])
    assert ours.shape == old[kind].shape == (6, *patches.shape)
    assert np.abs(ours.astype(np.float64) - old[kind]).max() <= tolerance


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
def test_a_stream_has_the_bytes_of_the_whole_there_too(old: dict[str, Samples], kind: str) -> None:
    assert old[f"streamed {kind}"].tobytes() == old[kind].tobytes()
