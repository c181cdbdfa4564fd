"""Event logic on tables of scores: thresholds, N of M, durations, cooldown, gaps."""

from itertools import count

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.events import Events
from edge_agent.labels import EventRule
from edge_agent.records import Event, Prediction

HOP_NS = 240_000_000
SPAN_NS = 1_004_000_000


def rule(label: str = "siren", **changes: float) -> EventRule:
    settings = {"on": 0.5, "off": 0.35, "n": 2, "m": 3, "min_duration_s": 0.0, "cooldown_s": 0.0}
    settings |= changes
    return EventRule(
        label=label,
        on=settings["on"],
        off=settings["off"],
        n=int(settings["n"]),
        m=int(settings["m"]),
        min_duration_s=settings["min_duration_s"],
        cooldown_s=settings["cooldown_s"],
    )


def events_of(*rules: EventRule, max_duration_s: float = 600.0) -> Events:
    numbers = count(1)
    return Events(rules, max_duration_s, lambda _: f"id{next(numbers)}")


def prediction(index: int, *scores: float, late_ns: int = 0, gap: bool = False) -> Prediction:
    start_ns = index * HOP_NS + late_ns
    return Prediction(
        microphone="mic",
        start_ns=start_ns,
        end_ns=start_ns + SPAN_NS,
        scores=np.array(scores, np.float32),
        synced=True,
        gap_before=gap,
    )


def middle_ns(index: int) -> int:
    return index * HOP_NS + SPAN_NS // 2


def heard(events: Events, scores: list[float]) -> list[Event]:
    return [event for i, score in enumerate(scores) for event in events.feed(prediction(i, score))]


def test_two_of_three_patches_open_and_three_quiet_ones_close() -> None:
    told = heard(events_of(rule()), [0.1, 0.6, 0.2, 0.7, 0.4, 0.3, 0.3, 0.3, 0.1])
    assert [(event.phase, event.n) for event in told] == [("start", 0), ("end", 1)]
    assert told[0].start_ns == middle_ns(1)
    assert told[0].made_ns == 3 * HOP_NS + SPAN_NS
    assert told[1].end_ns == middle_ns(4)
    assert told[1].end_reason == "quiet"
    assert told[0].id == told[1].id
    assert told[1].score_max == np.float32(0.7)


def test_one_patch_is_not_enough_unless_the_label_is_impulsive() -> None:
    scores = [0.1, 0.9, 0.1, 0.1, 0.1]
    assert heard(events_of(rule()), scores) == []
    told = heard(events_of(rule(n=1, m=1)), scores)
    assert [event.phase for event in told] == ["start", "end"]
    assert told[1].duration_s == 0.0


def test_between_off_and_on_an_event_goes_on_but_none_begins() -> None:
    assert heard(events_of(rule()), [0.4] * 20) == []
    told = heard(events_of(rule()), [0.6, 0.6, *[0.4] * 20])
    assert [event.phase for event in told] == ["start"]


def test_too_short_a_sound_is_never_told() -> None:
    long = rule(min_duration_s=1.0)
    assert heard(events_of(long), [0.6, 0.6, 0.6, 0.1, 0.1, 0.1]) == []
    told = heard(events_of(long), [0.6] * 7)
    assert [event.phase for event in told] == ["start"]
    assert told[0].start_ns == middle_ns(0)
    assert told[0].duration_s == 1.2


def test_cooldown_holds_back_the_next_event() -> None:
    scores = [0.6, 0.6, 0.1, 0.1, 0.1, 0.6, 0.6, *[0.6] * 10]
    told = heard(events_of(rule(cooldown_s=2.0)), scores)
    assert [event.phase for event in told] == ["start", "end", "start"]
    assert told[1].end_ns is not None
    assert told[2].start_ns >= told[1].end_ns + 2_000_000_000


def test_a_long_event_is_updated_every_ten_seconds_and_ended_at_the_limit() -> None:
    told = heard(events_of(rule(), max_duration_s=30.0), [0.8] * 130)
    assert [event.phase for event in told][:4] == ["start", "update", "update", "end"]
    assert told[1].made_ns - told[0].made_ns >= 10_000_000_000
    assert told[3].end_reason == "max_duration"
    assert [event.n for event in told[:4]] == [0, 1, 2, 3]


def test_an_event_survives_a_short_gap_and_ends_in_a_long_one() -> None:
    for late_s, phases in ((1.0, ["start"]), (3.0, ["start", "end"])):
        events = events_of(rule())
        told = [e for i in range(4) for e in events.feed(prediction(i, 0.8))]
        late_ns = round(late_s * 1e9)
        told += events.feed(prediction(4, 0.8, late_ns=late_ns, gap=True))
        assert [event.phase for event in told] == phases
    assert told[1].end_reason == "gap"


def test_what_is_open_ends_with_the_stream() -> None:
    events = events_of(rule(), rule("car_horn"))
    for i in range(3):
        events.feed(prediction(i, 0.8, 0.1))
    (ended,) = events.finish("end_of_input", 5_000_000_000)
    assert (ended.phase, ended.end_reason, ended.end_ns) == ("end", "end_of_input", 5_000_000_000)
    assert events.finish("end_of_input", 6_000_000_000) == []


@given(
    scores=st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 1.0]), max_size=200),
    n=st.integers(1, 3),
    more=st.integers(0, 2),
    min_duration_s=st.sampled_from([0.0, 0.5, 2.0]),
    cooldown_s=st.sampled_from([0.0, 1.0, 5.0]),
)
def test_every_start_has_exactly_one_end_after_it(
    scores: list[float], n: int, more: int, min_duration_s: float, cooldown_s: float
) -> None:
    tested = rule(n=n, m=n + more, min_duration_s=min_duration_s, cooldown_s=cooldown_s)
    events = events_of(tested, max_duration_s=20.0)
    told = heard(events, scores) + events.finish("end_of_input", 100_000_000_000)
    open_id = ""
    for event in told:
        if event.phase == "start":
            assert not open_id
            assert event.n == 0
            open_id = event.id
        assert event.id == open_id
        if event.phase == "end":
            assert event.end_ns is not None
            assert event.end_ns >= event.start_ns
            open_id = ""
    assert not open_id
