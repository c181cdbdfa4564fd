"""A release on trial, in simulated time: kept where it works, taken back by itself where not."""

from pathlib import Path

import msgspec
import pytest

from edge_agent.errors import UpdateError
from edge_agent.updating import criteria
from edge_agent.updating.state import Before, Moment
from tests.updates import (
    CRASHES,
    GOOD,
    SLOWER,
    WRONG_BROKER,
    WRONG_MICROPHONE,
    Device,
    packed,
)

SIX_MINUTES_NS = 360_000_000_000
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path).set_up()


def test_a_release_that_works_is_kept_after_a_minute(device: Device) -> None:
    before_ns = device.clock.monotonic_ns()
    state = device.update(42, SLOWER)
    assert (state.state, state.number, state.good, state.previous) == ("current", 42, 42, 41)
    assert device.in_force() == SLOWER
    assert 60 <= (device.clock.monotonic_ns() - before_ns) / 1e9 < 70
    assert device.agent.starts[-2:] == [41, 42]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            WRONG_BROKER,
            "within 180 s the broker mq.exmaple:1883 acknowledged nothing; new faults: mqtt_away",
        ),
        (
            WRONG_MICROPHONE,
            "within 180 s no sound came in; nothing was scored; new faults: mic_missing:mic",
        ),
        (CRASHES, "the agent had to be started a second time while it was on trial"),
    ],
)
def test_one_that_does_not_is_gone_within_six_minutes_and_says_why(
    device: Device, settings: dict[str, object], why: str
) -> None:
    good, begun_ns = device.in_force(), device.clock.monotonic_ns()
    state = device.update(42, settings)
    assert device.clock.monotonic_ns() - begun_ns < SIX_MINUTES_NS
    assert (state.state, state.number, state.good) == ("rolled_back", 42, 41)
    assert state.reason == f"release 42: {why}"
    assert device.told[-1] == f"{state.reason}: back to release 41"
    assert device.in_force() == good
    assert device.agent.starts[-1] == 41


def test_what_was_taken_back_is_never_tried_again_and_a_higher_number_is(device: Device) -> None:
    device.update(42, CRASHES)
    starts = len(device.agent.starts)
    assert device.update(42, SLOWER).state == "rolled_back"
    assert len(device.agent.starts) == starts
    assert device.update(43, SLOWER).state == "current"
    assert device.in_force() == SLOWER


def test_a_configuration_that_the_agent_refuses_is_never_started(device: Device) -> None:
    good, starts = device.in_force(), len(device.agent.starts)
    state = device.update(42, {**GOOD, "mqtt": {"prot": 1}})
    assert state.state == "refused"
    assert "mqtt.prot" in state.reason
    assert (device.in_force(), len(device.agent.starts)) == (good, starts)
    assert not device.releases.folder(42).exists()


def test_an_outage_during_the_trial_is_not_the_releases_fault(device: Device) -> None:
    device.agent.brokers.clear()
    # The broker answered until now: its silence counts, and the release before has to show it.
    state = device.update(42, SLOWER)
    assert state.state == "undecided"
    assert state.reason.endswith("; so it is under release 41, too")
    assert device.agent.starts[-2:] == [42, 41]
    assert state.not_before_ns - device.clock.utc_ns() == HOUR_NS
    device.agent.brokers.add("mq.example")
    assert device.update(42, SLOWER).state == "undecided"
    device.clock.wait(3600)
    assert device.trial.resume().state == "current"
    assert device.in_force() == SLOWER


def test_undecided_it_is_tried_after_1_4_and_12_hours_and_then_waits_for_a_person(
    device: Device,
) -> None:
    device.agent.brokers.clear()
    device.update(42, WRONG_BROKER)
    waited = []
    for _ in range(3):
        waited.append((device.state().not_before_ns - device.clock.utc_ns()) / HOUR_NS)
        device.clock.advance_to(device.state().not_before_ns)
        assert device.trial.resume().state == "undecided"
    assert waited == [1, 4, 12]
    starts = len(device.agent.starts)
    device.clock.wait(100 * 86400)
    assert device.trial.resume().state == "undecided"
    assert len(device.agent.starts) == starts


def test_a_broker_that_was_away_before_condemns_only_what_changes_the_way_to_it(
    device: Device,
) -> None:
    device.agent.brokers.clear()
    # Long enough that nothing was acknowledged for three minutes.
    device.agent.restart()
    device.clock.wait(200)
    assert device.update(42, SLOWER).state == "current"
    assert device.update(43, {**SLOWER, "mqtt": {"host": "mq2.example"}}).state == "undecided"
    device.agent.brokers.add("mq2.example")
    device.clock.wait(3600)
    assert device.trial.resume().state == "current"


def test_a_fault_that_was_there_before_condemns_nothing(device: Device) -> None:
    device.agent.faults.add("disk_low")
    assert device.update(42, SLOWER).state == "current"


def test_a_date_that_comes_during_a_trial_condemns_nothing(device: Device) -> None:
    beat = device.agent.beat()
    assert beat is not None
    dated = msgspec.structs.replace(beat, faults=("dead:mic", "mqtt_certificate_ends"))
    assert criteria.new_faults(dated, Before()) == ("dead:mic",)
    assert criteria.new_faults(dated, Before(faults=("dead:mic",))) == ()


def test_a_release_may_mend_an_agent_that_crashes(device: Device) -> None:
    edited = device.releases.config(41)
    edited.write_bytes(msgspec.json.encode(CRASHES))
    device.agent.restart()
    device.clock.wait(30)
    assert device.agent.beat() is None
    assert device.update(42, SLOWER).state == "current"
    assert device.agent.starts[-1] == 42


def test_a_crash_after_a_crash_is_undecided(device: Device) -> None:
    device.releases.config(41).write_bytes(msgspec.json.encode(CRASHES))
    device.agent.restart()
    device.clock.wait(30)
    assert device.update(42, {**CRASHES, "outbox": {"max_mb": 8}}).state == "undecided"


def test_started_a_second_time_on_trial_it_is_gone_before_the_agent_starts(
    device: Device, tmp_path: Path
) -> None:
    device.releases.stage(*packed(42, SLOWER), None)
    state = device.state().entering("trial", device.clock, number=42, highest=42)
    device.releases.write_state(state)
    device.agent.restart()
    assert device.agent.starts[-1] == 42
    after = Device(tmp_path, boot="boot-2", utc_ns=device.clock.utc_ns())
    after.boot()
    assert after.agent.starts == [41]
    assert after.state().state == "reverting"
    state = after.trial.resume()
    assert state.state == "rolled_back"
    assert "second time" in state.reason


def test_a_disk_that_lost_the_last_good_one_starts_the_seed(device: Device) -> None:
    device.releases.config(41).write_bytes(b"")
    device.agent.restart()
    assert device.agent.starts[-1] == 0
    assert device.in_force() == GOOD


def test_a_state_that_was_lost_is_made_anew_of_what_is_in_force(device: Device) -> None:
    (device.releases.path / "state.json").write_bytes(b"\0" * 40)
    device.agent.restart()
    state = device.state()
    assert (state.state, state.good, state.highest) == ("current", 41, 41)


def test_a_hand_edited_configuration_is_left_alone(device: Device) -> None:
    edited = msgspec.json.encode({**GOOD, "outbox": {"max_mb": 17}})
    device.releases.config(41).write_bytes(edited)
    device.agent.restart()
    device.trial.resume()
    assert device.releases.config(41).read_bytes() == edited
    assert device.agent.starts[-1] == 41


def test_only_what_can_be_returned_to_is_kept_and_the_calibration_is_untouched(
    device: Device,
) -> None:
    before = device.calibration.stat()
    for number in (42, 43, 44):
        device.update(number, {**GOOD, "outbox": {"max_mb": number}})
    kept = sorted(path.name for path in (device.releases.path / "releases").iterdir())
    assert kept == ["0", "43", "44"]
    after = device.calibration.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_device_waits_for_its_turn_and_keeps_it_through_a_kill(device: Device) -> None:
    device.releases.stage(*packed(42, SLOWER), None)
    begun_ns = device.clock.utc_ns()
    turn = device.state().entering(
        "staged", device.clock, number=42, highest=42, not_before_ns=begun_ns + 300_000_000_000
    )
    device.releases.write_state(turn)
    assert device.trial.resume().state == "current"
    assert device.clock.utc_ns() - begun_ns > 300_000_000_000


def test_a_staged_release_that_was_damaged_is_fetched_again(device: Device) -> None:
    device.releases.stage(*packed(42, SLOWER), None)
    device.releases.write_state(
        device.state().entering("staged", device.clock, number=42, highest=42)
    )
    device.releases.config(42).write_bytes(b"{}")
    state = device.trial.resume()
    assert (state.state, state.good, state.highest) == ("current", 41, 41)
    assert device.update(42, SLOWER).state == "current"


def test_two_updates_at_once_are_refused(device: Device) -> None:
    with (
        device.releases.alone(),
        pytest.raises(UpdateError, match="another update is at work"),
        device.releases.alone(),
    ):
        pass


def test_without_any_configuration_the_guard_says_so(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=r"there is no configuration: neither .*agent\.json"):
        Device(tmp_path).boot()


def test_a_seed_that_names_files_beside_it_is_refused(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.seeds[0].parent.mkdir()
    (device.seeds[0].parent / "ca.pem").write_text("")
    tls = {"mqtt": {"host": "mq.example", "tls": {"ca": "ca.pem"}}}
    device.seeds[0].write_bytes(msgspec.json.encode(tls))
    with pytest.raises(UpdateError, match=r"names ca\.pem, a file beside it"):
        device.boot()


def test_a_yaml_seed_becomes_json_with_the_same_settings(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.seeds = (tmp_path / "agent.yaml",)
    device.seeds[0].write_text("mqtt: {host: mq.example}\n")
    device.agent = type(device.agent)(
        device.releases, device.seeds, device.clock, "boot-1", {"mq.example"}
    )
    device.boot()
    beat = device.agent.beat()
    assert beat is not None
    assert beat.ack_ns is not None


def test_a_fault_that_the_old_agent_had_no_time_to_notice_condemns_nothing(device: Device) -> None:
    device.agent.restart()
    device.clock.wait(10)
    device.agent.late_faults = {"dead:mic"}
    assert device.update(42, SLOWER).state == "current"


def test_a_heartbeat_of_another_configuration_or_an_earlier_start_shows_nothing(
    device: Device,
) -> None:
    beat = device.agent.beat()
    assert beat is not None
    now = Moment(boot="boot-1", monotonic_ns=device.clock.monotonic_ns())
    since = Moment(boot="boot-1", monotonic_ns=beat.started_ns)
    assert criteria.unmet(beat, since, now, beat.config_sha256) == ()
    everything = ("ready", "heartbeat", "block", "inference", "ack")
    later = Moment(boot="boot-1", monotonic_ns=beat.started_ns + 1)
    other = Moment(boot="boot-0", monotonic_ns=beat.started_ns)
    assert criteria.unmet(beat, since, now, "0" * 64) == everything
    assert criteria.unmet(beat, later, now, beat.config_sha256) == everything
    assert criteria.unmet(beat, other, now, beat.config_sha256) == everything
    assert criteria.unmet(None, since, now, beat.config_sha256) == everything
    stale = Moment(boot="boot-1", monotonic_ns=beat.at_ns + 31_000_000_000)
    assert criteria.unmet(beat, since, stale, beat.config_sha256) == ("heartbeat",)
