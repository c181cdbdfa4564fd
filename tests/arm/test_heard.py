"""Two recordings through the whole path: levels and events as on x86."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.arm import stored
from tests.arm.heard import Heard, heard
from tests.arm.recordings import write_all

pytestmark = pytest.mark.arm

LEVEL_DB = 0.01
ON_X86 = msgspec.json.decode(stored.HEARD.read_bytes(), type=dict[str, Heard])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("recordings"))


@pytest.mark.parametrize("name", sorted(ON_X86))
def test_levels_and_events_are_those_of_x86(recordings: dict[str, Path], name: str) -> None:
    wanted = ON_X86[name]
    sha256 = hashlib.sha256(recordings[name].read_bytes()).hexdigest()
    assert sha256 == wanted.sha256
    found = heard(recordings[name], sha256)
    assert [second.start_ns for second in found.seconds] == [
        second.start_ns for second in wanted.seconds
    ]
    for ours, theirs in zip(found.seconds, wanted.seconds, strict=True):
        assert ours.laeq_dbfs == pytest.approx(theirs.laeq_dbfs, abs=LEVEL_DB)
        assert ours.lafmax_dbfs == pytest.approx(theirs.lafmax_dbfs, abs=LEVEL_DB)
    assert [_without_score(change) for change in found.events] == [
        _without_score(change) for change in wanted.events
    ]
    assert wanted.events
    for mine, others in zip(found.events, wanted.events, strict=True):
        # The delegate's own limit: 32 steps of 1/256.
        assert mine.score_max == pytest.approx(others.score_max, abs=32 / 256)


def test_the_command_prints_them(recordings: dict[str, Path]) -> None:
    files = [str(recordings[name]) for name in sorted(ON_X86)]
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "replay", "--json", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    payloads = [json.loads(line)["payload"] for line in done.stdout.splitlines()]
    found = [
        (one["label"], one["phase"]) for one in payloads if one.get("phase") in {"start", "end"}
    ]
    wanted = [ON_X86[name].events for name in sorted(ON_X86)]
    assert found == [(change.label, change.phase) for changes in wanted for change in changes]
    seconds = [one for one in payloads if one.get("period_s") == 1]
    assert len(seconds) == sum(len(one.seconds) for one in ON_X86.values())


def _without_score(change: object) -> object:
    return msgspec.structs.replace(change, score_max=0.0)  # type: ignore[type-var]
