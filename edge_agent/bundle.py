"""A model's folder, read once and checked against itself and against this agent's front end.

A bundle is `model.tflite`, `model.json`, `certificate.json`, `golden.npz` and `MODEL_CARD.md`; the
last is for people and is never read. Limits on size come before any parsing, hashes before any use
of what was hashed. What needs a runtime (tensors, int8 input, scores) is checked by `classifier`.
"""

import hashlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import FrontendSettings
from edge_agent.errors import BundleError
from edge_agent.frontend import Patches, check, fingerprint, golden_signals
from edge_agent.labels import Label
from edge_agent.modelfile import (
    Certificate,
    ModelFile,
    Tensor,
    Thresholds,
    failed_checks,
    parse,
)
from edge_agent.records import Samples

__all__ = ["Bundle", "Golden", "Int8", "Label", "Tensor", "golden_features", "load"]

_MAX_BYTES: Final = {
    "model.json": 256_000,
    "certificate.json": 256_000,
    "model.tflite": 4_000_000,
    "golden.npz": 1_000_000,
}
_MAX_GOLDEN_UNPACKED: Final = 8_000_000

# Of features given back their unit (dB, or units of the MFCC) and still clipped. `exact` differs
# between machines by rounding to float32; `fast` by what its float32 FFT costs.
_GOLDEN_TOLERANCE: Final = {"exact": 1e-4, "fast": 0.05}

_Number = TypeVar("_Number", bound=np.generic)
Int8: TypeAlias = npt.NDArray[np.int8]


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """What the laboratory computed for the golden signals, one row each, in their order."""

    features: Samples
    """(signals, *patch), by the `exact` mode."""
    input: Int8
    """(signals, *patch)"""
    scores: Int8
    """(signals, labels), by the plain kernels."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A model folder that was read and checked; nothing of it is read again."""

    folder: Path
    name: str
    version: str
    labels: tuple[Label, ...]
    multilabel: bool
    frontend: FrontendSettings
    frontend_sha256: str
    input: Tensor
    output: Tensor
    stateful: bool
    model_sha256: str
    model: bytes
    """The network as a flatbuffer."""
    golden: Golden
    thresholds: Thresholds | None
    record: ModelFile
    certificate: Certificate


def load(folder: Path) -> Bundle:
    """Read a bundle and check all that can be checked without a runtime.

    Args:
        folder: Holds the bundle's files; it may itself be a link, its files may not lead out of it.

    Raises:
        BundleError: Says which file, what was found and what to do.
    """
    raw = {name: _read(folder, name) for name in _MAX_BYTES}
    record = parse(folder / "model.json", raw["model.json"], ModelFile)
    _check_hash(folder / "model.tflite", raw["model.tflite"], record.model_sha256)
    _check_hash(folder / "golden.npz", raw["golden.npz"], record.golden_sha256)
    _check_labels(folder, record)
    _check_frontend(folder, record)
    certificate = parse(folder / "certificate.json", raw["certificate.json"], Certificate)
    _check_certificate(folder, record, certificate)
    golden = _unpack_golden(folder / "golden.npz", raw["golden.npz"], record)
    _check_golden_features(folder, record, golden)
    return Bundle(
        folder=folder,
        name=record.name,
        version=record.version,
        labels=record.labels,
        multilabel=record.multilabel,
        frontend=record.frontend,
        frontend_sha256=record.frontend_sha256,
        input=record.input,
        output=record.output,
        stateful=record.stateful,
        model_sha256=record.model_sha256,
        model=raw["model.tflite"],
        golden=golden,
        thresholds=record.thresholds,
        record=record,
        certificate=certificate,
    )


def golden_features(patches: Patches) -> Samples:
    """This machine's features of the golden signals, (signals, *patch), by the given front end."""
    found = []
    for signal in golden_signals(patches.span).values():
        # As a stream: the device never needs the room that a batch takes.
        (patch,) = [*patches.push(signal), *patches.flush()]
        found.append(patch.features)
    return np.stack(found)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BundleError(
            f"{path}: cannot be found",
            hint="A bundle is a folder with model.tflite, model.json, certificate.json and "
            "golden.npz: check the path, or copy the whole folder again.",
        ) from error
    if not real.is_relative_to(folder.resolve()) or not real.is_file():
        raise BundleError(
            f"{path}: is not a regular file inside the bundle, but {real}",
            hint="Copy the bundle with its files themselves, not links (cp -rL).",
        )
    limit = _MAX_BYTES[name]
    try:
        with real.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read: {error.strerror}",
            hint="Let the agent's user read the bundle (chmod -R a+rX), or copy it again.",
        ) from error
    if len(content) > limit:
        raise BundleError(
            f"{path}: is larger than {limit} bytes, the most that a bundle's {name} may have",
            hint="Copy the bundle again; if it was built so, build a smaller one.",
        )
    return content


def _check_hash(path: Path, content: bytes, wanted: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise BundleError(
            f"{path}: sha256 is {found[:12]}, model.json says {wanted[:12]}",
            hint="Copy the bundle again; the file is cut short, or was changed after its build.",
        )


def _check_labels(folder: Path, record: ModelFile) -> None:
    path = folder / "model.json"
    ids = [label.id for label in record.labels]
    twice = sorted({label for label in ids if ids.count(label) > 1})
    if twice:
        raise BundleError(
            f"{path}: label {twice[0]} stands there twice",
            hint="Build the bundle again with one entry per label.",
        )
    if record.output.shape != (1, len(ids)):
        raise BundleError(
            f"{path}: {len(ids)} labels, but an output of shape {record.output.shape}",
            hint="Build the bundle again: the output must be (1, number of labels).",
        )


def _check_frontend(folder: Path, record: ModelFile) -> None:
    path = folder / "model.json"
    here = fingerprint(record.frontend)
    if here != record.frontend_sha256:
        raise BundleError(
            f"{path}: the model was made for front end {record.frontend_sha256[:12]}, "
            f"this agent computes {here[:12]}",
            hint="Build the bundle again with this version, or install the agent that it was "
            "built with.",
        )
    try:
        check(record.frontend)
    except ValueError as error:
        raise BundleError(
            f"{path}: the front end cannot be computed: {error}",
            hint="Build the bundle again with other front end settings.",
        ) from error
    patch = Patches(record.frontend).shape
    if record.input.shape not in ((1, *patch), (1, *patch, 1)):
        raise BundleError(
            f"{path}: an input of shape {record.input.shape}, but patches of {patch}",
            hint="Build the bundle again: the input must be (1, *patch).",
        )


def _check_certificate(folder: Path, record: ModelFile, certificate: Certificate) -> None:
    path = folder / "certificate.json"
    mine = (certificate.model_sha256, certificate.frontend_sha256)
    if mine != (record.model_sha256, record.frontend_sha256):
        raise BundleError(
            f"{path}: certifies model {mine[0][:12]} with front end {mine[1][:12]}, the bundle has "
            f"{record.model_sha256[:12]} with {record.frontend_sha256[:12]}",
            hint="Copy the certificate that was built with this model, or build the bundle again.",
        )
    if certificate.labels != tuple(label.id for label in record.labels):
        raise BundleError(
            f"{path}: certifies the labels {', '.join(certificate.labels)}, model.json has others "
            "or another order",
            hint="Copy the whole bundle again, or build it again.",
        )
    failed = failed_checks(certificate.checks)
    if failed:
        raise BundleError(
            f"{path}: {'; '.join(failed)}",
            hint="Build the bundle again; do not run a model whose checks did not pass.",
        )


def _unpack_golden(path: Path, content: bytes, record: ModelFile) -> Golden:
    signals = len(golden_signals(1))
    patch = Patches(record.frontend).shape
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _MAX_GOLDEN_UNPACKED:
            raise ValueError(f"{unpacked} bytes unpacked, at most {_MAX_GOLDEN_UNPACKED}")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Golden(
                features=_array(arrays["features"], np.float32, (signals, *patch)),
                input=_array(arrays["input"], np.int8, (signals, *patch)),
                scores=_array(arrays["scores"], np.int8, (signals, len(record.labels))),
            )
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(
            f"{path}: does not hold the golden vectors of this model: {error}",
            hint="Build the bundle again, or copy it again if it was damaged.",
        ) from error


def _array(
    found: npt.NDArray[np.generic], kind: type[_Number], shape: tuple[int, ...]
) -> npt.NDArray[_Number]:
    if found.dtype != np.dtype(kind) or found.shape != shape:
        raise ValueError(f"{found.dtype} {found.shape} instead of {np.dtype(kind)} {shape}")
    return found.view(kind)


def _check_golden_features(folder: Path, record: ModelFile, golden: Golden) -> None:
    patches = Patches(record.frontend)
    std = np.array(record.frontend.std)
    worst = float(np.max(np.abs(golden_features(patches) - golden.features) * std))
    limit = _GOLDEN_TOLERANCE[patches.mode]
    if not worst <= limit:
        raise BundleError(
            f"{folder}: this machine's front end ({patches.mode}, numpy {np.__version__}) is "
            f"{worst:.3g} dB away from the laboratory's on the golden signals, {limit:g} is "
            "allowed",
            hint="Install the agent and numpy again; if that does not help, build the bundle again "
            "with this version.",
        )
