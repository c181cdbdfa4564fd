"""The figures of a bundle on clips: the street's path, honest about what was left out."""

import csv
import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_agent import resources
from edge_agent.bundle import load
from edge_agent.classifier import Classifier
from edge_agent.errors import BuildError, BundleError
from edge_agent.frontend import Patches, golden_signals
from edge_agent.records import Samples
from edge_agent.resample import Resampler
from model_build.cli import cli
from model_build.evaluate import Evaluation, evaluate, parse_map
from model_build.evaluate_report import as_json, as_text

MODEL = resources.root() / "models" / "street"
RATE = 44100


def _write(path: Path, samples: Samples, rate: int = RATE) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Six signals as clips of 1.5 s, a short one, and a broken one."""
    for name, samples in golden_signals(RATE * 3 // 2).items():
        _write(tmp_path / f"{name}.wav", samples)
    _write(tmp_path / "short.wav", golden_signals(2000)["noise"])
    (tmp_path / "broken.wav").write_bytes((tmp_path / "noise.wav").read_bytes()[:3000])
    return tmp_path


def _manifest(root: Path, *rows: str, header: str = "path,label,fold") -> Path:
    path = root / "clips.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _mean_scores(path: Path) -> Samples:
    """As the device does it: block by block through both resamplers, patches and classifier."""
    bundle = load(MODEL)
    with wave.open(str(path)) as file:
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        stages = [Resampler(file.getframerate(), 48000), Resampler(48000, bundle.frontend.rate)]
    sound = (raw / 32768).astype(np.float32)
    for stage in stages:
        pieces = [stage.push(np.ascontiguousarray(piece)) for piece in np.array_split(sound, 7)]
        sound = np.concatenate([*pieces, stage.flush()])
    front, classifier = Patches(bundle.frontend), Classifier(bundle)
    patches = [*front.push(sound), *front.flush()]
    mean: Samples = np.mean([classifier.scores(patch.features) for patch in patches], axis=0)
    return mean


def test_a_clip_is_given_the_label_that_the_street_would_give(clips: Path) -> None:
    names = ["noise", "tone", "chirp", "square"]
    labels = [label.id for label in load(MODEL).labels][: len(names)]
    rows = [f"{name}.wav,{label},1" for name, label in zip(names, labels, strict=True)]
    found = evaluate(MODEL, _manifest(clips, *rows), clips)
    wanted = [int(np.argmax(_mean_scores(clips / f"{name}.wav")[: len(names)])) for name in names]
    assert [row.index(1) for row in found.confusion] == wanted
    assert found.accuracy == np.mean([guess == truth for truth, guess in enumerate(wanted)])


def test_a_manifest_may_mix_rates(clips: Path) -> None:
    rates = (16000, 44100, 48000)
    for rate in rates:
        t = np.arange(rate) / rate
        sound = (0.3 * np.sin(2 * np.pi * 900 * t)).astype(np.float32)
        _write(clips / f"{rate}.wav", sound, rate)
    rows = [f"{rate}.wav,siren,{rate}" for rate in rates]
    manifest = _manifest(clips, *rows, "noise.wav,dog_bark,1")
    told = [evaluate(MODEL, manifest, clips, fold=rate).reliability for rate in rates]
    means = [sum(one.n * one.score for one in bins) for bins in told]
    assert means[1:] == pytest.approx(means[:1] * 2, abs=0.03)


def test_only_labels_that_manifest_and_model_share_compete(clips: Path) -> None:
    found = evaluate(MODEL, _manifest(clips, "noise.wav,siren,1"), clips)
    assert found.labels == ("siren",)
    assert found.accuracy == found.macro_f1 == 1.0
    assert found.confusion == [[1]]
    assert found.model_sha256 == load(MODEL).model_sha256


def test_a_clip_shorter_than_a_patch_is_looped(clips: Path) -> None:
    found = evaluate(MODEL, _manifest(clips, "short.wav,siren,1"), clips)
    assert found.n_clips == 1
    assert found.skipped == ()


def test_what_cannot_be_used_is_listed_with_its_reason(clips: Path) -> None:
    manifest = _manifest(
        clips,
        "noise.wav,siren,1",
        "broken.wav,siren,1",
        "none.wav,siren,1",
        "tone.wav,doorbell,1",
        ",siren,1",
    )
    found = evaluate(MODEL, manifest, clips)
    reasons = {skip.path: skip.reason for skip in found.skipped}
    assert found.n_clips == 1
    assert "truncated" in reasons["broken.wav"]
    assert reasons["none.wav"] == "no such file"
    assert reasons["tone.wav"] == "the model has no label 'doorbell'"
    assert "no path or no label" in reasons[""]


def test_a_map_gives_their_labels_our_names(clips: Path) -> None:
    manifest = _manifest(clips, "noise.wav,dog,1", "tone.wav,siren,1")
    found = evaluate(MODEL, manifest, clips, renamed=parse_map("dog=dog_bark"))
    assert sorted(found.labels) == ["dog_bark", "siren"]
    assert found.n_clips == 2


def test_a_label_without_a_clip_in_the_fold_is_unknown_and_not_zero(clips: Path) -> None:
    manifest = _manifest(clips, "noise.wav,siren,1", "tone.wav,dog_bark,2")
    found = evaluate(MODEL, manifest, clips, fold=1)
    empty = found.per_class["dog_bark"]
    assert found.n_clips == 1
    assert (empty.n, empty.recall, empty.f1, empty.average_precision) == (0, None, None, None)


def _two_clips(clips: Path) -> Evaluation:
    manifest = _manifest(clips, "noise.wav,siren,1", "none.wav,siren,1", "tone.wav,dog_bark,1")
    return evaluate(MODEL, manifest, clips)


def test_json_is_one_object_with_the_promised_keys(clips: Path) -> None:
    found = json.loads(as_json(_two_clips(clips)))
    assert set(found) == {
        *("accuracy", "macro_f1", "weighted_f1", "folds", "calibration_error", "reliability"),
        *("per_class", "confusion", "labels", "n_clips", "skipped", "model_sha256"),
    }
    assert found["skipped"] == [{"path": "none.wav", "reason": "no such file"}]


def test_text_shows_every_figure_and_every_skip(clips: Path) -> None:
    found = _two_clips(clips)
    text = as_text(found)
    wanted = ("2 used, 1 skipped", found.model_sha256, "accuracy", "% macro", "% weighted", "AP")
    assert all(word in text for word in wanted)
    assert text.endswith("skipped none.wav: no such file")
    assert "by fold" not in text


def test_each_fold_has_its_accuracy_and_the_text_their_spread(clips: Path) -> None:
    rows = ["noise.wav,siren,1", "tone.wav,dog_bark,2", "chirp.wav,siren,2"]
    found = evaluate(MODEL, _manifest(clips, *rows), clips)
    alone = [evaluate(MODEL, _manifest(clips, *rows), clips, fold=fold) for fold in (1, 2)]
    assert found.folds == {"1": alone[0].accuracy, "2": alone[1].accuracy}
    values = list(found.folds.values())
    assert f"spread {100 * np.std(values):.1f}" in as_text(found)


def test_the_reliability_holds_every_score_of_every_shared_label(clips: Path) -> None:
    found = _two_clips(clips)
    assert sum(one.n for one in found.reliability) == found.n_clips * len(found.labels)
    scores = [_mean_scores(clips / name) for name in ("noise.wav", "tone.wav")]
    columns = [[label.id for label in load(MODEL).labels].index(name) for name in found.labels]
    mean = np.mean([score[columns] for score in scores])
    told = sum(one.n * one.score for one in found.reliability) / 4
    assert told == pytest.approx(mean, abs=1e-6)


def test_the_pictures_are_drawn_and_the_same_twice(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    manifest = _manifest(clips, "noise.wav,siren,1", "tone.wav,dog_bark,1")
    folder = tmp_path / "plots"
    command = ["evaluate", str(MODEL), "--manifest", str(manifest), "--root", str(clips)]
    texts = []
    for _ in range(2):
        done = CliRunner().invoke(cli, [*command, "--plots", str(folder)])
        assert done.exit_code == 0, done.output
        texts.append({path.name: path.read_text() for path in folder.iterdir()})
    assert texts[0] == texts[1]
    assert set(texts[0]) == {"confusion.svg", "reliability.svg"}


@pytest.mark.parametrize(
    ("rows", "header", "why"),
    [
        (["noise.wav,siren"], "file,label", "no column `path`"),
        (["noise.wav,siren"], "path,class", "no column `label`"),
        ([], "path,label", "has no rows"),
        (["none.wav,siren"], "path,label", "none of its 1 clips can be used"),
        (["noise.wav,siren,one"], "path,label,fold", "fold `one` is not a number"),
        (["noise.wav,doorbell,1"], "path,label,fold", "shares no label with the model"),
        (["broken.wav,siren,1"], "path,label,fold", "can be judged"),
    ],
)
def test_a_manifest_that_cannot_be_judged_is_refused(
    clips: Path, rows: list[str], header: str, why: str
) -> None:
    with pytest.raises(BuildError, match=why) as caught:
        evaluate(MODEL, _manifest(clips, *rows, header=header), clips)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("header", "row", "hint"),
    [
        ("path,label,fold", "noise.wav,siren,1", "folds are 1"),
        ("path,label", "noise.wav,siren", "no folds"),
    ],
)
def test_a_fold_that_is_not_there_is_refused(clips: Path, header: str, row: str, hint: str) -> None:
    with pytest.raises(BuildError, match="no clip of fold 4") as caught:
        evaluate(MODEL, _manifest(clips, row, header=header), clips, fold=4)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["dog", "dog=", "=dog_bark", "a=b,a=c", "", "a=b,"])
def test_a_map_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match="not of the form theirs=ours"):
        parse_map(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [("cat=siren", "has no label 'cat'"), ("siren=doorbell", "model .* has no label 'doorbell'")],
)
def test_a_map_of_labels_that_are_not_there_is_refused(clips: Path, text: str, why: str) -> None:
    manifest = _manifest(clips, "noise.wav,siren,1")
    with pytest.raises(BuildError, match=why) as caught:
        evaluate(MODEL, manifest, clips, renamed=parse_map(text))
    assert "siren" in caught.value.hint


def test_a_folder_that_is_no_bundle_is_refused(clips: Path) -> None:
    with pytest.raises(BundleError, match="cannot be found"):
        evaluate(clips, _manifest(clips, "noise.wav,siren,1"), clips)


def test_the_command_finds_the_shipped_model_from_any_folder(clips: Path) -> None:
    _manifest(clips, "noise.wav,siren,1")
    code = "from model_build.cli import main; main()"
    options = ["models/street", "--manifest", "clips.csv", "--root", ".", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", *options],
        cwd=clips,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["model_sha256"] == load(MODEL).model_sha256


def test_evaluating_needs_neither_tensorflow_nor_librosa() -> None:
    program = (
        "import sys, model_build.evaluate; "
        "print([m for m in ('tensorflow', 'keras', 'librosa', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


@pytest.mark.data
def test_real_clips_of_a_fold_are_judged(data_root: Path, tmp_path: Path) -> None:
    with (data_root / "urbansound8k.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "3"][::40]
    manifest = _manifest(tmp_path, *[f"{row['path']},{row['label']},3" for row in rows])
    found = evaluate(MODEL, manifest, data_root, fold=3)
    assert found.n_clips == len(rows)
    assert sum(map(sum, found.confusion)) == len(rows)
    assert 0 <= found.accuracy <= 1
