"""The teacher: which files are one, and that what it says belongs to the patch."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from model_build import features, yamnet
from model_build.datasets import Clip, read_manifest
from model_build.features import Features
from model_build.teacher import Head
from model_build.yamnet import Yamnet
from tests.conftest import ROOT

SETTINGS = FrontendSettings(kind="logmel")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"no model", "is no model"),
        (ROOT / "models" / "street" / "model.tflite", "is no YAMNet with embeddings"),
    ],
)
def test_another_file_is_refused_in_words(
    tmp_path: Path, content: bytes | Path | None, said: str
) -> None:
    path = content if isinstance(content, Path) else tmp_path / "yamnet.tflite"
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(BuildError, match=said) as refused:
        Yamnet(path)
    assert "1024 embeddings" in refused.value.hint


def test_it_hears_each_patch_at_one_level_and_each_recording_once(
    data_root: Path, teacher_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Yamnet(teacher_root / "yamnet.tflite")
    manifest = read_manifest(data_root / "speech.csv", data_root)
    # The longest and the shortest.
    clips = sorted(manifest.clips, key=lambda clip: (data_root / clip.path).stat().st_size)
    clips = [clips[-1], clips[0]]
    heard = yamnet.embeddings(clips, data_root, SETTINGS, ears, tmp_path)
    cut = features.patches(clips, data_root, SETTINGS, tmp_path)
    assert np.array_equal(heard.starts, cut.starts)
    sound = features.heard(data_root / clips[0].path, SETTINGS.rate)
    sound *= 0.5 / np.abs(sound).max()
    # 16064 samples a patch, 15600 of them in the middle; the third begins 2 x 12 x 320 later.
    begin = 2 * 12 * 320 + 232
    wanted = np.sqrt(ears.embedding(sound[begin : begin + yamnet.SAMPLES]))
    assert heard.rows[2] == pytest.approx(wanted, abs=2e-3)
    monkeypatch.delattr(Yamnet, "embedding")
    again = yamnet.embeddings(clips[::-1], data_root, SETTINGS, ears, tmp_path)
    assert np.array_equal(again.rows[again.starts[1] :], heard.rows[: heard.starts[1]])


def test_a_head_tells_two_sounds_apart_that_differ_in_a_tenth_of_the_values() -> None:
    rng = np.random.default_rng(6)
    rows = np.abs(rng.normal(0, 1, (600, yamnet.EMBEDDING))).astype(np.float16)
    clips = 60
    truth = np.arange(clips) % 2
    rows[np.repeat(truth, 10) == 1, :100] += 1
    manifest = tuple(Clip(path=f"{i}", label="x", origin="set", group=f"{i}") for i in range(clips))
    heard = Features(
        clips=manifest,
        rows=rows,
        starts=np.arange(0, 601, 10),
        rms_dbfs=np.zeros(clips, np.float32),
        skipped=(),
    )
    head = Head(heard, np.arange(40), truth)
    unseen = head.scores(rows[400:]).argmax(axis=1)
    assert (unseen == np.repeat(truth[40:], 10)).mean() > 0.9
