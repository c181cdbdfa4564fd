"""The whole of `certify`: it changes thresholds, tells what they are worth, and refuses aloud."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.bundle import load
from edge_agent.errors import BuildError
from model_build import operating, street
from model_build.certify import Certification, certify
from model_build.certify_report import as_json, as_text
from model_build.cli import cli
from model_build.plots.delay import draw
from model_build.scenes import Plan
from model_build.thresholds import STEPS, Listener
from tests import toy_streets
from tests.bundled import copied, edit_certificate, edit_model

PLAN = Plan(scenes=1, rounds=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_streets.made(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def certified(bundle: Path, data: Path) -> tuple[Certification, tuple[Listener, ...]]:
    return certify(bundle, data, plan=PLAN)


def test_only_thresholds_and_the_card_change(
    certified: tuple[Certification, tuple[Listener, ...]], bundle: Path, tmp_path: Path
) -> None:
    before, after = copied(tmp_path), bundle
    for name in ("model.tflite", "golden.npz", "certificate.json"):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    old, new = (json.loads((folder / "model.json").read_text()) for folder in (before, after))
    found, _ = certified
    for label in new["labels"]:
        trial = found.chosen[label["id"]]
        assert [label.pop(key) for key in ("on", "off", "n", "m")] == [
            *(trial.on, trial.off, trial.n, trial.m)
        ]
    for label in old["labels"]:
        for key in ("on", "off", "n", "m"):
            label.pop(key)
    assert new.pop("thresholds") == {
        "budget_per_day": 10.0,
        "streams_sha256": found.thresholds.streams_sha256,
        "hours": found.thresholds.hours,
        "bound_per_day": found.thresholds.bound_per_day,
        "proven": False,
    }
    old.pop("thresholds", None)
    kept, renewed = (
        [one for one in record.pop("metrics") if not one["command"].startswith("model-build cert")]
        for record in (old, new)
    )
    assert renewed == kept
    assert new == old


def test_the_figures_of_the_streams_are_in_the_card_once(
    certified: tuple[Certification, tuple[Listener, ...]], bundle: Path, data: Path
) -> None:
    found, _ = certified
    certify(bundle, data, plan=PLAN, command="model-build certify again")
    metrics = {one.metric: one for one in load(bundle).record.metrics}
    assert metrics["event-based macro F1, %"].value == round(100 * found.test.macro_f1, 3)
    assert metrics["event-based macro F1, %"].command == "model-build certify again"
    assert not any(one.command == "model-build certify" for one in metrics.values())
    card = (bundle / "MODEL_CARD.md").read_text()
    for mistake in found.test.mistakes[:3]:
        told = f"{mistake.told} told, {mistake.heard or 'background alone'} heard"
        assert card.count(f"{told} | **{mistake.n}**") == 1
    certify(bundle, data, plan=PLAN)


def test_the_agent_takes_the_bundle_and_its_card_tells_the_budget(
    certified: tuple[Certification, tuple[Listener, ...]], bundle: Path
) -> None:
    found, _ = certified
    loaded = load(bundle)
    assert loaded.thresholds == found.thresholds
    assert all(round(label.on * STEPS) == label.on * STEPS for label in loaded.labels)
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "For at most 10 false alarms a day, all labels together: **not proven**" in card
    assert f"bound is {found.thresholds.bound_per_day:g} a day" in card
    assert found.thresholds.streams_sha256 in card


def test_twice_the_same_gives_the_same_bytes(
    certified: tuple[Certification, tuple[Listener, ...]], bundle: Path, data: Path
) -> None:
    before = (bundle / "model.json").read_bytes()
    again, _ = certify(bundle, data, plan=PLAN)
    assert (bundle / "model.json").read_bytes() == before
    assert again == certified[0]


def test_a_dry_run_leaves_the_bundle_as_it_was(tmp_path: Path, data: Path) -> None:
    folder = copied(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    certify(folder, data, plan=PLAN, seed=1, write=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_budget_is_proven_only_where_the_hours_bear_it(
    certified: tuple[Certification, tuple[Listener, ...]],
) -> None:
    alarms = certified[0].test.alarms
    # Seconds of sound prove nothing, whatever was counted.
    assert alarms.hours < 0.1
    assert not alarms.proven
    assert all(not row.alarms.proven for row in certified[0].test.labels.values())


def test_text_has_every_figure_with_its_budget_and_what_was_left_out(
    certified: tuple[Certification, tuple[Listener, ...]],
) -> None:
    text = as_text(certified[0])
    words = ("macro F1", "PSDS", "p95", "false alarms", "NOT PROVEN", "7.2 h", "two-sided 95%")
    assert all(word in text for word in (*words, *street.LABELS))
    assert "not counted ambient_eval.csv: no such file" in text


def test_json_is_one_object_that_reads_back(
    certified: tuple[Certification, tuple[Listener, ...]],
) -> None:
    found = json.loads(as_json(certified[0]))
    assert set(found["test"]["labels"]) == set(street.LABELS)
    assert found["thresholds"]["proven"] is False
    assert found["test"]["psds_parameters"]["dtc"] == 0.1


def test_a_recording_that_is_broken_is_listed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    toy_streets.made(data)
    clip = street.corpus(data).test.beds[0]
    (data / clip.path).write_bytes((data / clip.path).read_bytes()[:1000])
    found, _ = certify(copied(tmp_path), data, plan=PLAN, write=False)
    reasons = {skip.path: skip.reason for skip in found.skipped}
    assert "truncated" in reasons[clip.path]
    assert f"skipped {clip.path}: " in as_text(found)


def test_a_picture_of_each_label_is_drawn_the_same_each_time(
    certified: tuple[Certification, tuple[Listener, ...]], tmp_path: Path
) -> None:
    found, listeners = certified
    trials = list(found.chosen.values())
    one, two = (draw(listeners[:2], trials[:2], tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in one] == ["delay-air_conditioner.svg", "delay-car_horn.svg"]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()
        assert "<svg" in first.read_text()


def test_curves_hold_what_was_chosen_and_what_the_test_gave(
    certified: tuple[Certification, tuple[Listener, ...]], tmp_path: Path
) -> None:
    found, listeners = certified
    made = operating.curves(found, listeners, "as typed")
    operating.write(made, tmp_path / "curves.json")
    assert operating.read(tmp_path / "curves.json") == made
    assert [curve.label for curve in made.labels] == [one.label.id for one in listeners]
    for curve in made.labels:
        trial, judged = found.chosen[curve.label], found.test.labels[curve.label]
        assert curve.chosen.on == trial.on
        assert curve.chosen.alarms_per_hour == trial.alarms / found.validation_hours
        assert curve.chosen.recall == trial.counts.right / trial.counts.true
        assert curve.test.recall == judged.recall
        assert curve.test.alarms_per_hour == judged.alarms.per_hour
        # The whole grid of an int8 score, in steps of eight.
        on = [point.on for point in curve.points]
        assert on == sorted(on)
        assert len(on) == 31


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="holds no recordings") as caught:
        certify(copied(tmp_path), tmp_path)
    assert "--data" in caught.value.hint


def test_a_label_without_a_clip_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    toy_streets.made(data)
    manifest = data / "urbansound8k.csv"
    rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join(row for row in rows if ",drilling,3" not in row) + "\n")
    with pytest.raises(BuildError, match="the test side of the split has no clip of drilling"):
        certify(copied(tmp_path), data, plan=PLAN)


def test_a_model_of_other_sounds_is_refused(tmp_path: Path, data: Path) -> None:
    folder = copied(tmp_path)
    edit_model(folder, lambda plain: plain["labels"][0].update(id="doorbell"))
    edit_certificate(folder, lambda plain: plain["labels"].__setitem__(0, "doorbell"))
    with pytest.raises(BuildError, match="is no street model, its labels are doorbell"):
        certify(folder, data, plan=PLAN)


def test_the_command_tells_its_mistakes_in_two_lines(tmp_path: Path) -> None:
    code = "from model_build.cli import main; main()"
    arguments = ["certify", str(copied(tmp_path)), "--data", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert not done.stdout
    assert len(done.stderr.strip().splitlines()) == 2
    assert "holds no recordings" in done.stderr


def test_a_place_that_cannot_be_written_is_told_in_two_lines(tmp_path: Path) -> None:
    # A file where a folder is wanted: that stops root, too.
    (tmp_path / "file").touch()
    code = "from model_build.cli import main; main()"
    clips = toy_streets.noise(1.0, 1)
    toy_streets.write(tmp_path / "clips" / "one.wav", clips)
    (tmp_path / "clips.csv").write_text("path,label\nclips/one.wav,siren\n")
    arguments = ["evaluate", "models/street", "--manifest", str(tmp_path / "clips.csv")]
    arguments += ["--root", str(tmp_path), "--plots", str(tmp_path / "file" / "plots")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    told = done.stderr.strip().splitlines()[-2:]
    assert told[0] == f"model-build: {tmp_path / 'file' / 'plots'}: Not a directory"
    assert "who may read and write it" in told[1]


def test_the_command_prints_figures_and_writes_pictures(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_build.certify.PLAN", PLAN)
    arguments = [
        "certify",
        str(bundle),
        "--data",
        str(data),
        "--dry-run",
        "--false-alarms-per-day",
        "3",
    ]
    before = (bundle / "model.json").read_bytes()
    shown = CliRunner().invoke(cli, [*arguments, "--plots", str(tmp_path / "plots")])
    assert shown.exit_code == 0, shown.output
    assert "3 a day, NOT PROVEN" in shown.stdout
    assert len(list((tmp_path / "plots").iterdir())) == len(street.LABELS)
    asked = CliRunner().invoke(cli, [*arguments, "--json"])
    assert json.loads(asked.stdout)["thresholds"]["budget_per_day"] == 3.0
    assert (bundle / "model.json").read_bytes() == before


@pytest.mark.parametrize("budget", ["0", "-1", "many"])
def test_a_budget_that_is_none_is_refused(budget: str, tmp_path: Path) -> None:
    arguments = ["certify", "model", "--data", str(tmp_path), "--false-alarms-per-day", budget]
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_certifying_needs_neither_tensorflow_nor_librosa(bundle: Path, data: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from model_build.certify import certify
from model_build.scenes import Plan
certify(Path({str(bundle)!r}), Path({str(data)!r}), plan=Plan(scenes=1, rounds=1), write=False)
print([name for name in ("tensorflow", "keras", "librosa") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


@pytest.mark.data
@pytest.mark.slow
def test_real_streams_give_every_figure(data_root: Path, tmp_path: Path) -> None:
    found, _ = certify(copied(tmp_path), data_root, plan=Plan(scenes=2))
    assert found.test.alarms.hours > 1
    assert found.validation_hours > 0.4
    # Two scenes of two rounds: each label at each SNR once.
    assert {row.events for row in found.test.labels.values()} == {4}
    assert set(found.test.recall_by_snr_db) == {"0", "6", "12", "20"}
    assert 0 <= found.test.macro_f1 <= 1
    assert 0 < found.test.psds < 1
    assert sum(trial.alarms for trial in found.chosen.values()) <= found.allowed
    assert {skip.path for skip in found.excluded} >= {"ambient_eval/pack_hellind.opus"}
