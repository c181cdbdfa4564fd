"""Results are kept whole, one file for each question, and read as they were written."""

from pathlib import Path

import msgspec
import pytest

from edge_agent.errors import BuildError
from model_build import results
from model_build.results import Cost, Figures, Mistake, Result, Side, Trial

FIGURES = Figures(
    clips=10,
    accuracy=0.7,
    macro_f1=0.6,
    weighted_f1=0.72,
    minority_recall=0.5,
    majority_recall=0.75,
    confusion=((6, 2), (1, 1)),
)
SIDE = Side(
    protocol="3 official folds",
    leak_free=True,
    unit="clip",
    trials=(Trial(name="fold 1", trained_on=20, figures=FIGURES, losses=(0.7, 0.4)),),
    mean=0.7,
    spread=0.0,
    together=FIGURES,
    mistakes=(Mistake(path="a.wav", wanted="horn", told="rest", score=0.8),),
)
RESULT = Result(
    task="urbansound8k",
    task_title="UrbanSound8K",
    against_rest=None,
    model="cnn",
    model_title="a CNN",
    rows="48 x 64 log-mel patches",
    seed=0,
    per_class=None,
    labels=("horn", "rest"),
    sides=(SIDE,),
    cost=Cost(size_bytes=40, multiply_adds=100, rows_per_s=4.17),
)


def test_a_result_is_read_as_it_was_kept(tmp_path: Path) -> None:
    path = results.keep(RESULT, tmp_path)
    assert results.read(path) == RESULT
    assert results.found(tmp_path) == (RESULT,)


def test_a_newer_answer_takes_the_older_ones_place_and_other_questions_stay(tmp_path: Path) -> None:
    changed: list[dict[str, str | int]] = [
        {"seed": 1},
        {"per_class": 4},
        {"quick": True},
        {"against_rest": "horn"},
        {"preset": "audify"},
        {"task": "esc50"},
        {"model": "gru"},
    ]
    for fields in changed:
        results.keep(msgspec.structs.replace(RESULT, **fields), tmp_path)
    results.keep(RESULT, tmp_path)
    newer = msgspec.structs.replace(RESULT, command="again")
    results.keep(newer, tmp_path)
    kept = results.found(tmp_path)
    assert len(kept) == 1 + len(changed)
    assert newer in kept
    assert RESULT not in kept
    assert [one.model for one in results.of_task(kept, "esc50", None)] == ["cnn"]
    assert len(results.of_task(kept, "urbansound8k", "horn")) == 1


def test_what_is_no_result_is_refused_with_its_name(tmp_path: Path) -> None:
    path = results.keep(msgspec.structs.replace(RESULT, schema=1), tmp_path)
    with pytest.raises(BuildError, match="has schema 1, not 2"):
        results.read(path)
    path.write_text('{"schema": 1}')
    with pytest.raises(BuildError, match="is no result: Object missing required field"):
        results.found(tmp_path)


def test_nothing_kept_is_nothing_found(tmp_path: Path) -> None:
    assert results.found(tmp_path) == ()
