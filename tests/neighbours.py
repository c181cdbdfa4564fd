"""Which tests may run at the same time, where several processes share them (`pytest -n auto`).

pytest-xdist's own groups (3.8) are names in a test's id, which pytest 9.2 no longer takes.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

REAL = "real"
"""What hears, plays and answers in real time: no two of these at once."""

PATIENT = frozenset(
    {
        "test_ansible",
        "test_booted_update",
        "test_decommission",
        "test_disk",
        "test_fleet_broker",
        "test_fleet_status",
        "test_newcomer",
        "test_replay",
        "test_rollout",
        "test_ten_minutes",
        "test_update",
        "test_update_repository",
    }
)
"""Of tests/real those that keep no time which a neighbour could spoil: they wait for what happens,
in simulated time, or with a minute and more to spare."""

_MOST = 8
"""More would wait for the longest group."""

LONGEST = (
    REAL,
    "test_newcomer",
    "test_ten_minutes",
    "test_laboratory",
    "test_booted_update",
    "test_rollout",
    "test_update",
    "test_certify",
    "test_frontend_librosa",
    "test_absence",
    "test_soak",
    "test_folds",
    "test_store",
    "test_labexport",
)
"""Groups that take minutes, begun in this order, so that all processes end together."""


def workers(arguments: Sequence[str]) -> int:
    """How many processes, for what was asked to be tested; 0: this one does it.

    One more than processors, as one of them mostly waits; a single module is one group.
    """
    modules = {argument.partition("::")[0] for argument in arguments}
    if len(modules) == 1 and modules.pop().endswith(".py"):
        return 0
    return min(len(os.sched_getaffinity(0)) + 1, _MOST)


def group(nodeid: str) -> str:
    """Tests of one group run one after the other, in one process: a module's share its fixtures."""
    file = PurePosixPath(nodeid.partition("::")[0])
    return REAL if file.parent.name == "real" and file.stem not in PATIENT else file.stem


def rank(nodeid: str) -> int:
    """Its place among those that are begun first."""
    name = group(nodeid)
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


@functools.cache  # once
def give_way() -> None:
    """Leave the processors to who needs them now.

    For good, as only root may take it back; so what keeps time is begun first.
    """
    os.nice(10)


class Neighbours(LoadScopeScheduling):
    """Gives each process one group after the other, as they were collected."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
