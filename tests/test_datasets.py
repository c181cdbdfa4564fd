"""Manifests are read or refused aloud, and splits keep recordings together."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import BuildError
from model_build import street
from model_build.datasets import (
    Clip,
    by_fold,
    groups,
    held_out_group,
    list_sha256,
    random_clips,
    read_manifest,
    without_groups,
)


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


@pytest.mark.data
def test_no_recording_of_the_streets_test_is_learnt_from(data_root: Path) -> None:
    corpus = street.corpus(data_root)
    train, test = corpus.train.clips(), corpus.test.clips()
    assert not groups(train) & groups(test)
    assert {clip.fold for clip in train if clip.origin == "urbansound8k"} == {1, 2}
    assert {clip.fold for clip in test if clip.origin == "urbansound8k"} == {3}
    assert not {clip.origin for clip in (*train, *test)} & {"ambient_eval", "sesa", "babycry"}
