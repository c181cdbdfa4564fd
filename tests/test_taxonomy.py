"""What the data sets' labels mean to the street model."""

import csv
from pathlib import Path

import pytest

from model_build.taxonomy import BEDS, STREET, URBANSOUND8K, meaning


def test_the_street_has_the_fourteen_labels_that_were_asked_for() -> None:
    asked = (
        "air_conditioner car_horn children_playing dog_bark drilling engine_idling gun_shot "
        "jackhammer siren street_music glass_breaking alarm crying_baby speech"
    )
    assert [sound.id for sound in STREET] == asked.split()


def test_only_what_is_over_within_a_patch_fires_on_one_patch() -> None:
    assert {sound.id for sound in STREET if sound.impulsive} == {"gun_shot", "glass_breaking"}


def test_the_ten_classes_stand_in_the_sets_own_order() -> None:
    # Its class numbers 0 to 9 are alphabetical.
    assert len(URBANSOUND8K) == 10
    assert list(URBANSOUND8K) == sorted(URBANSOUND8K)


@pytest.mark.parametrize(
    ("origin", "label", "expected"),
    [
        ("esc50", "dog", ("event", "dog_bark")),
        ("esc50_clean", "siren", ("event", "siren")),
        ("esc50", "engine", ("event", "engine_idling")),
        ("esc50", "clock_alarm", ("event", "alarm")),
        ("esc50", "rain", ("bed", None)),
        ("esc50", "clapping", ("distractor", None)),
        ("ambient", "wind", ("bed", None)),
        ("ambient", "street", ("unsuitable", None)),
        ("sesa", "gunshot", ("event", "gun_shot")),
        ("sesa", "casual", ("unsuitable", None)),
        ("ambient_eval", "wind", ("unsuitable", None)),
    ],
)
def test_a_label_is_an_event_or_background_or_left_out(
    origin: str, label: str, expected: tuple[str, str | None]
) -> None:
    assert meaning(origin, label) == expected


@pytest.mark.data
def test_every_label_that_is_named_occurs_in_its_data_set(data_root: Path) -> None:
    named = {pair for sound in STREET for pair in sound.sources if pair[0] != "esc50_clean"}
    named |= {("esc50", label) for label in BEDS}
    found: set[tuple[str, str]] = set()
    for origin in {pair[0] for pair in named}:
        with (data_root / f"{origin}.csv").open(newline="") as file:
            found |= {(origin, row["label"]) for row in csv.DictReader(file)}
    assert named <= found
