"""Alert rules over events and levels."""

from itertools import count

from edge_agent.alerts import Alerts
from edge_agent.config import AlertConfig
from edge_agent.records import Alert, Event, LevelReading, Phase

SECOND_NS = 1_000_000_000


def alerts_of(offset_db: float | None = None, **rules: AlertConfig) -> Alerts:
    numbers = count(1)
    return Alerts(rules, offset_db, lambda _: f"alert{next(numbers)}")


def event(
    phase: Phase = "update",
    *,
    label: str = "siren",
    score_max: float = 0.9,
    duration_s: float = 2.0,
    event_id: str = "e1",
) -> Event:
    return Event(
        id=event_id,
        n=0,
        phase=phase,
        microphone="mic",
        label=label,
        start_ns=10 * SECOND_NS,
        end_ns=round((10 + duration_s) * SECOND_NS) if phase == "end" else None,
        made_ns=round((10.5 + duration_s) * SECOND_NS),
        synced=True,
        score=score_max,
        score_max=score_max,
        duration_s=duration_s,
        levels={},
        end_reason="quiet" if phase == "end" else None,
    )


def reading(second: int, level_db: float | None, name: str = "LAeq_dbfs") -> LevelReading:
    return LevelReading(
        id="",
        microphone="mic",
        period_s=1,
        start_ns=second * SECOND_NS,
        made_ns=(second + 1) * SECOND_NS,
        values={name: level_db},
        reasons={},
        heard_s=1.0,
        bandwidth_hz=24000.0,
        overload=False,
        under_range=False,
        calibration=None,
        synced=True,
    )


def fed(alerts: Alerts, levels: list[float | None], name: str = "LAeq_dbfs") -> list[Alert]:
    return [a for i, db in enumerate(levels) for a in alerts.feed_reading(reading(i, db, name))]


def test_a_label_alert_waits_for_score_and_duration_and_ends_with_its_event() -> None:
    rule = AlertConfig(labels=("siren", "alarm"), min_score=0.8, min_duration_s=1.0)
    alerts = alerts_of(emergency=rule)
    assert alerts.feed_events([event("start", duration_s=0.2)], [event(duration_s=0.2)], 1) == []
    assert alerts.feed_events([], [event(score_max=0.7)], 2) == []
    (start,) = alerts.feed_events([], [event(duration_s=1.0)], 3)
    assert (start.phase, start.labels, start.events) == ("start", ("siren",), ("e1",))
    assert start.start_ns == 10 * SECOND_NS
    (end,) = alerts.feed_events([event("end", duration_s=4.0)], [], 4)
    assert (end.phase, end.end_ns, end.n, end.end_reason) == ("end", 14 * SECOND_NS, 1, "quiet")


def test_an_alert_lasts_until_the_last_of_its_events_has_ended() -> None:
    alerts = alerts_of(noise=AlertConfig(labels=("siren", "alarm")))
    alerts.feed_events([event("start")], [event()], 1)
    other = event(label="alarm", event_id="e2")
    assert alerts.feed_events([event("end")], [other], 2) == []
    (end,) = alerts.feed_events([event("end", label="alarm", event_id="e2")], [], 3)
    assert end.labels == ("siren", "alarm")
    assert end.events == ("e1", "e2")


def test_other_labels_do_not_concern_a_rule() -> None:
    alerts = alerts_of(emergency=AlertConfig(labels=("siren",)))
    assert (
        alerts.feed_events([event("start", label="dog_bark")], [event(label="dog_bark")], 1) == []
    )


def test_a_level_alert_needs_seconds_in_a_row_and_ends_after_as_many() -> None:
    alerts = alerts_of(loud=AlertConfig(indicator="LAeq", above_dbfs=-20.0, for_s=3))
    loud, quiet = -10.0, -30.0
    told = fed(alerts, [loud, loud, quiet, loud, loud, loud, quiet, loud, quiet, quiet, None])
    assert [alert.phase for alert in told] == ["start", "end"]
    start, end = told
    assert (start.start_ns, start.made_ns) == (3 * SECOND_NS, 6 * SECOND_NS)
    assert (start.indicator, start.value, start.limit) == ("LAeq_dbfs", -10.0, -20.0)
    assert (end.end_ns, end.made_ns) == (8 * SECOND_NS, 11 * SECOND_NS)


def test_seconds_that_are_missing_break_a_run() -> None:
    alerts = alerts_of(loud=AlertConfig(indicator="LAeq", above_dbfs=-20.0, for_s=2))
    assert alerts.feed_reading(reading(0, -10.0)) == []
    assert alerts.feed_reading(reading(5, -10.0)) == []
    assert [alert.phase for alert in alerts.feed_reading(reading(6, -10.0))] == ["start"]


def test_a_level_alert_ends_where_nothing_was_heard_for_as_long_as_it_needed() -> None:
    alerts = alerts_of(loud=AlertConfig(indicator="LAeq", above_dbfs=-20.0, for_s=2))
    assert [alert.phase for alert in fed(alerts, [-10.0, -10.0])] == ["start"]
    assert alerts.feed_reading(reading(3, -10.0)) == []  # one second alone was not heard
    (end,) = alerts.feed_reading(reading(6, -10.0))
    assert (end.phase, end.end_reason, end.end_ns) == ("end", "gap", 4 * SECOND_NS)
    assert [alert.phase for alert in alerts.feed_reading(reading(7, -10.0))] == ["start"]


def test_a_rule_in_decibels_rests_without_calibration() -> None:
    rule = AlertConfig(indicator="LAeq", above_db=70.0, for_s=1)
    resting = alerts_of(loud=rule)
    assert resting.resting == ("loud",)
    assert fed(resting, [0.0]) == []
    calibrated = alerts_of(120.0, loud=rule)
    assert calibrated.resting == ()
    assert [alert.value for alert in fed(calibrated, [75.0], "LAeq")] == [75.0]


def test_a_limit_in_dbfs_holds_for_a_calibrated_microphone_too() -> None:
    alerts = alerts_of(120.0, loud=AlertConfig(indicator="LAeq", above_dbfs=-20.0, for_s=1))
    assert [alert.value for alert in fed(alerts, [99.0, 101.0], "LAeq")] == [-19.0]


def test_what_is_open_ends_with_the_stream() -> None:
    alerts = alerts_of(loud=AlertConfig(indicator="LAeq", above_dbfs=-20.0, for_s=1))
    fed(alerts, [-10.0])
    (end,) = alerts.finish("stopped", 9 * SECOND_NS)
    assert (end.phase, end.end_reason, end.end_ns) == ("end", "stopped", 9 * SECOND_NS)
    assert alerts.finish("stopped", 9 * SECOND_NS) == []
