"""The search finds what trying every threshold finds."""

import math
from collections.abc import Sequence
from itertools import product

import msgspec
import numpy as np
import pytest

from edge_agent.labels import EventRule, Label
from edge_agent.records import Prediction
from model_build.bundles import label as default_label
from model_build.detection import Heard, decide, spans
from model_build.streams import TrueEvent
from model_build.thresholds import STEPS, Listener, allotted

HOP_NS = 240_000_000
SPAN_NS = 1_004_000_000


def _label(*, impulsive: bool = False) -> Label:
    return default_label("siren", "Siren", impulsive=impulsive, stationary=False)


def _heard(steps: Sequence[int], *truth: tuple[float, float]) -> Heard:
    """A stream whose patches have these int8 scores."""
    return Heard(
        name="toy",
        seconds=len(steps) * 0.24 + 1,
        truth=tuple(
            TrueEvent(label="siren", onset_s=onset, offset_s=offset, snr_db=0.0, path="a")
            for onset, offset in truth
        ),
        predictions=tuple(
            Prediction(
                microphone="m",
                start_ns=at * HOP_NS,
                end_ns=at * HOP_NS + SPAN_NS,
                scores=np.array([step / STEPS], np.float32),
                synced=False,
                gap_before=False,
            )
            for at, step in enumerate(steps)
        ),
        spans=(),
    )


def _noisy(seed: int, count: int = 1500) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(255 * score) for score in rng.beta(2, 5, count)]


def _alarms(heard: Heard, on: int, n: int, m: int, off_share: float) -> int:
    rule = EventRule(
        label="siren",
        on=on / STEPS,
        off=max(1, round(off_share * on)) / STEPS,
        n=n,
        m=m,
        min_duration_s=0.0,
        cooldown_s=5.0,
    )
    lengths_s = [span.offset_s - span.onset_s for span in spans(decide((rule,), heard))]
    return sum(max(1, math.ceil(length_s / 60)) for length_s in lengths_s)


@pytest.mark.parametrize("allowed", [0, 1, 4])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 6)])
@pytest.mark.parametrize("off_share", [0.5, 0.9])
def test_on_is_the_smallest_from_which_no_step_gives_more_alarms(
    allowed: int, n: int, m: int, off_share: float
) -> None:
    free = _heard(_noisy(1))
    found = Listener(_label(), 0, [], [free]).smallest_on(n, m, off_share, allowed)
    above = [_alarms(free, on, n, m, off_share) for on in range(found, STEPS)]
    assert max(above) <= allowed
    assert _alarms(free, found - 1, n, m, off_share) > allowed


def test_what_is_chosen_keeps_to_what_is_allowed() -> None:
    free = _heard(_noisy(2))
    trial = Listener(_label(), 0, [_heard(_noisy(9), (5.0, 9.0))], [free]).chosen(2)
    assert trial.alarms == _alarms(
        free, round(trial.on * STEPS), trial.n, trial.m, trial.off / trial.on
    )
    assert trial.alarms <= 2


def _rivals() -> list[Listener]:
    """A label with a loud stranger in the background, one that never scores, and a noisy one."""
    scene = _heard([20] * 100 + [150] * 12 + [20] * 100, (24.5, 27.4))
    stranger = [20] * 300
    stranger[100:112] = [200] * 12
    return [
        Listener(_label(), 0, [scene], [_heard(stranger)]),
        Listener(_label(), 0, [scene], [_heard([0] * 300)]),
        Listener(_label(), 0, [_heard(_noisy(9), (5.0, 9.0))], [_heard(_noisy(2))]),
    ]


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_alarms_go_where_they_do_most_good(allowed: int) -> None:
    listeners = _rivals()
    trials = allotted(listeners, allowed)
    assert sum(trial.alarms for trial in trials) <= allowed
    # Every way to give them away.
    worths = [
        sum(one.worth for one in given)
        for given in product(*([one.chosen(k) for k in range(allowed + 1)] for one in listeners))
        if sum(one.alarms for one in given) <= allowed
    ]
    assert sum(trial.worth for trial in trials) == pytest.approx(max(worths))
    # One alarm gives the first label its event back, which the stranger had silenced.
    assert (trials[0].counts.right == 1) == (allowed >= 1)


@pytest.mark.parametrize("called_for", ["first", "second"])
def test_what_somebody_is_called_out_for_gets_its_alarms_first(called_for: str) -> None:
    scene = _heard([20] * 100 + [150] * 12 + [20] * 100, (24.5, 27.4))
    stranger = [20] * 300
    stranger[100:112] = [200] * 12
    listeners = []
    for name in ("first", "second"):
        truth = tuple(msgspec.structs.replace(event, label=name) for event in scene.truth)
        own = msgspec.structs.replace(scene, truth=truth)
        label = msgspec.structs.replace(_label(), id=name)
        listeners.append(Listener(label, 0, [own], [_heard(stranger)]))
    trials = allotted(listeners, 1, [called_for])
    served = [trial.counts.right == 1 for trial in trials]
    assert served == [called_for == "first", called_for == "second"]


def test_what_cannot_be_kept_within_takes_nothing_from_the_others() -> None:
    full = _heard([255] * 100)
    hopeless = Listener(_label(impulsive=True), 0, [full], [full])
    alone, beside = allotted([hopeless], 0), allotted([hopeless, *_rivals()], 0)
    assert beside == (*alone, *allotted(_rivals(), 0))


def test_counting_and_threshold_are_those_that_serve_best_in_the_scenes() -> None:
    # Background has single high patches; the event's patches come in a row. One of one needs a
    # threshold above the event, two of three does not.
    background = [20] * 300
    background[50] = background[150] = 200
    event = [20] * 100 + [150] * 12 + [20] * 100
    scene = _heard(event, (24.5, 27.4))
    trial = Listener(_label(), 0, [scene], [_heard(background)]).chosen(0)
    assert (trial.n, trial.m) == (2, 3)
    # Just above the background an event would never end: its `off` is below.
    assert 20 / STEPS < trial.off < trial.on <= 150 / STEPS
    assert (trial.counts.right, trial.counts.told, trial.told_in_time) == (1, 1, 1)


def test_a_label_that_always_scores_full_gets_the_fewest_alarms() -> None:
    full = _heard([255] * 100)
    trial = Listener(_label(impulsive=True), 0, [full], [full]).chosen(0)
    assert trial.alarms == 1
    assert trial.on == 255 / STEPS


def test_an_alarm_that_never_ends_counts_each_minute() -> None:
    # Ten minutes in which the score is low but never zero: by starts alone the lowest threshold
    # would give one alarm.
    free = _heard([100, *[10] * 2500, 100])
    listener = Listener(_label(), 0, [], [free])
    assert listener.tried(2, 0.5, 1, 1).alarms == 10
    assert listener.smallest_on(1, 1, 0.5, 2) > 10


def test_a_stream_that_is_shorter_than_a_patch_changes_nothing() -> None:
    free = _heard(_noisy(1))
    alone, beside = (
        Listener(_label(), 0, [], streams).smallest_on(2, 3, 0.5, 0)
        for streams in ([free], [_heard([]), free])
    )
    assert alone == beside


def test_a_label_that_never_scores_gets_the_lowest_threshold() -> None:
    silent = _heard([0] * 100)
    trial = Listener(_label(), 0, [silent], [silent]).chosen(0)
    assert (trial.on, trial.off, trial.alarms) == (1 / STEPS, 1 / STEPS, 0)
    assert trial.delay_p50_s is None
