"""The steps of a rollout, in simulated time, before made-up devices of every temper."""

from typing import Literal, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.fleet import campaign, rings, rolloutreport
from edge_agent.fleet.reports import Report, Reports
from edge_agent.fleet.rollout import Before, Member, Rollout
from edge_agent.fleet.rolloutplan import Plan, Ring, Spread, StopWhen
from edge_agent.payloads import InfoPayload
from tests.sample_records import SHA256
from tests.spoken import Voice, release

START_NS = 1_790_000_000_000_000_000
MINUTE_NS = 60_000_000_000
OLD = "a" * 64
PLAN = Plan(
    rings={
        "canary": Ring(select="ring=canary", soak_h=1),
        "tenth": Ring(percent=10, soak_h=0.5),
        "rest": Ring(percent=100),
    }
)
Temper = Literal["keeps", "fails", "refuses", "dies", "dead", "mute", "offline", "idle", "edited"]
NOT_HEARD = ("dead", "mute", "offline")


class Street:
    """Devices that take what they are given a quarter of an hour later."""

    def __init__(self, tempers: dict[str, Temper]) -> None:
        self.tempers = tempers
        self.now_ns = START_NS

    def found(self, rollout: Rollout, broken: frozenset[str] = frozenset()) -> Reports:
        return {
            name: report
            for name, temper in self.tempers.items()
            if (report := self._report(rollout.members[name], name, temper)) is not None
        }

    def _report(self, member: Member, name: str, temper: Temper) -> Report | None:
        if temper == "dead":
            return None
        if temper == "mute":
            return report(release(1), OLD, START_NS - 10 * MINUTE_NS)
        if temper == "offline":
            last = report(release(1), OLD, self.now_ns)
            return msgspec.structs.replace(last, online=False)
        given = member.published_ns
        old = self.now_ns - (given or self.now_ns) < 15 * MINUTE_NS
        if temper == "dies" and not old:
            return report(release(1), OLD, (given or 0) + 15 * MINUTE_NS)
        if given is None or old or temper == "idle":
            return report(release(1), OLD, self.now_ns)
        match temper:
            case "fails":
                return report(release(2, "rolled_back", "no sound"), OLD, self.now_ns)
            case "refuses":
                return report(release(2, "refused", "mqtt.prot"), OLD, self.now_ns)
            case "edited":
                return report(release(2), "b" * 64, self.now_ns)
        return report(release(2), SHA256, self.now_ns)


_INFO = msgspec.json.decode(
    Voice("harbour", "ear-1").info(0, SHA256, None).payload, type=InfoPayload
)


def report(state: object, config_sha256: str, seen_ns: int) -> Report:
    info = msgspec.structs.replace(_INFO, release=state, config_sha256=config_sha256)
    return Report(online=True, info=info, seen_ns=seen_ns)


def rollout_of(ring_of: dict[str, int], site_of: dict[str, str], plan: Plan = PLAN) -> Rollout:
    sites: dict[str, int] = {}
    for site in site_of.values():
        sites[site] = sites.get(site, 0) + 1
    return Rollout(
        release=2,
        began="2026-06-01T08:00:00Z",
        who="test",
        plan=plan,
        sites=sites,
        members={
            name: Member(
                ring=ring,
                site=site_of[name],
                content="c",
                config_sha256=SHA256,
                before=Before(release=1, sha256="d", config_sha256=OLD),
            )
            for name, ring in ring_of.items()
        },
    )


def led(rollout: Rollout, street: Street, hours: float = 30) -> tuple[Rollout, list[str]]:
    """To its end, or for so long; and who was given it, in order."""
    order: list[str] = []
    for _ in range(int(hours * 60)):
        listened_s = (street.now_ns - START_NS) / 1e9
        rollout, due = campaign.step(rollout, street.found(rollout), street.now_ns, listened_s)
        order += due
        if rollout.state != "running" and not rollout.under_way():
            break
        street.now_ns += MINUTE_NS
    return rollout, order


def fleet_of(sites: int, each: int, canaries: int) -> tuple[dict[str, int], dict[str, str]]:
    names = [f"ear-{site}-{number}" for number in range(each) for site in range(sites)]
    rings_of = {name: 0 if i < canaries else 2 for i, name in enumerate(names)}
    return rings_of, {name: name.rpartition("-")[0] for name in names}


def test_one_that_works_reaches_everybody_ring_by_ring_with_its_soak() -> None:
    ring_of, site_of = fleet_of(5, 8, 3)
    street = Street(dict.fromkeys(ring_of, "keeps"))
    rollout, order = led(rollout_of(ring_of, site_of), street)
    assert rollout.state == "done"
    assert {one.outcome for one in rollout.members.values()} == {"kept"}
    assert [ring_of[name] for name in order] == [0] * 3 + [2] * 37
    given_ns = [rollout.members[name].published_ns or 0 for name in order]
    # A quarter of an hour to answer, an hour to soak; the ring in between is empty.
    assert given_ns[3] - given_ns[0] == 75 * MINUTE_NS
    # Two of eight at a time: a wave each quarter of an hour.
    assert len(set(given_ns[3:])) == 4


def test_one_that_fails_reaches_the_canaries_only() -> None:
    ring_of, site_of = fleet_of(5, 8, 3)
    street = Street(dict.fromkeys(ring_of, "fails"))
    rollout, order = led(rollout_of(ring_of, site_of), street)
    assert (rollout.state, len(order)) == ("stopped", 3)
    assert rollout.reason == "ring canary: 3 of 3 did not keep it"
    told = list(rolloutreport.lines(rollout))
    assert "given to 3 of 40 devices; 37 saw nothing of it" in told
    assert "all 3 that did not keep it run what they ran before" in told


@pytest.mark.parametrize(
    ("temper", "outcome", "reason"),
    [
        ("refuses", "refused", "ring canary: 1 of 3 did not keep it"),
        ("edited", "drift", "ring canary: 1 of 3 did not keep it"),
        ("dies", "silent", "1 of 3 are not heard any more or gave no answer, more than 5 %"),
        ("idle", "late", "1 of 3 are not heard any more or gave no answer, more than 5 %"),
    ],
)
def test_each_way_to_fail_stops_it(temper: Temper, outcome: str, reason: str) -> None:
    ring_of, site_of = fleet_of(5, 8, 3)
    street = Street({**dict.fromkeys(ring_of, "keeps"), "ear-1-0": temper})
    rollout, order = led(rollout_of(ring_of, site_of), street)
    assert (rollout.state, rollout.reason) == ("stopped", reason)
    assert rollout.members["ear-1-0"].outcome == outcome
    assert len(order) == 3


def test_below_the_threshold_it_goes_on_and_says_so() -> None:
    ring_of, site_of = fleet_of(10, 10, 3)
    street = Street({**dict.fromkeys(ring_of, "keeps"), "ear-9-9": "fails", "ear-8-9": "dies"})
    rollout, order = led(rollout_of(ring_of, site_of), street)
    assert (rollout.state, len(order)) == ("done", 100)
    told = "\n".join(rolloutreport.lines(rollout))
    assert "ear-9-9: rolled back: no sound" in told
    assert "ear-8-9: silent: not heard any more" in told


def test_a_device_that_is_not_heard_is_left_out_and_holds_nobody_up() -> None:
    ring_of, site_of = fleet_of(2, 8, 2)
    street = Street({**dict.fromkeys(ring_of, "keeps"), "ear-0-0": "dead", "ear-1-5": "dead"})
    rollout, order = led(rollout_of(ring_of, site_of), street)
    assert (rollout.state, len(order)) == ("done", 14)
    assert rolloutreport.next_step(rollout) == (
        "not heard, and left out: 2 devices; run it again when they are back"
    )
    street.tempers = dict.fromkeys(ring_of, "keeps")
    again = msgspec.structs.replace(rollout, state="running")
    rollout, order = led(again, street)
    assert sorted(order) == ["ear-0-0", "ear-1-5"]
    assert rollout.state == "done"


def test_a_first_ring_of_which_nobody_is_heard_stops_it() -> None:
    ring_of, site_of = fleet_of(5, 8, 3)
    tempers: dict[str, Temper] = {
        name: "dead" if ring == 0 else "keeps" for name, ring in ring_of.items()
    }
    rollout, order = led(rollout_of(ring_of, site_of), Street(tempers))
    assert (rollout.state, order) == ("stopped", [])
    assert rollout.reason == "ring canary: none of its devices is heard"


def test_a_process_that_begins_again_holds_nobody_for_silent_before_it_has_listened() -> None:
    ring_of, site_of = fleet_of(5, 8, 3)
    street = Street(dict.fromkeys(ring_of, "keeps"))
    rollout, _ = led(rollout_of(ring_of, site_of), street, hours=0.5)
    after, due = campaign.step(rollout, {}, street.now_ns, 0.0)
    assert (after, due) == (rollout, ())
    # What the broker kept is as old as the process was away.
    late_ns = street.now_ns + 60 * MINUTE_NS
    kept = street.found(rollout)
    after, due = campaign.step(rollout, kept, late_ns, 89.0)
    assert (after.state, due) == ("running", ())
    after, due = campaign.step(rollout, kept, late_ns, 90.0)
    assert after.state == "stopped"
    assert "3 of 3 are not heard any more" in after.reason


def test_a_first_look_waits_for_those_whose_clocks_say_nothing() -> None:
    ring_of, site_of = fleet_of(5, 8, 3)
    rollout = rollout_of(ring_of, site_of)
    unknown = {name: Report(online=True, info=_INFO) for name in ring_of}
    assert campaign.step(rollout, unknown, START_NS, 89.0) == (rollout, ())
    assert campaign.step(rollout, unknown, START_NS, 90.0)[0].state == "stopped"


def test_at_a_site_where_one_fell_silent_the_others_wait_for_a_person() -> None:
    ring_of, site_of = fleet_of(10, 4, 1)
    tempers: dict[str, Temper] = dict.fromkeys(ring_of, "keeps")
    plan = msgspec.structs.replace(PLAN, stop_when=StopWhen(silent_percent=50))
    # One of four at a time.
    first = min((name for name in ring_of if site_of[name] == "ear-3"), key=_turn)
    tempers[first] = "dies"
    street = Street(tempers)
    rollout, order = led(rollout_of(ring_of, site_of, plan), street)
    assert rollout.reason == "site ear-3: too many are not heard since they were given it"
    assert sum(site_of[name] == "ear-3" for name in order) == 1
    on = msgspec.structs.replace(rollout, state="running", reason="", forgiven=(first,))
    assert led(on, street)[0].state == "done"


def _turn(name: str) -> str:
    return rings.turn(name, 2)


def test_gone_on_with_in_spite_of_a_failure_it_stops_at_the_next() -> None:
    ring_of, site_of = fleet_of(10, 10, 3)
    street = Street({**dict.fromkeys(ring_of, "keeps"), "ear-0-0": "fails"})
    rollout, _ = led(rollout_of(ring_of, site_of), street)
    assert rollout.state == "stopped"
    on = msgspec.structs.replace(rollout, state="running", reason="", forgiven=("ear-0-0",))
    assert led(on, street)[0].state == "done"
    street.tempers["ear-1-0"] = "fails"
    assert led(on, street)[0].reason == "ring canary: 1 of 3 did not keep it"


@settings(max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 100),
    st.lists(st.sampled_from(get_args(Temper))),
    st.sets(st.integers(0, 2000), max_size=5),
)
def test_whatever_devices_do_no_site_is_given_it_at_once_and_nothing_follows_a_stop(
    sites: int, each: int, canaries: int, share: int, tempers: list[Temper], kills: set[int]
) -> None:
    ring_of, site_of = fleet_of(sites, each, canaries)
    chosen = {name: tempers[i] if i < len(tempers) else "keeps" for i, name in enumerate(ring_of)}
    plan = Plan(
        rings=PLAN.rings,
        spread=Spread(at_once_percent=share),
        stop_when=StopWhen(failed_percent=30, silent_percent=30),
    )
    street = Street(chosen)
    rollout = rollout_of(ring_of, site_of, plan)
    for minute in range(60 * 60):
        if minute in kills:
            rollout = msgspec.json.decode(msgspec.json.encode(rollout), type=Rollout)
        before = rollout
        listened_s = (street.now_ns - START_NS) / 1e9
        rollout, due = campaign.step(rollout, street.found(rollout), street.now_ns, listened_s)
        assert rollout.state == "running" or not due
        for site, size in rollout.sites.items():
            under_way = [
                name
                for name, one in rollout.members.items()
                if one.site == site and one.outcome in ("waiting", "silent", "late")
            ]
            allowed = max(1, size * share // 100)
            assert len(under_way) <= allowed
        for name in due:
            assert chosen[name] not in NOT_HEARD
            assert before.members[name].published_ns is None
            assert ring_of[name] <= rollout.ring
        if rollout.ring > 0 and before.ring == 0:
            first = [one for one in before.members.values() if one.ring == 0]
            assert not any(one.outcome in ("rolled back", "refused", "drift") for one in first)
        if rollout.state != "running" and not rollout.under_way():
            break
        street.now_ns += MINUTE_NS
    assert rollout.state != "running"
    if rollout.state == "done":
        left = {name for name, one in rollout.members.items() if one.outcome == "untouched"}
        assert left == {name for name, temper in chosen.items() if temper in NOT_HEARD}


@given(st.integers(0, 10_000))
def test_what_a_ring_without_failure_proves(kept: int) -> None:
    rate = rings.bound(kept)
    assert 0 < rate <= 1
    # At that rate, nobody failing is as likely as not being sure.
    assert kept == 0 or (1 - rate) ** kept == pytest.approx(0.05)


def test_the_bounds_of_the_table() -> None:
    # The rule of three, exactly: 1 - 0.05^(1/n).
    found = [round(100 * rings.bound(kept), 1) for kept in (3, 10, 30, 100, 300)]
    assert found == [63.2, 25.9, 9.5, 3.0, 1.0]
