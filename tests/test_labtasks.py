"""The laboratory's tasks: recordings stay whole, classes are spread, what is missing is told."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build import labtasks
from model_build.datasets import Clip, by_fold, groups
from tests.conftest import examples


def clips(sizes: list[int]) -> list[Clip]:
    """Recordings of so many clips each, of two classes by turns."""
    return [
        Clip(path=f"{at}-{number}", label="ab"[at % 2], origin="toy", group=str(at))
        for at, size in enumerate(sizes)
        for number in range(size)
    ]


@settings(max_examples=examples(100))
@given(st.lists(st.integers(1, 9), min_size=6, max_size=40))
def test_recordings_are_dealt_whole_and_no_fold_lacks_a_class(sizes: list[int]) -> None:
    made = clips(sizes)
    dealt = labtasks.dealt(made, 3)
    assert [clip.path for clip in dealt] == [clip.path for clip in made]
    by_group = {clip.group: clip.fold for clip in dealt}
    assert all(by_group[clip.group] == clip.fold for clip in dealt)
    for label in "ab":
        filled = [sum((c.label, c.fold) == (label, fold) for c in dealt) for fold in (1, 2, 3)]
        assert min(filled) > 0
        # Largest first: no fold is ahead of another by more than the largest recording.
        assert max(filled) - min(filled) <= max(sizes)


@pytest.mark.data
def test_music_speech_and_noise_are_in_every_fold_and_no_recording_in_two(data_root: Path) -> None:
    task = labtasks.read(labtasks.THREE_WAY, data_root)
    for split in by_fold(task.clips):
        assert not groups(split.train) & groups(split.test)
        assert {clip.label for clip in split.test} == {"music", "speech", "noise"}
    assert task.missing == ()


@pytest.mark.data
def test_what_is_missing_of_a_set_is_told(data_root: Path) -> None:
    assert labtasks.read("urbansound8k", data_root).missing == (
        "2148 of 8732 clips are here, in 3 of 10 folds.",
    )
    assert labtasks.read("esc50", data_root).missing == ()
