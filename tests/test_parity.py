"""Every way of running the shipped network says the same, as its certificate claims."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from edge_agent.bundle import Bundle, Int8, Tensor, load
from edge_agent.classifier import Network, quantise
from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import Frames, Patches
from edge_agent.modelfile import Check
from edge_agent.records import Samples
from model_build import bundles, parity
from model_build.bundlefiles import with_thresholds
from model_build.features import heard, looped
from tests.conftest import ROOT

BUNDLES = sorted(path.parent for path in (ROOT / "models").glob("*/model.json"))


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load(request.param)


@pytest.fixture(scope="module")
def patches(bundle: Bundle) -> Samples:
    """Patches of noise of all levels, with tones and pulses in it."""
    front = Patches(bundle.frontend)
    rng = np.random.default_rng(5)
    seconds = np.arange(60 * bundle.frontend.rate) / bundle.frontend.rate
    level = 10 ** (rng.uniform(-60, -5, 60) / 20).repeat(bundle.frontend.rate)
    tone = np.sin(2 * np.pi * (300 + 40 * seconds) * seconds) * (np.sin(3 * seconds) > 0)
    sound = level * (rng.standard_normal(seconds.size) + tone)
    return front.batch(np.clip(sound, -1, 1).astype(np.float32))


def test_the_agents_own_checks_pass_by_the_other_runtime(
    bundle: Bundle, legacy_python: Path
) -> None:
    program = (
        "import sys, pathlib; from edge_agent.bundle import load; "
        "from edge_agent.classifier import Classifier; "
        "bundle = load(pathlib.Path(sys.argv[1])); "
        "print([Classifier(bundle, delegate=on).runtime for on in (True, False)])"
    )
    done = subprocess.run(
        [str(legacy_python), "-c", program, str(bundle.folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().strip() == "['tflite-runtime', 'tflite-runtime']", done.stderr


def _inputs(bundle: Bundle, patches: Samples) -> Int8:
    return quantise(patches, bundle.input)


def test_both_runtimes_plain_kernels_give_the_same_bytes(
    bundle: Bundle, patches: Samples, legacy_python: Path
) -> None:
    inputs = _inputs(bundle, patches)
    other, theirs = parity.run_elsewhere(
        bundle.model, inputs, legacy_python, stateful=bundle.stateful
    )
    ours = parity.run(Network(bundle.model, delegate=False, stateful=bundle.stateful), inputs)
    assert other.versions["tflite-runtime"] == "2.14.0"
    assert len(inputs) > 200
    assert np.array_equal(ours, theirs)


@pytest.mark.data
def test_the_delegate_stays_near_the_plain_kernels_on_real_clips(
    bundle: Bundle, data_root: Path
) -> None:
    with (data_root / "urbansound8k.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "3"][::8]
    front = Patches(bundle.frontend)
    sounds = [heard(data_root / row["path"], bundle.frontend.rate) for row in rows]
    features = np.concatenate([front.batch(looped(sound, front.span)) for sound in sounds])
    inputs = _inputs(bundle, features)
    answers = [
        parity.run(Network(bundle.model, delegate=delegate, stateful=bundle.stateful), inputs)
        for delegate in (True, False)
    ]
    checks = parity.delegate_checks(*answers)
    assert [check.name for check in checks if not check.passed and check.n >= 2000] == []
    # Fewer patches than the certificate has, so its own figure: .97 of a few hundred.
    assert checks[0].value >= 0.97
    assert checks[1].value <= 32


@pytest.mark.data
def test_the_front_end_equals_librosas_on_real_clips(bundle: Bundle, data_root: Path) -> None:
    with (data_root / "urbansound8k.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file)][::150]
    recordings = [heard(data_root / path, bundle.frontend.rate) for path in paths]
    for kind in ("logmel", "mfcc_stats"):
        settings = FrontendSettings(kind=kind)
        checks = parity.frontend_checks(settings, recordings)
        assert [check for check in checks if not check.passed] == []


def test_another_mel_scale_does_not_pass_for_librosas(monkeypatch: pytest.MonkeyPatch) -> None:
    def htk(settings: FrontendSettings, mode: Literal["exact", "fast"]) -> Frames:
        return Frames(msgspec.structs.replace(settings, scale="htk"), mode)

    noise = np.random.default_rng(1).standard_normal(32000).astype(np.float32) * np.float32(0.1)
    assert all(check.passed for check in parity.frontend_checks(FrontendSettings(), [noise]))
    monkeypatch.setattr(parity, "Frames", htk)
    assert not any(check.passed for check in parity.frontend_checks(FrontendSettings(), [noise]))


def test_recordings_shorter_than_a_window_are_no_comparison() -> None:
    with pytest.raises(BuildError, match="as long as its window"):
        parity.frontend_checks(FrontendSettings(), [np.zeros(1023, np.float32)])


def test_a_network_that_remembers_nothing_repeats_itself(bundle: Bundle, patches: Samples) -> None:
    network = Network(bundle.model, delegate=True, stateful=bundle.stateful)
    check = parity.repeat_check([network], _inputs(bundle, patches))
    assert check.passed
    assert check.n == 10


def _held_out(float_scores: Samples) -> parity.HeldOut:
    """Three clips of two patches: a siren, a bark, and both."""
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]], bool)
    clips = np.array([0, 0, 1, 1, 2, 2])
    features = np.zeros((6, 1), np.float32)
    return parity.HeldOut(
        features=features, float_scores=float_scores, targets=targets, clips=clips
    )


def _values(checks: list[Check]) -> dict[str, float]:
    return {check.name: check.value for check in checks}


def test_what_int8_costs_is_counted_by_hand() -> None:
    floats = np.array(
        [[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.75, 0.5], [0.75, 0.5]],
        np.float32,
    )
    output = Tensor(shape=(1, 2), scale=1 / 256, zero_point=-128)
    ours = (floats * 256 - 128).astype(np.int8)
    # The bark's clip now looks like a siren: one of two single clips, two of six patches.
    ours[2:4] = [[64, -128], [64, -128]]
    checks = parity.float_checks(ours, output, _held_out(floats))
    values = _values(checks)
    assert values["float_top1"] == pytest.approx(4 / 6, abs=1e-6)
    assert values["float_mean_error"] == pytest.approx((0.5 + 0.75) * 2 / 12, abs=1e-6)
    assert values["accuracy_loss_points"] == 50.0
    # Siren: four positives tie at .75 with the two barks: 4/6. Bark: those two now rank last, at
    # 2/4 (beside the two sirens of .25, which come between): hits at 2 of 2, then 4 of 6.
    assert values["map_loss_points"] == pytest.approx(
        100 * (1 - (4 / 6 + (2 / 4 * 1 + 2 / 4 * 4 / 6)) / 2), abs=1e-4
    )
    assert [check.n for check in checks] == [6, 6, 2, 6]
    assert not any(check.passed for check in checks)


def test_an_interpreter_without_a_runtime_says_what_it_needs(bundle: Bundle) -> None:
    with pytest.raises(BuildError, match="could not run the network") as caught:
        parity.run_elsewhere(
            bundle.model, bundle.golden.input, Path("/bin/false"), stateful=bundle.stateful
        )
    assert "tflite-runtime 2.14" in caught.value.hint


def test_the_same_runtime_is_no_second_opinion(bundle: Bundle) -> None:
    with pytest.raises(BuildError, match="nothing to compare with"):
        parity.run_elsewhere(
            bundle.model, bundle.golden.input, Path(sys.executable), stateful=bundle.stateful
        )


def _rewritten(bundle: Bundle, folder: Path, **changes: object) -> Bundle:
    record, certificate = bundle.record, bundle.certificate
    found = parity.Found(checks=certificate.checks, made_by=certificate.made_by)
    arguments = {
        "name": record.name,
        "version": record.version,
        "labels": record.labels,
        "multilabel": record.multilabel,
        "frontend": record.frontend,
        "tflite": bundle.model,
        "stateful": record.stateful,
        "training": record.training,
        "data": record.data,
        "weights_licence": record.weights_licence,
        "metrics": record.metrics,
        "found": found,
        "clips": certificate.clips,
    }
    written = bundles.write(folder, **(arguments | changes))  # type: ignore[arg-type]
    if record.thresholds is None:
        return written
    return with_thresholds(written, record.labels, record.thresholds, record.metrics)


def test_the_shipped_bundle_is_written_again_to_the_same_bytes(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "street"
    assert _rewritten(bundle, folder).name == bundle.name
    names = ["model.tflite", "model.json", "certificate.json", "golden.npz", "MODEL_CARD.md"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert [path.name for path in folder.parent.iterdir()] == ["street"]
    for name in names:
        assert (folder / name).read_bytes() == (bundle.folder / name).read_bytes(), name


def test_bundle_json_has_sorted_keys_two_spaces_and_a_final_newline(bundle: Bundle) -> None:
    for name in ("model.json", "certificate.json"):
        text = (bundle.folder / name).read_text()
        sorted_text = json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False)
        assert text == sorted_text + "\n"


def test_a_bundle_whose_check_did_not_pass_is_not_written(bundle: Bundle, tmp_path: Path) -> None:
    first, *rest = bundle.certificate.checks
    failed = msgspec.structs.replace(first, passed=False)
    found = parity.Found(checks=(failed, *rest), made_by={})
    with pytest.raises(BuildError, match=f"check {first.name} did not pass"):
        _rewritten(bundle, tmp_path / "street", found=found)
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_figures_licences_and_whether_thresholds_are_proven(bundle: Bundle) -> None:
    card = (bundle.folder / "MODEL_CARD.md").read_text()
    thresholds = bundle.record.thresholds
    if thresholds is None:
        assert "**Not certified.**" in card
    else:
        assert f"For at most {thresholds.budget_per_day:g} false alarms a day" in card
        assert ("**not proven**" in card) == (not thresholds.proven)
    assert bundle.record.weights_licence in card
    for metric in bundle.record.metrics:
        assert metric.split in card
        assert metric.command in card
    for row in bundle.record.data:
        assert row.licence in card
