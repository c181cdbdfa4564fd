"""What counts as heard, missed and false; the windows are counted by hand."""

import pytest

from edge_agent.commands.scene import LAP_S, REQUIRED, SceneSound, sounds
from edge_agent.commands.verdict import Heard, judge

BELL = SceneSound(label="bell", start_s=10.0, end_s=14.0, accepts=("bell", "gong"))


def _heard(label: str, start_s: float) -> Heard:
    return Heard(label=label, start_s=start_s, score=0.7)


@pytest.mark.parametrize("start_s", [9.5, 10.0, 14.0, 15.0])
def test_an_event_near_its_sound_is_heard(start_s: float) -> None:
    verdict = judge([BELL], [_heard("gong", start_s)])
    assert verdict.heard == ((BELL, _heard("gong", start_s)),)
    assert not verdict.missed
    assert not verdict.false


@pytest.mark.parametrize("event", [_heard("bell", 9.4), _heard("bell", 15.1), _heard("drum", 11.0)])
def test_an_event_at_another_time_or_of_another_label_is_false(event: Heard) -> None:
    verdict = judge([BELL], [event])
    assert (verdict.heard, verdict.missed, verdict.false) == ((), (BELL,), (event,))


def test_a_sound_heard_twice_counts_once_and_nothing_is_false() -> None:
    verdict = judge([BELL], [_heard("bell", 10.2), _heard("gong", 12.0)])
    assert [event.start_s for _, event in verdict.heard] == [10.2]
    assert verdict.false == ()


@pytest.mark.parametrize("missing", range(len(REQUIRED)))
def test_every_required_group_must_be_heard(missing: int) -> None:
    played = sounds(LAP_S)
    labels = [group[0] for group in REQUIRED]
    del labels[missing]
    events = [_heard(sound.label, sound.start_s) for sound in played if sound.label in labels]
    assert not judge(played, events).passed


def test_one_sound_of_each_required_group_is_enough() -> None:
    played = sounds(LAP_S)
    for last in REQUIRED[-1]:
        labels = [*(group[0] for group in REQUIRED[:-1]), last]
        events = [_heard(sound.label, sound.start_s) for sound in played if sound.label in labels]
        assert judge(played, events).passed
