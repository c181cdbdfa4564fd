"""One protocol for all models: nothing of a test fold is learnt, and counts are right."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build import protocol
from model_build.classical import KINDS, Search, Trained, trainer
from model_build.datasets import Clip
from model_build.labrows import Table
from model_build.metrics import Doubles, Indices
from model_build.protocol import Division, Lesson, Material, Taken, Train
from model_build.results import Side

FIXED = [name for name, kind in KINDS.items() if kind.search is None]

LABELS = ("bark", "horn", "siren")


def table(per_fold: int = 6, rows_per_clip: int = 2, spread: float = 0.3) -> Table:
    """Three folds, three classes apart by a unit of their own column; recordings of two clips."""
    rng = np.random.default_rng(0)
    clips, rows = [], []
    for fold in (1, 2, 3):
        for place in range(per_fold):
            for index, label in enumerate(LABELS):
                group = f"{fold}-{place // 2}-{label}"
                path = f"{fold}/{place}-{label}.wav"
                clips.append(Clip(path=path, label=label, origin="toy", group=group, fold=fold))
                rows.append(np.eye(3)[index] + rng.normal(0, spread, (rows_per_clip, 3)))
    starts = np.arange(len(clips) + 1) * rows_per_clip
    return Table(
        clips=tuple(clips),
        rows=np.concatenate(rows).astype(np.float32),
        starts=starts,
        columns=("a", "b", "c"),
        skipped=(),
    )


def given(made: Table) -> Material:
    ways = (
        protocol.leak_free(made, "official folds"),
        protocol.random_clips(made, made.clips, 1 / 3, seed=1),
    )
    return protocol.material(made, ways)


def judged(train: Train, material: Material, place: Path) -> tuple[Side, ...]:
    return protocol.sides(material, protocol.answers(train, material, place))


def lesson(rows: Samples, classes: Indices) -> Lesson:
    """Each row a clip, three rows a recording."""
    return Lesson(
        name="a lesson",
        rows=rows,
        classes=classes,
        clips=np.arange(len(rows)),
        recordings=np.arange(len(rows)) // 3,
        labels=int(classes.max()) + 1,
    )


class Watched:
    """A model that says always the same, and remembers what it was shown."""

    losses: tuple[float, ...] = (0.5, 0.25)

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.learnt: list[Lesson] = []
        self.asked: list[Samples] = []

    def train(self, shown: Lesson) -> "Watched":
        assert len(shown.rows) == len(shown.classes)
        self.learnt.append(shown)
        return self

    def scores(self, rows: Samples) -> Doubles:
        self.asked.append(rows)
        return np.tile(np.eye(3)[self.answer], (len(rows), 1))

    def taken(self, row: Samples) -> Taken:
        assert len(row) == 1
        return Taken(size_bytes=12, latency_ms=0.25, multiply_adds=None)


def test_no_row_is_both_learnt_and_asked_and_every_clip_is_asked_once(tmp_path: Path) -> None:
    made = table()
    watched = Watched(1)
    honest, beside = judged(watched.train, given(made), tmp_path)
    assert len(watched.learnt) == len(watched.asked) == 4
    for shown, asked in zip(watched.learnt, watched.asked, strict=True):
        assert len(shown.rows) + len(asked) == len(made.rows)
        assert not {row.tobytes() for row in shown.rows} & {row.tobytes() for row in asked}
    folds = np.concatenate(watched.asked[:3])
    assert sorted(row.tobytes() for row in folds) == sorted(row.tobytes() for row in made.rows)
    # Always the second of three classes that are equally frequent: counted by hand.
    assert honest.leak_free
    assert honest.protocol == "3 official folds"
    assert honest.together.clips == 54
    assert honest.together.accuracy == honest.mean == pytest.approx(1 / 3)
    assert honest.together.macro_f1 == pytest.approx((2 * 18 / (18 + 54)) / 3)
    assert [trial.name for trial in honest.trials] == ["fold 1", "fold 2", "fold 3"]
    assert [trial.trained_on for trial in honest.trials] == [36, 36, 36]
    assert honest.trials[0].losses == (0.5, 0.25)
    assert honest.together.minority_recall is None
    assert len(honest.mistakes) == 36
    assert {(one.wanted, one.told) for one in honest.mistakes} == {
        ("bark", "horn"),
        ("siren", "horn"),
    }
    assert not beside.leak_free
    assert not beside.mistakes
    assert beside.together.clips == 18


def test_what_was_answered_once_is_not_asked_again(tmp_path: Path) -> None:
    made = given(table())
    watched = Watched(2)
    first = judged(watched.train, made, tmp_path)
    (tmp_path / "fold-2.npz").unlink()
    assert judged(watched.train, made, tmp_path) == first
    assert [shown.name for shown in watched.learnt[4:]] == ["fold 2"]


def test_windows_split_at_random_are_judged_one_by_one(tmp_path: Path) -> None:
    made = table()
    ways = (
        protocol.leak_free(made, "official folds"),
        protocol.random_windows(made, 0.25, seed=1),
    )
    watched = Watched(0)
    _, windows = judged(watched.train, protocol.material(made, ways), tmp_path)
    assert windows.unit == "window"
    assert windows.together.clips == 27 == len(watched.asked[-1])
    assert windows.trials[0].trained_on == 81
    asked = {row.tobytes() for row in watched.asked[-1]}
    assert not asked & {row.tobytes() for row in watched.learnt[-1].rows}


def test_no_recording_is_on_both_sides_of_a_fold_and_some_are_of_the_random_split() -> None:
    made = given(table())
    groups = np.array([clip.group for clip in made.table.clips])[made.table.owners()]

    def shared(division: Division) -> set[str]:
        return set(groups[division.learnt]) & set(groups[division.asked])

    folds, (random,) = (way.divisions for way in made.ways)
    assert not any(shared(division) for division in folds)
    assert shared(random)


def test_a_clip_is_what_its_rows_say_together(tmp_path: Path) -> None:
    """One row of two is wrong, but less sure of it."""

    class Halting:
        losses: tuple[float, ...] = ()

        def scores(self, rows: Samples) -> Doubles:
            return rows.astype(np.float64)

        def taken(self, row: Samples) -> None:
            return None

    made = table(spread=0.0)
    rows = made.rows.copy()
    rows[1::2] = 0.4 * np.roll(rows[1::2], 1, axis=1)
    halting = given(msgspec.structs.replace(made, rows=rows))
    assert judged(lambda _: Halting(), halting, tmp_path)[0].together.accuracy == 1.0


def test_figures_of_an_uneven_task_are_those_counted_by_hand() -> None:
    found = protocol.figures(np.array([[6, 2], [1, 1]]))
    assert found.accuracy == pytest.approx(0.7)
    assert found.macro_f1 == pytest.approx((12 / 15 + 2 / 5) / 2)
    assert found.weighted_f1 == pytest.approx((8 * 12 / 15 + 2 * 2 / 5) / 10)
    assert found.minority_recall == pytest.approx(0.5)
    assert found.majority_recall == pytest.approx(0.75)


@pytest.mark.parametrize("name", FIXED)
def test_every_model_learns_what_is_easy_and_twice_the_same(name: str, tmp_path: Path) -> None:
    made = given(table(per_fold=12))
    one = judged(trainer(name, 0), made, tmp_path / "one")
    assert one[0].together.accuracy > 0.9
    assert one == judged(trainer(name, 0), made, tmp_path / "other")


@pytest.mark.parametrize("name", [*FIXED, "boosting_searched"])
def test_the_scale_is_learnt_from_the_training_rows_alone(name: str) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(5.0, 3.0, (90, 4)).astype(np.float32)
    trained = Trained(name, lesson(rows, np.arange(90) % 3), seed=0)
    before = trained.scaler.mean_.copy()
    trained.scores(np.full((10, 4), 1e6, np.float32))
    assert np.array_equal(trained.scaler.mean_, before)
    assert trained.scaler.mean_ == pytest.approx(rows.mean(axis=0), abs=1e-5)
    assert trained.scaler.scale_ == pytest.approx(rows.std(axis=0), abs=1e-5)


@pytest.mark.parametrize("name", FIXED)
def test_a_rare_class_weighs_as_much_as_a_frequent_one(name: str) -> None:
    """Two overlapping clouds, nineteen to one: unweighted, 0.32 to 0.40 of the rare are found."""
    rng = np.random.default_rng(3)
    classes = (np.arange(2000) % 20 == 0).astype(np.intp)
    rows = (rng.normal(0, 1, (2000, 3)) + classes[:, None] * [2.0, 0, 0]).astype(np.float32)
    trained = Trained(name, lesson(rows[:1000], classes[:1000]), seed=0)
    told = trained.scores(rows[1000:]).argmax(axis=1)
    assert told[classes[1000:] == 1].mean() > 0.43


def test_a_search_keeps_recordings_together() -> None:
    """A column that names the recording tells all within it, and nothing of another one."""
    rng = np.random.default_rng(4)
    recording = np.arange(400) // 10
    classes = rng.integers(2, size=40)[recording]
    faint = rng.normal(0, 1, 400) + 2 * classes
    rows = np.stack([recording, faint], axis=1).astype(np.float32)
    shown = msgspec.structs.replace(lesson(rows, classes), recordings=recording)
    alone = msgspec.structs.replace(shown, recordings=np.arange(400))
    search = Search(settings={"min_samples_leaf": [1, 100]})

    def leaf(of: Lesson) -> int:
        tree = Pipeline([("scaler", StandardScaler()), ("model", DecisionTreeClassifier())])
        best = search.best(tree, of, np.ones(400), seed=0)
        return int(best.get_params()["model__min_samples_leaf"])

    assert leaf(alone) == 1
    assert leaf(shown) == 100


def test_one_label_against_the_rest_is_an_uneven_task(tmp_path: Path) -> None:
    clips = protocol.one_against_rest(table().clips, "siren")
    assert {clip.label for clip in clips} == {"siren", "rest"}
    made = given(msgspec.structs.replace(table(), clips=clips))
    assert made.labels == ("rest", "siren")
    honest, _ = judged(trainer("svm", 0), made, tmp_path)
    assert honest.together.minority_recall is not None
    with pytest.raises(BuildError, match="no label `sirens`"):
        protocol.one_against_rest(table().clips, "sirens")


@pytest.mark.parametrize("name", FIXED)
def test_a_class_that_was_never_shown_has_no_chance(name: str) -> None:
    rng = np.random.default_rng(5)
    classes = np.array([0, 2] * 30)
    rows = (rng.normal(0, 0.1, (60, 3)) + np.eye(3)[classes]).astype(np.float32)
    scores = Trained(name, lesson(rows, classes), seed=0).scores(rows)
    assert scores.shape == (60, 3)
    assert np.array_equal(scores.argmax(axis=1), classes)
    assert scores[:, 1].max() <= 0.0
