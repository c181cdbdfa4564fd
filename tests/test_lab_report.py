"""`model-build report`: everything that results say stands on one page that needs no network."""

from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge_agent.errors import BuildError
from model_build import operating, report_page, results
from model_build.cli import cli
from model_build.datasets import Skip
from model_build.operating import LabelCurve, Operating, Point
from model_build.plots import report as plots
from model_build.protocol import figures
from model_build.results import Cost, Device, Mistake, Published, Result, Side, Trial
from tests import toy_streets

LABELS = ("dog_bark", "siren")


def side(*confusions: list[list[int]], leak_free: bool = True, losses: int = 0) -> Side:
    counted = [np.array(one) for one in confusions]
    trials = tuple(
        Trial(
            name=f"fold {number}",
            trained_on=20,
            figures=figures(one),
            losses=tuple(1.0 / epoch for epoch in range(1, losses + 1)),
        )
        for number, one in enumerate(counted, start=1)
    )
    accuracies = [trial.figures.accuracy for trial in trials]
    return Side(
        protocol="2 official folds" if leak_free else "random clips, 50% for the test",
        leak_free=leak_free,
        unit="clip",
        trials=trials,
        mean=float(np.mean(accuracies)),
        spread=float(np.std(accuracies)),
        together=figures(np.sum(counted, axis=0)),
    )


def result(model: str, **changed: object) -> Result:
    """Sixteen of twenty right, honestly; all of ten where recordings are on both sides."""
    one = Result(
        task="urbansound8k",
        task_title="UrbanSound8K, ten classes",
        against_rest=None,
        model=model,
        model_title=f"the {model} that was made up",
        rows="device: 120 values",
        seed=0,
        per_class=None,
        labels=LABELS,
        sides=(
            side([[5, 1], [1, 3]], [[5, 1], [1, 3]]),
            side([[6, 0], [0, 4]], leak_free=False),
        ),
        command=f"model-build compare --model {model}",
    )
    return msgspec.structs.replace(one, **changed)


NETWORK = result(
    "dnn",
    sides=(
        msgspec.structs.replace(
            side([[5, 1], [0, 4]], [[6, 0], [1, 3]], losses=7),
            mistakes=(
                Mistake(path="bark-0-1.wav", wanted="dog_bark", told="siren", score=0.9),
                Mistake(path="gone-0-2.wav", wanted="siren", told="dog_bark", score=0.8),
            ),
        ),
        side([[6, 0], [0, 4]], leak_free=False, losses=7),
    ),
    cost=Cost(size_bytes=200_000, multiply_adds=64_768, rows_per_s=25 / 6),
    device=Device(
        bundle="bundles/dnn",
        model_bytes=78_112,
        agreement=0.993,
        accuracy_loss=0.002,
        latency_ms=0.0079,
    ),
    missing=("24 of 8732 clips are here, in 2 of 10 folds.",),
    skipped=(Skip(path="quiet.wav", reason="<nothing> in it"),),
)

STREET = Operating(
    model="street-<made-up>",
    model_sha256="0" * 64,
    seed=0,
    validation_hours=0.5,
    test_hours=1.25,
    labels=tuple(
        LabelCurve(
            label=name,
            title=name.capitalize(),
            points=tuple(
                Point(on=on, recall=1 - on, alarms_per_hour=100 * (1 - on) ** 2)
                for on in (0.25, 0.5, 0.75)
            ),
            chosen=Point(on=0.6, recall=0.4, alarms_per_hour=1.0),
            test=Point(on=0.6, recall=0.375, alarms_per_hour=2.5),
        )
        for name in ("horn", "siren", "alarm", "glass", "speech")
    ),
    command="model-build certify street",
)


class Page(HTMLParser):
    """Texts of cells by row, of headings and paragraphs, and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.pictures: list[str] = []
        self.elsewhere: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._tag = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")
        elif tag == "img":
            self.pictures.append(found["alt"] or "")
        links = [found[key] or "" for key in ("src", "href") if key in found]
        self.elsewhere += [link for link in links if not link.startswith("data:")]

    def handle_data(self, data: str) -> None:
        if self._tag in ("td", "th"):
            self.rows[-1][-1] += data
        elif self._tag in ("h1", "h2", "h3"):
            self.headings[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    toy_streets.write(tmp_path / "bark-0-1.wav", toy_streets.tone(500.0))
    return tmp_path


def test_the_table_has_every_model_and_figure_the_best_first(data: Path) -> None:
    page = Page(report_page.made([result("svm"), NETWORK], [], data))
    assert page.elsewhere == []
    at = next(number for number, row in enumerate(page.rows) if row[:2] == ["model", "accuracy"])
    dnn, svm = page.rows[at + 1 : at + 3]
    # Counted by hand: 18 and 16 of 20; of twelve barks and eight sirens.
    f1 = [2 * 11 / (12 + 12), 2 * 7 / (8 + 8)]
    assert dnn == [
        "dnn",
        "90.0\xa0±\xa00.0",
        f"{100 * sum(f1) / 2:.1f}",
        f"{100 * (12 * f1[0] + 8 * f1[1]) / 20:.1f}",
        "87.5",
        "91.7",
        "78\xa0kB\xa0int8",
        "270\xa0k/s",
        "8",
        "the dnn that was made up",
    ]
    assert svm[:2] == ["svm", "80.0\xa0±\xa00.0"]
    assert svm[6:9] == ["-", "-", "-"]
    # Behind a click, the flattering ones beside the honest.
    assert ["dnn", "random clips, 50% for the test", "10 clips", "no", "100.0"] in [
        row[:5] for row in page.rows
    ]


def test_pictures_show_both_splits_losses_confusions_and_errors(data: Path) -> None:
    text = report_page.made([result("svm"), NETWORK], [], data)
    assert Page(text).pictures == [
        "accuracy, leak-free and at random",
        "training losses of dnn",
        "confusion of dnn",
        "confusion of svm",
        "errors of dog_bark",
    ]
    assert "Recordings that cannot be read: 1, like " in text
    assert "gone-0-2.wav" in text
    assert "24 of 8732 clips are here" in text
    assert "&lt;nothing&gt; in it" in text
    without = report_page.made([NETWORK], [], None)
    assert "errors of dog_bark" not in Page(without).pictures
    assert "--data" in without


def test_each_question_is_a_section_of_its_own() -> None:
    found = [
        result("svm"),
        result("svm", against_rest="siren"),
        result("svm", per_class=4),
        result("dnn", quick=True),
        result(
            "audify",
            preset="audify",
            published=Published(accuracy=0.7828, note="published on all clips"),
        ),
        result("svm", seed=1),
        result("svm", task="esc50", task_title="ESC-50, fifty classes"),
    ]
    parts = report_page.sections(found)
    assert [(part.title, part.names) for part in parts] == [
        ("ESC-50, fifty classes", ["svm"]),
        ("UrbanSound8K, ten classes", ["svm, seed 0", "svm, seed 1"]),
        ("UrbanSound8K, ten classes", ["dnn"]),
        ("UrbanSound8K, ten classes: 4 clips of each class and fold", ["svm"]),
        ("UrbanSound8K, ten classes: siren against the rest", ["svm"]),
        ("Published system audify: UrbanSound8K, ten classes", ["audify"]),
    ]
    text = report_page.made(found, [], None)
    assert text.count("Networks learnt for a moment only") == 1
    assert "78.3" in [cell for row in Page(text).rows for cell in row]
    assert "audify: published on all clips." in text


def test_street_models_have_a_curve_for_each_label() -> None:
    page = Page(report_page.made([], [STREET], None))
    assert page.pictures == [
        "mean recall against false alarms",
        "recall against false alarms of Horn, Siren, Alarm, Glass",
        "recall against false alarms of Speech",
    ]
    assert "street-<made-up>, label by label" in page.headings
    assert ["Horn", "0.600", "40.0", "1.00", "37.5", "2.50"] in page.rows


def test_a_curve_is_drawn_where_its_points_are() -> None:
    (axes, *_rest) = plots.operating(STREET.labels[:1]).get_axes()
    line, chosen, test = (np.asarray(one.get_xydata()) for one in axes.get_lines())
    assert line == pytest.approx(
        np.array([[100 * 0.75**2, 0.75], [100 * 0.5**2, 0.5], [100 * 0.25**2, 0.25]])
    )
    assert chosen.tolist() == [[1.0, 0.4]]
    assert test.tolist() == [[2.5, 0.375]]
    (total,) = plots.total([STREET]).get_axes()
    of_all = np.asarray(total.get_lines()[0].get_xydata())
    assert of_all[0] == pytest.approx([5 * 100 * 0.75**2, 0.75])


def test_the_command_gathers_what_lies_in_the_cache(data: Path, tmp_path: Path) -> None:
    cache, curves, out = tmp_path / "cache", tmp_path / "street.json", tmp_path / "pages" / "r.html"
    results.keep(NETWORK, cache)
    results.keep(result("svm"), cache)
    operating.write(STREET, curves)
    words = ["report", "--cache", cache, "--data", data, "--street", curves, "--out", out]
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"{out}: 2 results, 1 street models"
    # Results lie in the order of their files' names.
    assert out.read_text() == report_page.made([NETWORK, result("svm")], [STREET], data)


def test_without_results_it_says_how_to_get_some(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", "--cache", str(tmp_path)])
    assert isinstance(done.exception, BuildError)
    assert "holds no results" in done.exception.message
    assert "model-build compare" in done.exception.hint
    bad = tmp_path / "bad.json"
    for content, told in ((b"{}", "holds no curves"), (b"", "holds no curves")):
        bad.write_bytes(content)
        with pytest.raises(BuildError, match=told):
            operating.read(bad)
    bad.write_bytes(msgspec.json.encode(msgspec.structs.replace(STREET, schema=9)))
    with pytest.raises(BuildError, match="has schema 9, not 1"):
        operating.read(bad)
    with pytest.raises(BuildError, match="cannot be read"):
        operating.read(tmp_path / "gone.json")
