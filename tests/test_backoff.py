"""When a broker is tried again, in simulated time."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.backoff import MOST_S, TWIN_AT, TWIN_WAIT_S, BackOff

SEEDS = st.integers(0, 2**32)


def waits(back_off: BackOff, number: int) -> list[float]:
    return [back_off.wait_s(MOST_S) for _ in range(number)]


@given(SEEDS)
def test_waits_double_to_the_cap_and_a_delivery_ends_that(seed: int) -> None:
    back_off = BackOff(random.Random(seed))
    for wanted, found in zip([1, 2, 4, 8, 16, 32, 60, 60, 60], waits(back_off, 9), strict=True):
        assert 0.5 * wanted <= found <= 1.5 * wanted
    back_off.delivered()
    assert waits(back_off, 1)[0] <= 1.5


@given(SEEDS, st.integers(0, 40))
def test_after_a_long_absence_a_flapping_broker_is_met_again_soon(seed: int, tried: int) -> None:
    """What was before counts no more once a message was taken."""
    back_off = BackOff(random.Random(seed))
    waits(back_off, tried)
    back_off.unreachable()
    took_s = 0.0
    for flaps in range(1, 4):
        back_off.delivered()
        back_off.ended_soon()
        wait_s = back_off.wait_s(MOST_S)
        assert wait_s <= 1.5 * 2 ** (flaps - 1)
        took_s += wait_s
    assert took_s <= 10.5
    assert not back_off.twin


@given(SEEDS)
def test_a_twin_is_told_from_a_flapping_broker_by_its_patience_and_then_left_alone(
    seed: int,
) -> None:
    back_off = BackOff(random.Random(seed))
    before_s = 0.0
    for _ in range(TWIN_AT - 1):
        back_off.delivered()
        back_off.ended_soon()
        assert not back_off.twin
        before_s += back_off.wait_s(MOST_S)
    # 1 + 2 + 4 + 8 + 16, each times 0.5 to 1.5.
    assert 15.5 <= before_s <= 46.5
    back_off.ended_soon()
    assert back_off.twin
    low_s, high_s = TWIN_WAIT_S
    assert low_s <= back_off.wait_s(MOST_S) <= high_s
    # It stays so, whatever is delivered, until a connection stands.
    back_off.delivered()
    assert low_s <= back_off.wait_s(MOST_S) <= high_s
    back_off.lasted()
    assert not back_off.twin


@given(SEEDS, st.integers(0, TWIN_AT - 1))
def test_a_broker_that_was_away_in_between_is_no_twin(seed: int, before: int) -> None:
    back_off = BackOff(random.Random(seed))
    for _ in range(before):
        back_off.ended_soon()
    back_off.unreachable()
    for _ in range(TWIN_AT - 1):
        back_off.ended_soon()
    assert not back_off.twin


def test_a_broker_that_says_so_is_believed_at_once() -> None:
    back_off = BackOff(random.Random(1))
    back_off.taken_over()
    assert back_off.twin
