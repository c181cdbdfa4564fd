"""What all tests share: recordings that may be absent, and hypothesis' profiles."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).resolve().parent.parent

_EMULATED = "EARSHOT_EMULATED" in os.environ
"""On a Pi's instruction set, where everything takes ten times as long: scripts/test-arm64."""

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "emulated",
    settings.get_profile("ci"),
    # A failure is told as it was found: to look for a simpler one would take many minutes.
    phases=[Phase.explicit, Phase.generate],
)
settings.register_profile("dev", deadline=None)
if _EMULATED:
    settings.load_profile("emulated")
else:
    settings.load_profile("ci" if os.environ.get("CI") else "dev")


def examples(count: int) -> int:
    """For hypothesis; a quarter under emulation."""
    return count // 4 if _EMULATED else count


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of recordings; where it is absent, the test counts as not run."""
    root = Path(os.environ.get("EARSHOT_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "urbansound8k.csv").is_file():
        reason = f"not run: no data (no recordings in {root}; set EARSHOT_DATA)"
        if os.environ.get("EARSHOT_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


@pytest.fixture(scope="session")
def teacher_root() -> Path:
    """The folder with YAMNet; where it is absent, the test counts as not run."""
    root = Path(os.environ.get("EARSHOT_TEACHER", ROOT.parent / "shared" / "teacher"))
    if not (root / "yamnet.tflite").is_file():
        reason = f"not run: no data (no yamnet.tflite in {root}; set EARSHOT_TEACHER)"
        if os.environ.get("EARSHOT_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


@pytest.fixture(scope="session")
def legacy_python() -> Path:
    """An interpreter with tflite-runtime 2.14, which cannot share this one's numpy."""
    given = os.environ.get("EARSHOT_LEGACY_PYTHON")
    path = Path(given) if given else ROOT / ".venv-legacy" / "bin" / "python"
    if not path.is_file():
        pytest.fail(
            f"no interpreter with tflite-runtime at {path}: make one by `python3.11 -m venv "
            ".venv-legacy && .venv-legacy/bin/pip install '.[legacy]'` (scripts/test does)"
        )
    return path
