"""What the agent tells of its release is what the updater left."""

import typing
from pathlib import Path

import msgspec
import pytest

from edge_agent import releasestate
from edge_agent.records import ReleaseState
from edge_agent.updating.state import Name
from tests.test_update_trial import SIX_MINUTES_NS
from tests.updates import GOOD, SLOWER, WRONG_BROKER, Device, packed


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path).set_up()


def told(device: Device) -> ReleaseState:
    found = releasestate.read(device.releases.path / "current" / "config.json")
    assert found is not None
    return found


def test_it_tells_what_is_in_force_and_what_became_of_the_latest(device: Device) -> None:
    found = told(device)
    assert (found.number, found.state, found.in_force, found.previous) == (41, "current", 41, 0)
    state = device.update(42, WRONG_BROKER)
    assert told(device) == ReleaseState(
        number=42,
        state="rolled_back",
        reason=state.reason,
        in_force=41,
        previous=0,
        since=state.since,
    )
    assert device.clock.monotonic_ns() < 2 * SIX_MINUTES_NS
    device.update(43, SLOWER)
    assert (told(device).number, told(device).in_force, told(device).previous) == (43, 43, 41)


def test_on_trial_it_is_the_new_one_that_is_in_force(device: Device) -> None:
    device.releases.stage(*packed(42, SLOWER), None)
    state = device.state().entering("trial", device.clock, number=42, highest=42)
    device.releases.write_state(state)
    assert (told(device).state, told(device).in_force) == ("trial", 42)


def test_what_a_card_brought_is_counted_as_the_office_counts(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.seeds[0].parent.mkdir(parents=True)
    device.seeds[0].write_bytes(msgspec.json.encode(GOOD))
    device.boot()
    assert (told(device).number, told(device).in_force) == (0, 0)
    release, _ = packed(7, GOOD)
    (device.releases.folder(0) / "release.json").write_bytes(msgspec.json.encode(release))
    assert (told(device).number, told(device).in_force) == (7, 7)


def test_without_updates_or_with_a_damaged_state_nothing_is_told(device: Device) -> None:
    assert releasestate.read(device.seeds[0]) is None
    (device.releases.path / "state.json").write_bytes(b"\0" * 40)
    assert releasestate.read(device.releases.path / "current" / "config.json") is None


def test_both_sides_know_the_same_states() -> None:
    for struct in (ReleaseState, releasestate._State):
        assert struct.__annotations__["state"] == Name
        assert set(typing.get_args(Name)) == set(typing.get_args(struct.__annotations__["state"]))
