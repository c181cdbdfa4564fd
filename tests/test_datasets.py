"""Manifests are read or refused aloud, and splits keep recordings together."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import BuildError
from model_build import street
from model_build.datasets import (
    Clip,
    by_fold,
    drawn_groups,
    groups,
    held_out_group,
    in_one_fold,
    list_sha256,
    random_clips,
    read_manifest,
    without_groups,
)
from tests import toy_streets


def _manifest(folder: Path, text: str, *clips: str) -> Path:
    for clip in clips:
        (folder / clip).write_bytes(b"sound")
    path = folder / "set.csv"
    path.write_text(text)
    return path


def _clips(*folds_and_groups: tuple[int | None, str], label: str = "siren") -> list[Clip]:
    return [
        Clip(path=f"{i}.wav", label=label, origin="set", group=group, fold=fold)
        for i, (fold, group) in enumerate(folds_and_groups)
    ]


def test_a_manifest_gives_its_clips_with_fold_and_recording(tmp_path: Path) -> None:
    text = "path,label,fold,freesound_id\na.wav,siren,2,77\nb.wav,dog,,\n"
    read = read_manifest(_manifest(tmp_path, text, "a.wav", "b.wav"), tmp_path)
    assert read.clips == (
        Clip(path="a.wav", label="siren", origin="set", group="77", fold=2),
        Clip(path="b.wav", label="dog", origin="set", group="b.wav", fold=None),
    )


def test_a_clip_that_is_not_there_is_skipped_with_the_reason(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path,label\na.wav,siren\ngone.wav,siren\n,dog\n", "a.wav")
    skipped = read_manifest(path, tmp_path).skipped
    assert [(skip.path, skip.reason) for skip in skipped] == [
        ("gone.wav", "no such file"),
        ("", "line 4 of set.csv has no path or no label"),
    ]


def test_a_manifest_without_its_columns_names_the_missing_one(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "file,label\na.wav,siren\n")
    with pytest.raises(BuildError, match="no column `path`, only file, label"):
        read_manifest(path, tmp_path)


def test_a_column_that_nothing_reads_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _manifest(tmp_path, "path,label,folds,seconds\na.wav,siren,1,4\n", "a.wav")
    assert read_manifest(path, tmp_path).clips[0].fold is None
    assert caplog.messages == [
        f"{path}: not read: column folds; known are path, label, fold, freesound_id, group"
    ]


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="has no rows"):
        read_manifest(_manifest(tmp_path, "path,label\n"), tmp_path)


def test_a_manifest_of_which_no_clip_is_there_is_refused(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path,label\na.wav,siren\n")
    with pytest.raises(BuildError, match="none of its 1 clips can be used"):
        read_manifest(path, tmp_path)


def test_a_fold_that_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path,label,fold\na.wav,siren,two\n", "a.wav")
    with pytest.raises(BuildError, match=r"set\.csv:2: fold `two` is not a number"):
        read_manifest(path, tmp_path)


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_bytes(b"path,label\n\xff\xfe")
    with pytest.raises(BuildError, match="byte 11 is not UTF-8"):
        read_manifest(path, tmp_path)


def test_a_manifest_with_a_field_that_never_ends_is_refused_with_its_line(tmp_path: Path) -> None:
    path = _manifest(tmp_path, f"path,label\na.wav,siren\nb.wav,{'x' * 131_073}\n")
    with pytest.raises(BuildError, match=r"set\.csv:3: is not CSV: field larger than"):
        read_manifest(path, tmp_path)


def test_each_fold_is_tested_once_by_the_others() -> None:
    splits = by_fold(_clips((1, "a"), (1, "a"), (2, "b"), (3, "c"), (None, "d")))
    assert [[clip.group for clip in split.test] for split in splits] == [["a", "a"], ["b"], ["c"]]
    assert [sorted(groups(split.train)) for split in splits] == [["b", "c"], ["a", "c"], ["a", "b"]]


def test_one_fold_alone_is_no_split() -> None:
    with pytest.raises(BuildError, match=r"1 fold\(s\) in 2 clips"):
        by_fold(_clips((1, "a"), (1, "b")))


def test_a_recording_in_two_folds_is_refused() -> None:
    with pytest.raises(BuildError, match="recording a is in another fold"):
        by_fold(_clips((1, "a"), (2, "a")))


def test_a_recording_in_two_folds_can_be_left_out() -> None:
    kept, skipped = in_one_fold(_clips((1, "a"), (2, "a"), (2, "b"), (None, "c"), (None, "c")))
    assert [clip.group for clip in kept] == ["b", "c", "c"]
    assert [skip.reason for skip in skipped] == ["recording a lies in folds 1 and 2"] * 2


def test_a_class_that_only_the_test_has_is_refused() -> None:
    clips = [*_clips((1, "a"), (2, "b")), *_clips((1, "c"), label="dog")]
    with pytest.raises(BuildError, match="class dog has no clip outside this fold"):
        by_fold(clips)


def test_a_random_split_has_each_clip_once_and_follows_the_seed() -> None:
    clips = _clips(*[(1, "a")] * 9)
    split = random_clips(clips, 1 / 3, np.random.default_rng(5))
    assert len(split.test) == 3
    assert {clip.path for clip in (*split.train, *split.test)} == {clip.path for clip in clips}
    assert split == random_clips(clips, 1 / 3, np.random.default_rng(5))


def test_clips_of_a_taken_recording_are_left_out() -> None:
    left = without_groups(_clips((1, "a"), (1, "b")), frozenset("a"))
    assert [clip.group for clip in left] == ["b"]


def test_about_one_recording_in_four_is_held_out_whatever_the_run() -> None:
    held = [held_out_group(f"recording {i}", 4) for i in range(2000)]
    # Binomial: 500 with a standard deviation of 19.
    assert 400 < sum(held) < 600


def test_another_order_is_another_list() -> None:
    clips = _clips((1, "a"), (1, "b"))
    assert list_sha256(clips) != list_sha256(clips[::-1])


@pytest.mark.data
def test_no_recording_is_on_both_sides_of_the_official_folds(data_root: Path) -> None:
    splits = by_fold(read_manifest(data_root / "urbansound8k.csv", data_root).clips)
    assert [split.name for split in splits] == ["fold 1", "fold 2", "fold 3"]
    for split in splits:
        assert not groups(split.train) & groups(split.test)


def test_one_recording_in_eight_is_drawn_and_never_all() -> None:
    many = _clips(*[(1, f"g{number}") for number in range(40)])
    assert len(drawn_groups(many, 8)) == 5
    assert drawn_groups(many[::-1], 8) == drawn_groups(many, 8)
    five = _clips(*[(1, f"g{number}") for number in range(5)])
    assert len(drawn_groups(five, 8)) == 2
    assert len(drawn_groups(_clips((1, "a"), (1, "a"), (1, "b"), (1, "b")), 8)) <= 1


def test_a_recording_with_most_of_the_clips_is_left_to_learn_from() -> None:
    clips = _clips(*[(1, f"g{number}") for number in range(12)], *[(1, "large")] * 10)
    for one_in in (1, 2, 8):
        assert "large" not in drawn_groups(clips, one_in)


def _street_clips() -> list[Clip]:
    """Sirens: ten recordings of two clips, one in the test's fold, and clips without a name."""
    named = [
        Clip(path=f"u/{group}-{take}", label="siren", origin="urbansound8k", group=group, fold=1)
        for group in map(str, range(10))
        for take in range(2)
    ]
    test = Clip(path="u/test", label="siren", origin="urbansound8k", group="t", fold=3)
    same = Clip(path="e/same", label="siren", origin="esc50", group="t", fold=1)
    nameless = [
        Clip(path=f"e/{name}", label="siren", origin="esc50", group=f"e/{name}", fold=4)
        for name in "abcdefgh"
    ]
    return [*named, test, same, *nameless]


def test_the_street_is_split_three_ways_by_recording() -> None:
    train, validation, test = street.split(_street_clips())
    assert [clip.path for clip in test] == ["u/test"]
    assert len(groups(validation)) == 2
    assert len(validation) == 4
    assert not groups(train) & groups(validation)
    # It is cut from a recording of the test, and learnt from it is none.
    assert "e/same" not in {clip.path for clip in (*train, *validation)}


def test_clips_that_may_share_a_recording_unknown_are_only_learnt_from() -> None:
    train, validation, _ = street.split(_street_clips())
    nameless = {f"e/{name}" for name in "abcdefgh"}
    assert nameless <= {clip.path for clip in train}
    assert not nameless & {clip.path for clip in validation}


def test_a_toy_street_has_every_label_on_every_side(tmp_path: Path) -> None:
    corpus = street.corpus(toy_streets.made(tmp_path))
    for side in (corpus.train, corpus.validation, corpus.test):
        assert all(side.events)
        assert side.beds


def test_a_label_that_one_recording_alone_has_is_refused_with_the_side(tmp_path: Path) -> None:
    data = toy_streets.made(tmp_path)
    manifest = data / "speech.csv"
    rows = manifest.read_text().splitlines()
    # The test's two speakers, and one that it leaves.
    manifest.write_text("\n".join(rows[:4]) + "\n")
    with pytest.raises(BuildError, match="the validation side of the split has no clip of speech"):
        street.corpus(data)


@pytest.mark.data
def test_no_recording_of_the_street_is_on_two_sides(data_root: Path) -> None:
    corpus = street.corpus(data_root)
    sides = corpus.train.clips(), corpus.validation.clips(), corpus.test.clips()
    for one, other in combinations(sides, 2):
        assert not groups(one) & groups(other)
    train, validation, test = (
        {clip.fold for clip in side if clip.origin == "urbansound8k"} for side in sides
    )
    assert (train, validation, test) == ({1, 2}, {1, 2}, {3})
    used = {clip.origin for side in sides for clip in side}
    assert not used & {"ambient_eval", "sesa", "babycry"}
    for events in (corpus.train.events, corpus.validation.events, corpus.test.events):
        assert min(len(of) for of in events) >= 3


@pytest.mark.data
def test_no_copy_in_8_bit_stands_beside_its_original(data_root: Path) -> None:
    corpus = street.corpus(data_root)
    clips = (*corpus.train.clips(), *corpus.validation.clips(), *corpus.test.clips())
    clean = {(clip.label, clip.fold) for clip in clips if clip.origin == "esc50_clean"}
    # The clean set has whole classes, so any clip of one in the other set is a copy.
    assert not clean & {(clip.label, clip.fold) for clip in clips if clip.origin == "esc50"}
