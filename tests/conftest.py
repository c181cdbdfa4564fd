"""What all tests share: absent recordings, hypothesis' profiles, and how processes share them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.neighbours import Neighbours

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

_WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""The name of this process among several, `gw0`."""
if _WORKER is not None:
    # numba writes its index and what that points to one after the other: two that compile at once
    # may mix them up.
    os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".cache" / "numba" / _WORKER)


@pytest.hookimpl(optionalhook=True)  # where xdist is
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `pytest -n auto` starts."""
    from tests.neighbours import workers

    return workers(config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Neighbours":
    """Whole modules to each process, and all that keep time to a single one."""
    from tests.neighbours import Neighbours

    return Neighbours(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, where several processes share the tests."""
    if _WORKER is not None:
        from tests.neighbours import rank

        items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What keeps time goes before all else."""
    if _WORKER is not None:
        from tests.neighbours import REAL, give_way, group

        if group(item.nodeid) != REAL:
            give_way()


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
