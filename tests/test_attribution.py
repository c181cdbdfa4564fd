"""From patches, events and seconds to whose energy it was."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.activity import Activity
from edge_agent.attribution import Attribution, Background, Second
from edge_agent.energies import merged
from edge_agent.events import Events
from edge_agent.ids import Ids
from edge_agent.labels import EventRule
from edge_agent.records import Energies, Event, Prediction

S = 1_000_000_000
LABELS = ("siren", "horn")
PATCH_NS = 1_004_000_000
HOP_NS = 240_000_000


def patch(start_ns: int, *scores: float, gap: bool = False) -> Prediction:
    return Prediction(
        microphone="mic",
        start_ns=start_ns,
        end_ns=start_ns + PATCH_NS,
        scores=np.array(scores, np.float32),
        synced=True,
        gap_before=gap,
    )


def event(label: str, start_s: float, end_s: float, number: int = 0) -> Event:
    return Event(
        id=f"{label}-{number}",
        n=0,
        phase="start",
        microphone="mic",
        label=label,
        start_ns=round(start_s * S),
        end_ns=None,
        made_ns=0,
        synced=True,
        score=0.9,
        score_max=0.9,
        duration_s=end_s - start_s,
        levels={},
        end_reason=None,
    )


def heard(level_dbfs: float, start_s: int, *, heard_us: int = 1_000_000) -> Second:
    """A second of this level throughout."""
    return Second(
        start_ns=start_s * S,
        heard_us=heard_us,
        energy=heard_us * round(1e18 * 10 ** (level_dbfs / 10)),
        fast={round(10 * level_dbfs): round(8 * heard_us / 1e6)},
    )


@pytest.mark.parametrize(
    ("start_s", "end_s", "active"),
    [
        (9.0, 12.0, True),
        (10.0, 10.5, True),
        (10.5, 30.0, True),
        (10.501, 30.0, False),
        (5.0, 10.5, True),
        (5.0, 10.499, False),
        (11.0, 12.0, False),
    ],
)
def test_a_label_is_active_if_its_event_is_on_for_half_of_the_second(
    start_s: float, end_s: float, active: bool
) -> None:
    activity = Activity(LABELS)
    activity.feed(patch(9 * S, 0.9, 0.9), [event("horn", start_s, end_s)])
    assert list(activity.scores(10 * S, 11 * S)) == (["horn"] if active else [])


def test_two_events_of_a_label_count_together() -> None:
    activity = Activity(LABELS)
    events = [event("siren", 10.0, 10.3), event("siren", 10.7, 10.95, 1)]
    activity.feed(patch(10 * S, 0.9, 0.0), events)
    assert list(activity.scores(10 * S, 11 * S)) == ["siren"]


def test_the_score_is_the_mean_weighted_by_overlap() -> None:
    activity = Activity(LABELS)
    for start_ns, score in ((9 * S + 496_000_000, 0.2), (10 * S, 0.6), (10 * S + S // 2, 0.9)):
        activity.feed(patch(start_ns, score, 0.0), [event("siren", 9.0, 12.0)])
    # They overlap the second by .5, 1 and .5 s.
    expected = (0.5 * 0.2 + 1.0 * 0.6 + 0.5 * 0.9) / 2
    assert activity.scores(10 * S, 11 * S)["siren"] == pytest.approx(expected, abs=1e-6)


def test_an_event_is_taken_as_it_was_last_told() -> None:
    activity = Activity(LABELS)
    activity.feed(patch(9 * S, 0.9, 0.0), [event("siren", 9.0, 9.4)])
    activity.feed(patch(10 * S, 0.9, 0.0), [event("siren", 9.0, 10.8)])
    assert list(activity.scores(10 * S, 11 * S)) == ["siren"]


def test_all_is_known_of_a_second_once_a_patch_begins_after_it() -> None:
    activity = Activity(LABELS)
    assert not activity.knows(0)
    activity.feed(patch(11 * S - 1, 0.9, 0.0), [])
    assert not activity.knows(11 * S)
    activity.feed(patch(11 * S, 0.9, 0.0), [])
    assert activity.knows(11 * S)
    activity.finish()
    assert activity.knows(10**6 * S)


def la90_by_definition(samples: list[int]) -> float:
    """The highest tenth that nine tenths of the samples reach."""
    ranked = sorted(samples, reverse=True)
    return ranked[int(np.ceil(0.9 * len(ranked))) - 1] / 10


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(60, 900))
def test_the_background_is_la90_of_the_last_ten_minutes(seed: int, seconds: int) -> None:
    rng = np.random.default_rng(seed)
    background = Background()
    samples: list[int] = []
    for _ in range(seconds):
        tenths = [int(one) for one in rng.integers(-900, -300, 8)]
        background.add(Counter(tenths))
        samples += tenths
    assert background.la90() == la90_by_definition(samples[-4800:])


def test_a_minute_has_to_be_heard_first() -> None:
    background = Background()
    for _ in range(59):
        background.add({-600: 8})
        assert background.la90() is None
    background.add({-600: 8})
    assert background.la90() == -60.0


def test_seconds_in_which_nothing_was_heard_push_nothing_out() -> None:
    background = Background()
    for _ in range(600):
        background.add({-600: 8})
    for _ in range(600):
        background.add({})
    assert background.la90() == -60.0


class Street:
    """A street at -60 dBFS with whatever is added, through real events and attribution."""

    def __init__(self) -> None:
        rules = tuple(
            EventRule(label=label, on=0.5, off=0.35, n=2, m=3, min_duration_s=0.0, cooldown_s=0.0)
            for label in LABELS
        )
        self._events = Events(rules, 600.0, Ids(3).new)
        self.attribution = Attribution(LABELS, ())
        self.told: list[tuple[int, Energies]] = []

    def play(self, levels: Mapping[int, float], siren: tuple[float, float], seconds: int) -> None:
        """Seconds at `levels` instead of -60 dBFS; the siren scores while a patch overlaps it."""
        readings = [heard(levels.get(s, -60.0), s) for s in range(seconds)]
        for number in range(seconds * S // HOP_NS):
            start_ns = number * HOP_NS
            end_ns = start_ns + PATCH_NS
            overlap = min(end_ns, siren[1] * S) - max(start_ns, siren[0] * S)
            while readings and readings[0].start_ns + S <= end_ns:
                self.told += self.attribution.second(readings.pop(0))
            prediction = patch(start_ns, 0.9 if overlap > 0.5 * PATCH_NS else 0.0, 0.0)
            changes = self._events.feed(prediction)
            opened = self._events.open()
            self.told += self.attribution.prediction(prediction, [*opened, *changes])
        for one in readings:
            self.told += self.attribution.second(one)
        self.told += self.attribution.finish(self._events.finish("end_of_input", seconds * S))


def test_a_siren_in_a_street_gets_what_it_added() -> None:
    street = Street()
    street.play(dict.fromkeys(range(100, 110), -40.0), (100.0, 110.0), 120)
    assert [start_ns for start_ns, _ in street.told] == [s * S for s in range(120)]
    before = merged(energies for start_ns, energies in street.told if start_ns < 60 * S)
    assert before.background == before.total
    whole = merged(energies for _, energies in street.told)
    loud = 10 * 10**6 * 10**14
    quiet = 110 * 10**6 * 10**12
    assert whole.total == loud + quiet
    siren = whole.sources["siren"]
    # Ten seconds, less the background that was there all the time.
    assert siren.part == siren.alone == loud - 10 * 10**6 * 10**12
    assert siren.heard == loud
    assert whole.background == whole.total - siren.part


def test_what_is_loud_without_a_label_is_unlabelled() -> None:
    street = Street()
    street.play(dict.fromkeys(range(100, 110), -40.0), (0.0, 0.0), 120)
    whole = merged(energies for _, energies in street.told)
    assert whole.sources == {}
    assert whole.unlabelled == 10 * 10**6 * (10**14 - 10**12)


def test_half_a_second_heard_has_half_a_background() -> None:
    attribution = Attribution(LABELS, ())
    for s in range(60):
        attribution.second(heard(-60.0, s))
    attribution.second(heard(-40.0, 60, heard_us=500_000))
    last = attribution.finish([])[-1][1]
    assert last.background == 500_000 * 10**12


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    attribution = Attribution(LABELS, ())
    told = []
    for s in range(1000, 1003):
        told += attribution.second(heard(-60.0, s))
    told += attribution.prediction(patch(1001 * S, 0.0, 0.0), [])
    assert [start_ns // S for start_ns, _ in told] == [1000]
    for s in range(10, 13):
        told += attribution.second(heard(-60.0, s))
    told += attribution.prediction(patch(11 * S, 0.0, 0.0), [])
    assert [start_ns // S for start_ns, _ in told] == [1000, 1001, 1002, 10]
    told += attribution.prediction(patch(13 * S, 0.0, 0.0), [])
    assert [start_ns // S for start_ns, _ in told] == [1000, 1001, 1002, 10, 11, 12]
