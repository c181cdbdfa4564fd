"""What a network is judged by stays out of its school; results become figures with their split."""

from pathlib import Path

import msgspec
import pytest

from model_build import fold_results, street, tasks
from model_build.datasets import by_fold, groups
from model_build.fold_results import Result
from model_build.school import named

RESULT = Result(
    task="urbansound8k",
    network="cnn",
    taught=True,
    seed=0,
    folds={"fold 1": 60.0, "fold 2": 62.0},
    mean=61.0,
    spread=1.0,
    clips=40,
    random=90.0,
    random_clips=20,
    skipped=(),
    command="model-build folds",
)


def test_seeds_are_told_as_one_figure_and_tasks_apart(tmp_path: Path) -> None:
    second = msgspec.structs.replace(RESULT, seed=1, mean=63.0, random=92.0)
    other = msgspec.structs.replace(RESULT, task="esc50", random=None)
    plain = msgspec.structs.replace(RESULT, taught=False, mean=10.0)
    for result in (second, other, plain, RESULT):
        fold_results.keep(result, tmp_path)
    honest, flattering, esc50 = fold_results.metrics("cnn", tmp_path, taught=True)
    assert (honest.value, honest.spread, honest.seeds) == (62.0, 1.0, (0, 1))
    assert "spread over seeds" in honest.split
    assert (flattering.value, flattering.spread) == (91.0, 1.0)
    assert flattering.split.startswith("random by clip, which leaks")
    assert (esc50.value, esc50.spread, esc50.seeds) == (61.0, 1.0, (0,))
    assert "spread over folds" in esc50.split
    assert "ESC-50" in esc50.task


def test_what_was_never_judged_has_no_figure(tmp_path: Path) -> None:
    assert fold_results.metrics("cnn", tmp_path, taught=False) == []


@pytest.mark.data
@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=list(tasks.TASKS))
def test_no_recording_is_on_both_sides_of_a_task(task: tasks.Task, data_root: Path) -> None:
    manifest = tasks.read(task, data_root)
    for split in by_fold(manifest.clips):
        assert not groups(split.train) & groups(split.test)
    torn = {skip.reason for skip in manifest.skipped}
    # Names and folds of the copy were recovered by matching.
    assert torn == (
        {f"recording {name} lies in folds 2 and 3" for name in ("131943", "134049")}
        if task is tasks.ESC50
        else set()
    )


@pytest.mark.data
@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=list(tasks.TASKS))
def test_nothing_that_is_judged_goes_to_school(task: tasks.Task, data_root: Path) -> None:
    judged, known = named(task, data_root)
    corpus = street.corpus(data_root)
    paths = {clip.path for clip in judged}
    for clips in (
        tasks.read(task, data_root).clips,
        corpus.validation.clips(),
        corpus.test.clips(),
    ):
        assert paths >= {clip.path for clip in clips}
    assert len(known) > 1000
    assert not groups(known) & groups(judged)
    assert not {clip.origin for clip in known} & set(task.sets())
