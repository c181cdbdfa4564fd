"""Whose energy it was: ACOUSTICS' vectors by hand, and what must hold whatever is heard."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.energies import attributed, merged, shares
from edge_agent.records import Energies, Share, Shares

LABELS = ("siren", "horn", "engine", "dog")
STATIONARY = frozenset({"engine"})


def energy(level: float) -> int:
    """Of a second, in millionths."""
    return round(1e6 * 10 ** (level / 10))


def told(energies: Energies) -> Shares:
    laeq = 10 * math.log10(energies.total / 1e6 / 3)
    found = shares(energies, laeq)
    assert found is not None
    return found


def of(label: str, found: Shares) -> Share:
    return next(one for one in found.sources if one.label == label)


def three_seconds(scores: dict[str, float]) -> Energies:
    """60, 80 and 60 dB over a background of 60; the labels sound in the second one."""
    seconds: list[tuple[float, dict[str, float]]] = [(60.0, {}), (80.0, scores), (60.0, {})]
    return merged(attributed(energy(level), energy(60), heard, ()) for level, heard in seconds)


def test_a_siren_alone_in_one_of_three_seconds() -> None:
    energies = three_seconds({"siren": 0.9})
    assert energies.total == 102_000_000 * 10**6
    assert energies.sources["siren"].part == 99_000_000 * 10**6
    found = told(energies)
    siren = of("siren", found)
    assert siren.share == pytest.approx(0.97059, abs=5e-6)
    assert siren.min_share == siren.share
    assert siren.max_share == pytest.approx(0.98039, abs=5e-6)
    assert found.background == pytest.approx(0.02941, abs=5e-6)
    assert found.unlabelled == 0
    laeq = 10 * math.log10(1.02e8 / 3)
    assert laeq == pytest.approx(75.315, abs=5e-4)
    assert siren.level == pytest.approx(75.185, abs=5e-4)
    assert siren.laeq_without == pytest.approx(60.0, abs=5e-4)
    assert not siren.stationary


def test_two_labels_share_by_their_scores() -> None:
    sources = three_seconds({"siren": 0.8, "horn": 0.4}).sources
    assert sources["siren"].part == 66_000_000 * 10**6
    assert sources["horn"].part == 33_000_000 * 10**6
    assert sources["siren"].alone == sources["horn"].alone == 0
    assert sources["siren"].heard == sources["horn"].heard == 10**14


def test_without_a_label_what_rises_above_the_background_is_unlabelled() -> None:
    energies = three_seconds({})
    assert energies.unlabelled == 99_000_000 * 10**6
    assert energies.background == 3_000_000 * 10**6
    assert energies.sources == {}


def test_a_label_below_the_background_has_no_share_but_a_bound() -> None:
    energies = attributed(energy(55), energy(60), {"siren": 0.9}, ())
    siren = of("siren", told(energies))
    assert (siren.share, siren.min_share, siren.level) == (0, 0, None)
    assert siren.max_share == 1
    assert siren.laeq_without == pytest.approx(10 * math.log10(10**5.5 / 3))
    assert told(energies).background == 1


def test_nothing_is_attributed_before_the_background_is_known() -> None:
    energies = attributed(energy(80), None, {"siren": 0.9, "engine": 0.5}, STATIONARY)
    assert (energies.background, energies.unlabelled) == (energy(80), 0)
    assert [source.part for source in energies.sources.values()] == [0, 0]
    alone = attributed(energy(80), None, {"engine": 0.5}, STATIONARY)
    assert alone.background == energy(80)


def test_what_is_stationary_and_alone_is_the_background() -> None:
    energies = attributed(energy(63), energy(60), {"engine": 0.5}, STATIONARY)
    engine = of("engine", told(energies))
    assert (engine.share, engine.stationary) == (1, True)
    assert engine.laeq_without is None
    assert engine.min_share == pytest.approx(1 - 10 ** (-0.3), abs=1e-6)
    assert energies.background == 0
    # With another sound, nobody knows whose the background is.
    both = attributed(energy(63), energy(60), {"engine": 0.5, "siren": 0.5}, STATIONARY)
    assert both.background == energy(60)
    assert not of("engine", told(both)).stationary


def test_scores_of_zero_share_equally() -> None:
    sources = attributed(energy(80) + 1, 0, {"siren": 0.0, "horn": 0.0}, ()).sources
    assert sorted(source.part for source in sources.values()) == [
        energy(80) // 2,
        energy(80) // 2 + 1,
    ]


def test_no_energy_has_no_shares() -> None:
    assert shares(Energies(), 40.0) is None
    assert shares(attributed(energy(60), None, {}, ()), None) is None


SCORES = st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1), max_size=4)
SECONDS = st.lists(
    st.tuples(st.integers(0, 10**25), st.none() | st.integers(0, 10**25), SCORES), max_size=30
)


def split(seconds: list[tuple[int, int | None, dict[str, float]]]) -> list[Energies]:
    return [attributed(*second, STATIONARY) for second in seconds]


@given(SECONDS)
def test_all_parts_add_up_to_the_energy_to_the_last_unit(
    seconds: list[tuple[int, int | None, dict[str, float]]],
) -> None:
    whole = merged(split(seconds))
    parts = sum(source.part for source in whole.sources.values())
    assert parts + whole.unlabelled + whole.background == whole.total
    assert whole.total == sum(energy for energy, _, _ in seconds)


@given(SECONDS)
def test_a_share_lies_between_its_bounds(
    seconds: list[tuple[int, int | None, dict[str, float]]],
) -> None:
    for energies in (*split(seconds), merged(split(seconds))):
        for source in energies.sources.values():
            assert 0 <= source.alone <= source.part <= source.heard <= energies.total
            assert 0 <= source.stationary <= source.part


@given(SECONDS, st.integers(0, 30), st.randoms(use_true_random=False))
def test_minutes_add_up_to_the_same_hour_in_any_order(
    seconds: list[tuple[int, int | None, dict[str, float]]], cut: int, shuffled: random.Random
) -> None:
    whole = merged(split(seconds))
    parts = split(seconds)
    assert merged([merged(parts[cut:]), merged(parts[:cut])]) == whole
    shuffled.shuffle(parts)
    assert merged(parts) == whole


@given(SECONDS, st.floats(-80, 120))
def test_published_shares_make_one(
    seconds: list[tuple[int, int | None, dict[str, float]]], laeq: float
) -> None:
    found = shares(merged(split(seconds)), laeq)
    if found is not None:
        parts = [one.share for one in found.sources]
        assert found.background + found.unlabelled + sum(parts) == pytest.approx(1, abs=1e-12)
        assert parts == sorted(parts, reverse=True)
        for one in found.sources:
            # What it made and what would be left add up to all again.
            made = 0.0 if one.level is None else 10 ** ((one.level - laeq) / 10)
            rest = 0.0 if one.laeq_without is None else 10 ** ((one.laeq_without - laeq) / 10)
            assert made + rest == pytest.approx(1, abs=1e-9)
