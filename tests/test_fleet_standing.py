"""What is wanted against what is reported: each verdict, and messages that are none."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.fleet import reports, standing
from edge_agent.fleet.reports import Heard, Report, Reports
from edge_agent.fleet.standing import Wanted
from edge_agent.records import Message, ReleaseState
from tests.sample_records import SHA256
from tests.spoken import Voice, release

NOW_NS = 1_790_000_000_000_000_000
OTHER = "a" * 64
WANTED = Wanted(release=42, config_sha256=SHA256, model_sha256=SHA256)
VOICE = Voice("harbour", "ear-1")
SITES = {"ear-1": "harbour"}


def heard(message: Message, *, retained: bool = True, at_ns: int = NOW_NS) -> Heard:
    return Heard(topic=message.topic, payload=message.payload, retained=retained, at_ns=at_ns)


def report(
    config_sha256: str, state: ReleaseState | None, age_s: float = 30, *, synced: bool = True
) -> Report:
    then_ns = NOW_NS - round(age_s * 1e9)
    found: Reports = {}
    for message in (
        VOICE.online(then_ns),
        VOICE.info(then_ns, config_sha256, state),
        VOICE.health(then_ns, synced=synced),
    ):
        assert reports.take(found, SITES, heard(message))
    return found["ear-1"]


@pytest.mark.parametrize(
    ("config_sha256", "state", "verdict", "why"),
    [
        (SHA256, release(42), "as wanted", ""),
        # The same content under an older number: nothing was to be delivered.
        (SHA256, release(40), "as wanted", ""),
        (SHA256, None, "as wanted", "takes no updates"),
        (OTHER, None, "drift", "takes no updates, and runs another configuration"),
        (OTHER, release(42), "drift", "config.json or the model was changed by hand"),
        (OTHER, release(41), "waiting", "has not taken release 42 yet"),
        (OTHER, release(43), "ahead", "has release 43, which is not from here"),
        (OTHER, release(42, "trial"), "on trial", "release 42"),
        (OTHER, release(42, "reverting"), "on trial", "release 42"),
        (OTHER, release(42, "staged"), "waiting", "has release 42, and waits for its turn"),
        (OTHER, release(42, "rolled_back", "no sound"), "rolled back", "no sound"),
        (OTHER, release(42, "refused", "mqtt.prot"), "refused", "mqtt.prot"),
        (OTHER, release(42, "undecided", "an outage"), "undecided", "an outage"),
        # What became of an older one no longer matters.
        (OTHER, release(41, "rolled_back", "no sound"), "waiting", "has not taken release 42 yet"),
    ],
)
def test_each_verdict(
    config_sha256: str, state: ReleaseState | None, verdict: str, why: str
) -> None:
    assert standing.judged(WANTED, report(config_sha256, state), NOW_NS) == (verdict, why)


def test_another_model_is_drift_too() -> None:
    wanted = Wanted(release=42, config_sha256=SHA256, model_sha256=OTHER)
    assert standing.judged(wanted, report(SHA256, release(42)), NOW_NS)[0] == "drift"


def test_silence_by_the_age_of_the_last_word_and_by_the_brokers_word() -> None:
    assert standing.judged(WANTED, report(SHA256, release(42), 181), NOW_NS) == (
        "silent",
        "but its connection stands",
    )
    assert standing.judged(WANTED, report(SHA256, release(42), 179), NOW_NS)[0] == "as wanted"
    found: Reports = {"ear-1": report(SHA256, release(42))}
    assert reports.take(found, SITES, heard(VOICE.encoder.will()))
    assert standing.judged(WANTED, found["ear-1"], NOW_NS) == ("silent", "its connection is lost")
    # Why it is away may be just this.
    taken_back = report(OTHER, release(42, "rolled_back", "no sound"), 999)
    assert standing.judged(WANTED, taken_back, NOW_NS) == ("rolled back", "no sound")


def test_a_device_that_was_never_heard_and_one_for_which_nothing_was_published() -> None:
    assert standing.judged(WANTED, Report(), NOW_NS)[0] == "never heard"
    assert standing.judged(None, report(SHA256, release(41)), NOW_NS)[0] == "unwanted"


def test_a_clock_that_nobody_vouches_for_makes_no_age() -> None:
    found = report(SHA256, release(42), 10_000, synced=False)
    assert found.seen_ns is None
    verdict, why = standing.judged(WANTED, found, NOW_NS)
    assert verdict == "as wanted"
    assert why.startswith("its clock is not synchronised")
    # Live, it is our own clock that tells.
    live: Reports = {"ear-1": found}
    reports.take(live, SITES, heard(VOICE.health(0, synced=False), retained=False))
    assert live["ear-1"].seen_ns == NOW_NS


def test_a_word_from_the_future_makes_no_age_either() -> None:
    assert report(SHA256, release(42), -121).seen_ns is None
    assert report(SHA256, release(42), -119).seen_ns is not None


def test_what_the_broker_keeps_makes_nobody_older_again() -> None:
    found: Reports = {}
    reports.take(found, SITES, heard(VOICE.health(NOW_NS), retained=False))
    reports.take(found, SITES, heard(VOICE.health(NOW_NS - 10**12)))
    assert found["ear-1"].seen_ns == NOW_NS


def test_the_offices_clock_is_held_against_most_devices() -> None:
    found: Reports = {}
    sites = {f"ear-{number}": "harbour" for number in range(5)}
    for number, off_s in enumerate((3600, 3601, 3599, 0, -5)):
        message = Voice("harbour", f"ear-{number}").health(NOW_NS + off_s * 10**9)
        reports.take(found, sites, heard(message, retained=False))
        if number < 2:
            assert reports.clock_off_s(found) is None
    assert reports.clock_off_s(found) == 3599


def test_a_device_speaks_for_its_own_site_alone() -> None:
    found: Reports = {}
    for site, device in (("elsewhere", "ear-1"), ("harbour", "ear-2")):
        assert not reports.take(found, SITES, heard(Voice(site, device).online(NOW_NS)))
    assert found == {}


@given(
    st.sampled_from(["status", "info", "health", "levels/1s", ""]),
    st.binary(max_size=60) | st.sampled_from([b"", b"{}", b"null", VOICE.online(0).payload]),
)
def test_no_message_is_ever_too_much(kind: str, payload: bytes) -> None:
    found: Reports = {}
    topic = f"earshot/harbour/ear-1/{kind}"
    reports.take(found, SITES, Heard(topic=topic, payload=payload, retained=True, at_ns=0))
    standing.judged(WANTED, found.get("ear-1", Report()), NOW_NS)


def test_when_certificates_end_is_read_from_openssl_s_list(tmp_path: Path) -> None:
    (tmp_path / "index.txt").write_text(
        "V\t280101000000Z\t\t01\tunknown\t/CN=ear-1\n"
        "V\t290101000000Z\t\t02\tunknown\t/CN=ear-1\n"
        "R\t300101000000Z\t260101000000Z\t03\tunknown\t/CN=ear-1\n"
        "V\t20510101000000Z\t\t04\tunknown\t/CN=ear-2\n"
    )
    assert standing.certificate_ends(tmp_path) == {
        "ear-1": datetime(2029, 1, 1, tzinfo=UTC),
        "ear-2": datetime(2051, 1, 1, tzinfo=UTC),
    }
    assert standing.certificate_ends(tmp_path / "none") == {}
