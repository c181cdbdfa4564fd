"""A bundle is taken whole or not at all, and each refusal says what to do."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_agent import bundle as bundle_module
from edge_agent import resources
from edge_agent.bundle import load
from edge_agent.errors import BundleError
from edge_agent.frontend import golden_signals
from tests.bundled import (
    Plain,
    change_frontend,
    copied,
    edit_certificate,
    edit_model,
    replace_golden,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copied(tmp_path)


def _refusal(folder: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        load(folder)
    return caught.value


def test_the_shipped_bundle_is_taken() -> None:
    found = load(resources.root() / "models" / "street")
    model = (found.folder / "model.tflite").read_bytes()
    assert found.model == model
    assert found.model_sha256 == hashlib.sha256(model).hexdigest()
    assert found.output.shape == (1, len(found.labels))


def test_a_copy_with_the_folder_itself_a_link_is_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    assert load(tmp_path / "current").name == load(folder).name


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("name", ["model.tflite", "golden.npz"])
@pytest.mark.parametrize("damage", [_flip_a_byte, _cut_short])
def test_a_damaged_file_is_refused_by_its_hash(
    folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(folder / name)
    error = _refusal(folder)
    assert error.message.startswith(f"{folder / name}: sha256 is ")
    assert "Copy the bundle again" in error.hint


@pytest.mark.parametrize("name", ["model.tflite", "model.json", "certificate.json", "golden.npz"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = _refusal(folder)
    assert error.message == f"{folder / name}: cannot be found"
    assert "copy the whole folder again" in error.hint


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "check the path" in _refusal(tmp_path / "none").hint


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.tflite").rename(tmp_path / "elsewhere")
    (folder / "model.tflite").symlink_to(tmp_path / "elsewhere")
    error = _refusal(folder)
    assert "not a regular file inside the bundle" in error.message
    assert "not links" in error.hint


def test_a_pipe_is_refused_without_waiting_for_a_writer(folder: Path) -> None:
    (folder / "model.json").unlink()
    os.mkfifo(folder / "model.json")
    assert "not a regular file" in _refusal(folder).message


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("model.json", 256_000),
        ("certificate.json", 256_000),
        ("model.tflite", 4_000_000),
        ("golden.npz", 1_000_000),
    ],
)
def test_an_oversized_file_is_refused_before_it_is_parsed(
    folder: Path, name: str, size: int
) -> None:
    with (folder / name).open("ab") as file:
        file.truncate(size + 1)
    assert f"is larger than {size} bytes" in _refusal(folder).message


def test_a_newer_schema_asks_for_a_newer_agent(folder: Path) -> None:
    edit_model(folder, lambda plain: plain.update(schema=2, something="new"))
    error = _refusal(folder)
    assert "bundle schema 2 is newer than this agent's (1)" in error.message
    assert error.hint.startswith("Update the agent")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"schema"', '"name": "other", "schema"', "key 'name' stands there twice"),
        ('"clip": 4.0', '"clip": NaN', "NaN is no number"),
        ('"clip": 4.0', '"clip": 1e999', "1e999 is too large"),
        ('"clip": 4.0', '"clip": "4"', "got `str` - at `$.frontend.clip`"),
        ('"clip": 4.0, ', "", "missing field `clip` - at `$.frontend`"),
        ('"multilabel"', '"multi_label"', "multi"),
        ('"schema": 1', '"schema": true', "schema"),
        ('"schema": 1', '"schema": 1, "created": "today"', "unknown field `created`"),
        ('"id": "siren"', '"id": "siren\\n"', "at `$.labels"),
        ('"on": 0.5', '"on": 1.5', "at `$.labels[0].on`"),
        ('"on": 0.5', '"on": 0.2', "off 0.35 is above on 0.2"),
        ("{", "[", "is not strict JSON"),
    ],
)
def test_model_json_is_read_strictly(folder: Path, old: str, new: str, why: str) -> None:
    path = folder / "model.json"
    text = json.dumps(json.loads(path.read_text()))
    assert old in text
    path.write_text(text.replace(old, new, 1))
    error = _refusal(folder)
    assert error.message.startswith(f"{path}: ")
    assert why in error.message
    assert "again" in error.hint


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "model.json").write_bytes(b"\xff\xfe\x00")
    assert "is not strict JSON" in _refusal(folder).message


def test_json_nested_without_end_is_refused(folder: Path) -> None:
    (folder / "model.json").write_text("[" * 200_000)
    assert "is not strict JSON" in _refusal(folder).message


def _swap_labels(plain: Plain) -> None:
    labels = plain["labels"]
    labels[0], labels[1] = labels[1], labels[0]


def _repeat_a_label(plain: Plain) -> None:
    plain["labels"][1]["id"] = plain["labels"][0]["id"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_swap_labels, "model.json has others or another order"),
        (_repeat_a_label, "stands there twice"),
        (lambda plain: plain["labels"].pop(), "labels, but an output of shape"),
    ],
)
def test_labels_that_do_not_match_are_refused(
    folder: Path, change: Callable[[Plain], None], why: str
) -> None:
    edit_model(folder, change)
    error = _refusal(folder)
    assert why in error.message
    assert "again" in error.hint


def test_a_changed_threshold_is_the_owners_right(folder: Path) -> None:
    edit_model(folder, lambda plain: plain["labels"][0].update(on=0.75))
    assert load(folder).labels[0].on == 0.75


def test_another_front_end_is_refused_by_both_hashes(folder: Path) -> None:
    wanted = json.loads((folder / "model.json").read_text())["frontend_sha256"]
    edit_model(folder, lambda plain: plain["frontend"].update(scale="htk"))
    error = _refusal(folder)
    assert f"made for front end {wanted[:12]}, this agent computes " in error.message
    assert "install the agent that it was built with" in error.hint


def test_a_front_end_that_cannot_be_computed_is_refused(folder: Path) -> None:
    change_frontend(folder, fmin=7400.0)
    assert "the front end cannot be computed: mel bands" in _refusal(folder).message


def test_an_input_of_another_shape_is_refused(folder: Path) -> None:
    edit_model(folder, lambda plain: plain["input"].update(shape=[1, 3]))
    assert "an input of shape (1, 3), but patches of " in _refusal(folder).message


@pytest.mark.parametrize(
    "changes", [{"scale": "htk"}, {"norm": "none"}, {"fmin": 60.0}, {"floor_value": 1e-7}]
)
def test_golden_features_tell_what_no_hash_does(folder: Path, changes: dict[str, object]) -> None:
    change_frontend(folder, **changes)
    error = _refusal(folder)
    assert "dB away from the laboratory's on the golden signals" in error.message
    assert "Install the agent and numpy again" in error.hint


def test_golden_features_tell_a_wrong_full_scale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unscaled(length: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
        signals = golden_signals(length)
        return {name: signal * np.float32(32768) for name, signal in signals.items()}

    monkeypatch.setattr(bundle_module, "golden_signals", unscaled)
    assert "dB away" in _refusal(folder).message


def _fail(plain: Plain) -> None:
    plain["checks"][0]["passed"] = False


def _look_away(plain: Plain) -> None:
    check = next(check for check in plain["checks"] if check["name"] == "float_top1")
    check.update(value=0.5, passed=True)


def _loosen(plain: Plain) -> None:
    check = next(check for check in plain["checks"] if check["name"] == "float_top1")
    check.update(limit=0.5, value=0.6, passed=True)


def _compare_few(plain: Plain) -> None:
    check = next(check for check in plain["checks"] if check["name"] == "float_top1")
    check.update(n=1999)


def _add_unknown(plain: Plain) -> None:
    plain["checks"].append(plain["checks"][0] | {"name": "vibes"})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda plain: plain["checks"].pop(0), "is missing"),
        (lambda plain: plain["checks"].append(plain["checks"][0]), "stands there twice"),
        (_fail, "did not pass"),
        (_look_away, "float_top1 did not pass: 0.5"),
        (_loosen, "at least 0.97 of at least 2000 was asked"),
        (_compare_few, "of 1999"),
        (_add_unknown, "check vibes is unknown"),
        (lambda plain: plain.update(model_sha256="0" * 64), "certifies model 000000000000"),
        (lambda plain: plain.update(schema=2), "bundle schema 2 is newer"),
    ],
)
def test_a_certificate_that_does_not_carry_the_model_is_refused(
    folder: Path, change: Callable[[Plain], None], why: str
) -> None:
    edit_certificate(folder, change)
    error = _refusal(folder)
    assert error.message.startswith(f"{folder / 'certificate.json'}: ")
    assert why in error.message


def _packed(**arrays: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # takes names for options
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no zip", "golden vectors"),
        (_packed(features=np.zeros(3, np.float32)), "float32 (3,) instead of float32 (6, "),
        (_packed(features=np.array([object()])), "pickle"),
        (_packed(features=np.zeros(5_000_000, np.float32)), "bytes unpacked, at most"),
        (_packed(), "features"),
    ],
)
def test_golden_vectors_of_another_kind_are_refused(folder: Path, content: bytes, why: str) -> None:
    replace_golden(folder, content)
    error = _refusal(folder)
    assert why in error.message
    assert "again" in error.hint


def test_golden_features_that_are_no_numbers_are_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "golden.npz") as archive, archive.open("features.npy") as file:
        shape = np.load(file).shape
    with np.load(folder / "golden.npz") as arrays:
        others = {name: arrays[name] for name in ("input", "scores")}
    replace_golden(folder, _packed(features=np.full(shape, np.nan, np.float32), **others))
    assert "nan dB away" in _refusal(folder).message
