"""PSDS of scores that are right, and of scores that say nothing."""

import subprocess
import sys

import numpy as np
import pytest

from edge_agent.records import Prediction, Samples
from model_build.detection import Heard
from model_build.psds import psds
from model_build.streams import TrueEvent

LABELS = ("siren", "dog_bark")
PATCHES = 200


def _heard(scores: Samples) -> Heard:
    """Patches of a second, four a second; sirens at 10 and 30 s, a bark at 20 s."""
    ns = 1_000_000_000
    truth = [("siren", 10.0, 14.0), ("dog_bark", 20.0, 21.0), ("siren", 30.0, 33.0)]
    return Heard(
        name="scene",
        seconds=PATCHES / 4,
        truth=tuple(
            TrueEvent(label=label, onset_s=onset, offset_s=offset, snr_db=0.0, path="a")
            for label, onset, offset in truth
        ),
        predictions=tuple(
            Prediction(
                microphone="m",
                start_ns=at * ns // 4 - ns // 2,
                end_ns=at * ns // 4 + ns // 2,
                scores=row,
                synced=False,
                gap_before=False,
            )
            for at, row in enumerate(scores)
        ),
        spans=(),
    )


def _right() -> Samples:
    at_s = np.arange(PATCHES) / 4
    siren = ((at_s >= 10) & (at_s <= 14)) | ((at_s >= 30) & (at_s <= 33))
    bark = (at_s >= 20) & (at_s <= 21)
    return np.stack([siren, bark], axis=1).astype(np.float32) * np.float32(0.8)


def test_scores_that_are_right_get_one() -> None:
    value, by_label = psds([_heard(_right())], LABELS)
    assert value == pytest.approx(1.0)
    assert by_label == pytest.approx({"siren": 1.0, "dog_bark": 1.0})


def test_a_label_that_is_never_scored_costs_its_share() -> None:
    scores = _right()
    scores[:, 1] = 0.0
    value, by_label = psds([_heard(scores)], LABELS)
    assert value == pytest.approx(0.5)
    assert by_label["dog_bark"] == 0.0


def test_the_package_comes_without_librosa_and_leaves_sed_eval_alone() -> None:
    program = (
        "import sys; from model_build.psds import sed_scores_eval; sed_scores_eval(); "
        "print([m for m in ('tensorflow', 'librosa', 'dcase_util', 'sed_eval', 'sed_eval.util') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
