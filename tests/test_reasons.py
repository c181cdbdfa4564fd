"""Why something was told: the reasons against the events and alerts themselves."""

import json
import tracemalloc
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.alerts import Alerts
from edge_agent.commands.explain import JsonExplanation, TextExplanation
from edge_agent.config import AlertConfig
from edge_agent.events import Events
from edge_agent.labels import EventRule
from edge_agent.reasons import AlertReason, LabelReason, Reason
from edge_agent.records import Alert, Event, Prediction
from tests.test_alerts import event, reading
from tests.test_events import HOP_NS, events_of, heard, middle_ns, prediction, rule

SECOND_NS = 1_000_000_000
SCORES = st.sampled_from([0.0, 0.2, 0.34, 0.4, 0.49, 0.5, 0.6, 1.0])


@st.composite
def patches(draw: st.DrawFn) -> list[Prediction]:
    late_ns, made = 0, []
    for index in range(draw(st.integers(0, 120))):
        lost_s = draw(st.sampled_from([0.0] * 12 + [0.4, 3.0]))
        late_ns += round(lost_s * 1e9)
        scores = draw(SCORES), draw(SCORES)
        made.append(prediction(index, *scores, late_ns=late_ns, gap=lost_s > 0))
    return made


@st.composite
def rules(draw: st.DrawFn, label: str) -> EventRule:
    n = draw(st.integers(1, 3))
    return rule(
        label,
        n=n,
        m=n + draw(st.integers(0, 2)),
        min_duration_s=draw(st.sampled_from([0.0, 0.5, 2.0])),
        cooldown_s=draw(st.sampled_from([0.0, 1.0, 5.0])),
    )


def watched(tested: tuple[EventRule, ...]) -> tuple[Events, list[LabelReason]]:
    reasons: list[LabelReason] = []
    numbers = count(1)

    def observe(reason: Reason) -> None:
        assert isinstance(reason, LabelReason)
        reasons.append(reason)

    return Events(tested, 10.0, lambda _: f"id{next(numbers)}", observe), reasons


def said(reasons: Sequence[Reason]) -> list[tuple[str, str | None]]:
    """The starts and ends that the reasons speak of."""
    phases = {"started": "start", "ended": "end"}
    return [(phases[r.step], r.end_reason) for r in reasons if r.step in phases]


def changes(events: list[Event], label: str) -> list[tuple[str, str | None]]:
    return [(e.phase, e.end_reason) for e in events if e.label == label and e.phase != "update"]


@given(patches(), rules("siren"), rules("car_horn"))
def test_every_patch_has_its_reason_and_they_agree_with_what_was_told(
    heard_patches: list[Prediction], siren: EventRule, horn: EventRule
) -> None:
    events, reasons = watched((siren, horn))
    told: list[Event] = []
    for patch in heard_patches:
        before = len(reasons)
        now = events.feed(patch)
        told += now
        new = reasons[before:]
        # One for each label's score, and before them those of a gap.
        assert [reason.label for reason in new if reason.score is not None] == ["siren", "car_horn"]
        for label in ("siren", "car_horn"):
            said_now = [r for r in new if r.label == label]
            assert said(said_now) == changes(now, label)
    told += events.finish("end_of_input", 1_000_000_000_000)
    for tested in (siren, horn):
        mine = [reason for reason in reasons if reason.label == tested.label]
        assert said(mine) == changes(told, tested.label)


@given(patches(), rules("siren"))
def test_what_held_a_patch_back_really_holds(
    heard_patches: list[Prediction], tested: EventRule
) -> None:
    events, reasons = watched((tested, rule("other")))
    told: list[Event] = []
    is_open = False
    recent: list[float] = []
    for patch in heard_patches:
        before = len(reasons)
        told += events.feed(patch)
        for reason in (r for r in reasons[before:] if r.label == "siren"):
            if reason.score is None:
                recent.clear()
            else:
                recent.append(reason.score)
            over = [score for score in recent[-tested.m :] if score >= tested.on]
            match reason.step:
                case "below_on":
                    assert not is_open
                    assert reason.score is not None
                    assert reason.score < tested.on
                case "n_of_m":
                    assert not is_open
                    assert reason.counted is not None
                    assert 0 < reason.counted < tested.n
                    assert reason.counted <= len(over)
                case "cooldown":
                    ends = [one.end_ns for one in told if one.label == "siren"]
                    last_ns = max(end_ns for end_ns in ends if end_ns is not None)
                    assert reason.cool_until_ns == last_ns + round(tested.cooldown_s * 1e9)
                    assert reason.at_ns < reason.cool_until_ns
                case "min_duration":
                    assert not is_open
                    assert reason.duration_s < tested.min_duration_s
                case "started":
                    assert not is_open
                    assert reason.duration_s >= tested.min_duration_s
                    is_open = True
                case "goes_on":
                    assert is_open
                case "ended":
                    assert is_open
                    is_open = False
                case "dropped":
                    assert not is_open


@given(patches(), rules("siren"))
def test_who_listens_changes_nothing(heard_patches: list[Prediction], tested: EventRule) -> None:
    watched_events, _ = watched((tested, rule("other")))
    events = events_of(tested, rule("other"), max_duration_s=10.0)
    for patch in heard_patches:
        assert events.feed(patch) == watched_events.feed(patch)


def phases_told(alerts: list[Alert], name: str) -> list[tuple[str, str | None]]:
    return [(a.phase, a.end_reason) for a in alerts if a.rule == name and a.phase != "update"]


@given(
    patches(), st.sampled_from([None, 0.55, 0.7]), st.sampled_from([None, 1.0, 3.0]), rules("siren")
)
def test_a_label_rules_reasons_agree_with_its_alerts(
    heard_patches: list[Prediction],
    min_score: float | None,
    min_duration_s: float | None,
    tested: EventRule,
) -> None:
    asked = AlertConfig(
        labels=("siren", "other"), min_score=min_score, min_duration_s=min_duration_s
    )
    reasons: list[AlertReason] = []
    alerts = Alerts({"rule": asked}, None, lambda _: "a", reasons.append)  # type: ignore[arg-type]
    numbers = count(1)
    events = Events((tested, rule("other")), 10.0, lambda _: f"id{next(numbers)}")
    told: list[Alert] = []
    for patch in heard_patches:
        before = len(reasons)
        was_open = [a.phase for a in told if a.phase != "update"][-1:] == ["start"]
        changed, opened = events.feed(patch), events.open()
        now = alerts.feed_events(changed, opened, patch.end_ns)
        told += now
        new = reasons[before:]
        # Fed is explained, and only what is fed.
        assert len(new) == int(bool(opened) or was_open)
        for reason in new:
            if reason.step == "min_score":
                assert all(one.score_max < (min_score or 0) for one in opened)
            if reason.step == "min_duration":
                assert reason.duration_s < (min_duration_s or 0)
                assert any(one.score_max >= (min_score or 0) for one in opened)
            assert (reason.step == "started") == ("start" in [alert.phase for alert in now])
    told += alerts.finish("end_of_input", 1_000_000_000_000)
    assert said(reasons) == phases_told(told, "rule")


def test_of_several_events_the_one_that_lacks_least_speaks() -> None:
    asked = AlertConfig(labels=("siren",), min_score=0.7, min_duration_s=3.0)
    reasons: list[Reason] = []
    alerts = Alerts({"rule": asked}, None, lambda _: "a", reasons.append)
    short = event(score_max=0.9, duration_s=0.3, event_id="e1")
    long = event(score_max=0.8, duration_s=1.5, event_id="e2")
    weak = event(score_max=0.6, duration_s=9.0, event_id="e3")
    weaker = event(score_max=0.5, duration_s=9.5, event_id="e4")
    alerts.feed_events([], [short, long, weak], 1)
    alerts.feed_events([], [weaker, weak], 2)
    told = [(r.step, r.value, r.duration_s) for r in reasons if isinstance(r, AlertReason)]
    assert told == [("min_duration", 0.8, 1.5), ("min_score", 0.6, 9.0)]


@given(
    st.lists(
        st.tuples(st.sampled_from([None, -60.0, -41.0, -40.0, -39.0, -20.0]), st.booleans()),
        max_size=60,
    ),
    st.integers(1, 4),
)
def test_a_level_rules_reasons_agree_with_its_alerts(
    seconds: list[tuple[float | None, bool]], for_s: int
) -> None:
    asked = AlertConfig(indicator="LAeq", above_dbfs=-40.0, for_s=for_s)
    reasons: list[AlertReason] = []
    alerts = Alerts({"loud": asked}, None, lambda _: "a", reasons.append)  # type: ignore[arg-type]
    told: list[Alert] = []
    second = 0
    for level_db, lost in seconds:
        second += 3 if lost else 1
        before = len(reasons)
        now = alerts.feed_reading(reading(second, level_db))
        told += now
        new = [reason for reason in reasons[before:] if reason.at_ns == (second + 1) * SECOND_NS]
        (reason,) = new
        assert (reason.step == "started") == ("start" in [alert.phase for alert in now])
        if reason.step == "for_s":
            assert level_db is not None
            assert level_db > -40
            assert reason.duration_s < for_s
        if reason.step == "below_limit":
            assert level_db is not None
            assert level_db <= -40
        assert (reason.step == "no_level") <= (level_db is None)
    told += alerts.finish("end_of_input", 1_000_000_000_000)
    assert said(reasons) == phases_told(told, "loud")


def explained(scores: list[float], tested: EventRule | None = None) -> list[str]:
    lines: list[str] = []
    explanation = TextExplanation(lines.append)
    events = Events((tested or rule(),), 600.0, lambda _: "id", explanation)
    heard(events, scores)
    events.finish("end_of_input", middle_ns(len(scores)))
    explanation.finish([])
    return lines


def test_a_siren_of_ten_minutes_has_three_lines() -> None:
    lines = explained([0.1, 0.45, 0.6, *[0.9] * 2400, *[0.1] * 4])
    held, started, ended = lines
    assert held == (
        "00:00:00.742 to 00:00:00.982  siren  held back, best 0.60 at 00:00:00.982: "
        "below on 0.5 (1 patch); 1 of the last 3 patches, 2 are needed (1 patch)"
    )
    assert started == "00:00:01.222  siren  STARTED, score 0.90: 2 of 3 patches at or above 0.5"
    assert ended == (
        "00:00:01.462 to 00:09:37.702  siren  ended (quiet) after 576.00 s, "
        "already open for 2401 patches, best 0.90"
    )


def test_each_rule_is_named_with_what_was_there_and_what_is_asked() -> None:
    held = explained([0.6, 0.6, 0.1, 0.1, 0.1, 0.6, 0.1], rule(cooldown_s=2.0))
    assert held[-1] == (
        "00:00:01.702  siren  held back, best 0.60: cooldown until 00:00:02.742 (1 patch)"
    )
    short = explained([0.6, 0.6, 0.1, 0.1, 0.1], rule(min_duration_s=1.0))
    assert "\n".join(short) == (
        "00:00:00.502 to 00:00:01.462  siren  held back, best 0.60 at 00:00:00.502: "
        "1 of the last 3 patches, 2 are needed (1 patch); lasted 0.24 s of 1 s (3 patches); "
        "given up (quiet), lasted 0.24 s of 1 s (1 patch)"
    )
    assert explained([0.1, 0.9], rule(n=1, m=1))[0] == (
        "00:00:00.742  siren  STARTED, score 0.90: one patch at or above 0.5 is enough"
    )


def test_what_never_came_near_is_told_with_its_best_score() -> None:
    assert explained([0.1, 0.34, 0.2]) == ["never near, best score: siren 0.34"]
    # Where off is close to on, near is a tenth below on.
    assert explained([0.39], rule(off=0.5)) == ["never near, best score: siren 0.39"]
    (line,) = explained([0.41], rule(off=0.5))
    assert line == "00:00:00.502  siren  held back, best 0.41: below on 0.5 (1 patch)"


def test_an_hour_of_reasons_takes_no_more_memory_than_a_minute() -> None:
    def peak(patches: int) -> int:
        explanations = (
            TextExplanation(lambda _: None),
            JsonExplanation(Path("a.wav"), lambda _: None),
        )
        tracemalloc.start()
        for explanation in explanations:
            events = Events((rule(), rule("horn")), 600.0, lambda _: "id", explanation)
            for index in range(patches):
                # In and out of reach, with events in between.
                score = (0.2, 0.4, 0.45, 0.6)[index // 9 % 4]
                events.feed(prediction(index, score, 0.4 if index % 2 else 0.1))
            explanation.finish([])
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    minute = peak(round(60e9 / HOP_NS))
    assert peak(round(3600e9 / HOP_NS)) < minute * 1.5


def test_each_object_is_a_reason_in_the_units_of_the_messages() -> None:
    lines: list[str] = []
    explanation = JsonExplanation(Path("a.wav"), lines.append)
    events = Events((rule(), rule("horn")), 600.0, lambda _: "id", explanation)
    for index, score in enumerate([0.1, 0.6, 0.7]):
        events.feed(prediction(index, score, 0.1))
    explanation.finish(["loud"])
    told = [json.loads(line) for line in lines]
    assert [(reason.get("label"), reason.get("step")) for reason in told] == [
        ("siren", "n_of_m"),
        ("siren", "started"),
        (None, None),
    ]
    assert told[0] == {
        "file": "a.wav",
        "time": "1970-01-01T00:00:00.742Z",
        "label": "siren",
        "step": "n_of_m",
        "score": 0.6,
        "on": 0.5,
        "off": 0.35,
        "n": 2,
        "m": 3,
        "counted": 1,
        "min_duration_s": 0.0,
        "duration_s": 0.0,
    }
    assert told[2] == {
        "file": "a.wav",
        "never_near": {"horn": 0.1},
        "alerts_never_near": ["loud"],
    }


def test_a_reason_cannot_be_changed_by_who_listens() -> None:
    assert LabelReason.__struct_config__.frozen
    assert AlertReason.__struct_config__.frozen
