"""How fast a broker is given what waits, in simulated time."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SimulatedClock
from edge_agent.pace import Pace

S = 1_000_000_000


@given(st.floats(0.1, 1000), st.lists(st.floats(0.01, 5), min_size=1, max_size=50))
def test_the_backlog_keeps_its_rate_however_often_it_is_asked(
    rate: float, steps_s: list[float]
) -> None:
    clock = SimulatedClock(0)
    pace = Pace(clock, rate)
    pace.begin(2.0)
    handed, elapsed_s = 0, 0.0
    for step_s in steps_s:
        clock.wait(step_s)
        elapsed_s += step_s
        for _ in range(pace.backlog()):
            pace.spend()
            handed += 1
        # What was earned, after the wait; a second's worth may be saved, or one message.
        assert handed <= max(0.0, elapsed_s - 2.0) * rate + 1e-6


def test_a_busy_broker_is_left_alone_longer_each_time_and_then_given_less() -> None:
    clock = SimulatedClock(0)
    pace = Pace(clock, 64.0)
    pace.begin(0.0)
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        pace.pause()
        clock.wait(pause_s - 0.001)
        assert pace.paused()
        clock.wait(0.002)
        assert not pace.paused()
    pace.begin(0.0)
    clock.wait(10)
    # 64 a second, halved to a 64th: one.
    assert pace.backlog() == 1
    for doubled in (2, 4, 8, 16, 32, 64):
        clock.wait(61)
        pace.recover()
        clock.wait(2)
        pace.backlog()
        assert pace.backlog() == doubled
    pace.delivered()
    pace.pause()
    clock.wait(1.001)
    assert not pace.paused()
