"""Every shipped bundle answers here as it did in the laboratory and on x86.

With the delegate, which the device uses, to the byte. The plain kernels are others on Arm than on
x86, and take the other side of a rounding here and there (measured on 200 patches: 17 steps at
worst, the same label first on .975): MODELS' limits between runtimes hold for them.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.bundle import Bundle, Int8, load
from edge_agent.classifier import Classifier, Network, quantise
from edge_agent.frontend import from_levels
from tests.arm import stored
from tests.conftest import ROOT

pytestmark = pytest.mark.arm

STEPS = 32
AGREEMENT = 0.97
OLD_RUNTIME_STEPS = 2
ON_ARM = platform.machine() == "aarch64"
BUNDLES = sorted(path.parent for path in (ROOT / "models").glob("*/model.json"))
with np.load(stored.ANSWERS) as found:
    ON_X86 = {name: found[name] for name in found}


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load(request.param)


@pytest.mark.parametrize("delegate", [False, True], ids=["plain", "delegate"])
def test_golden_vectors_are_reproduced(bundle: Bundle, delegate: bool) -> None:
    """`load` compares the features, and this the int8 input and the scores, by MODELS' limits."""
    assert Classifier(bundle, delegate=delegate).labels


def test_the_patches_become_the_same_int8_input(bundle: Bundle) -> None:
    found, wanted = _computed(bundle), _input(bundle)
    steps = np.abs(found.astype(np.int16) - wanted)
    assert steps.max() <= 1
    assert np.mean(steps > 0) <= 0.01


def test_plain_kernels_answer_as_on_x86(bundle: Bundle) -> None:
    network = Network(bundle.model, delegate=False, stateful=bundle.stateful)
    found = np.stack([network.run(row) for row in _input(bundle)])
    wanted = ON_X86[f"{bundle.name} plain"]
    assert _steps(found, wanted) <= (STEPS if ON_ARM else 0)
    # Ties count for the first, as everywhere.
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) >= AGREEMENT


def test_the_delegate_answers_as_on_x86(bundle: Bundle) -> None:
    network = Network(bundle.model, delegate=True, stateful=bundle.stateful)
    found = np.stack([network.run(row) for row in _input(bundle)])
    assert np.array_equal(found, ON_X86[f"{bundle.name} delegate"])


OTHER_RUNTIME = """
import pathlib, sys
import numpy as np
from edge_agent.bundle import load
from edge_agent.classifier import Classifier, Network
bundle = load(pathlib.Path(sys.argv[1]))
assert Classifier(bundle, delegate=False).runtime == "tflite-runtime"
network = Network(bundle.model, delegate=False, stateful=bundle.stateful)
np.save(sys.argv[3], np.stack([network.run(row) for row in np.load(sys.argv[2])]))
"""

# tflite-runtime ends at Python 3.11; nothing is skipped where it cannot be.
if sys.version_info < (3, 12):

    def test_the_other_runtime_answers_as_on_x86(
        bundle: Bundle, legacy_python: Path, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "input.npy", _input(bundle))
        paths = [str(tmp_path / name) for name in ("input.npy", "output.npy")]
        done = subprocess.run(
            [str(legacy_python), "-c", OTHER_RUNTIME, str(bundle.folder), *paths],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        wanted = ON_X86[f"{bundle.name} plain"]
        assert _steps(np.load(tmp_path / "output.npy"), wanted) <= OLD_RUNTIME_STEPS


def _computed(bundle: Bundle) -> Int8:
    return quantise(from_levels(stored.windows(ON_X86["film"]), bundle.frontend), bundle.input)


def _input(bundle: Bundle) -> Int8:
    """Stored where a matrix product could round otherwise, so that the network alone is judged."""
    stored_input = ON_X86.get(f"{bundle.name} input")
    return _computed(bundle) if stored_input is None else stored_input


def _steps(found: Int8, wanted: Int8) -> int:
    return int(np.abs(found.astype(np.int16) - wanted).max())
