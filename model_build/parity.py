"""The build gates that need real sound: does every way of running the network say the same?

Compared are the float network, LiteRT with its delegate and without, and tflite-runtime 2.14,
which wants another numpy and so runs in another interpreter, fed by files: this module is its
program, too, hence nothing is imported at the top that the interpreter of the `legacy` extra lacks.
"""

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.bundle import Int8, Tensor, golden_features
from edge_agent.classifier import Network, dequantise, quantise
from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import Frames, Patches
from edge_agent.modelfile import REQUIRED_CHECKS, CertifiedClip, Check
from edge_agent.records import Samples
from model_build.metrics import Flags, Indices, accuracy, average_precision, confusion, macro

MAX_BYTES = 500_000
_TIMEOUT_S = 600
_OTHERS = 100
_REPEATED = 5

# Stricter than the agent asks where log-mel and MFCC differ: dB, and units of the MFCC, on real
# clips. librosa computes float32 sound in double precision but rounds the power to float32.
_FRONTEND_LIMITS = {
    "logmel": {"exact": 1e-4, "fast": 0.01},
    "mfcc": {"exact": 5e-4, "fast": 0.005},
}


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """Real patches that no part of training has seen."""

    features: Samples
    """(n, *patch), standardised and clipped."""
    float_scores: Samples
    """(n, labels), of the network before it was quantised."""
    targets: Flags
    """(n, labels), what is heard in each patch."""
    clips: Indices
    """(n,), which clip each patch was cut from."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Checks for the certificate, and the versions that made them."""

    checks: tuple[Check, ...]
    made_by: dict[str, str]


class _Other(msgspec.Struct, frozen=True, kw_only=True):
    """What the other interpreter says."""

    runtime: str
    versions: dict[str, str]


def compare(
    model: bytes,
    settings: FrontendSettings,
    held_out: HeldOut,
    recordings: Sequence[Samples],
    *,
    legacy_python: Path,
    stateful: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Found:
    """Run all comparisons; whether they passed is in the checks.

    Args:
        model: The int8 flatbuffer.
        settings: Its front end.
        held_out: At least 2000 patches, or the checks will not pass.
        recordings: Real sound at the front end's rate, (n,) each, for the check against librosa.
        legacy_python: An interpreter with tflite-runtime 2.14, numpy and msgspec.
        stateful: The network remembers.
        max_bytes: The largest model that is wanted.

    Raises:
        BuildError: The other interpreter cannot do its part.
    """
    plain = Network(model, delegate=False, stateful=stateful)
    fast = Network(model, delegate=True, stateful=stateful)
    inputs = quantise(held_out.features, plain.input)
    golden = quantise(golden_features(Patches(settings, "exact")), plain.input)
    everything = np.concatenate((inputs, golden))
    other, theirs = run_elsewhere(model, everything, legacy_python, stateful=stateful)
    ours = run(plain, everything)
    patches = len(inputs)
    checks = [
        *frontend_checks(settings, recordings),
        *float_checks(ours[:patches], plain.output, held_out),
        _check("runtimes_differing", int(np.count_nonzero(ours != theirs)), len(everything)),
        *delegate_checks(run(fast, inputs), theirs[:patches]),
        _check("golden_steps", _worst_step(ours[patches:], theirs[patches:]), len(golden)),
        repeat_check((plain, fast), inputs),
        _check("model_bytes", len(model), 1, limit=max_bytes),
    ]
    made_by = {**_versions("ai-edge-litert", "numpy", "librosa"), **other.versions}
    return Found(checks=tuple(checks), made_by=made_by)


def run(network: Network, inputs: Int8) -> Int8:
    """The network's int8 outputs, (n, labels), for int8 inputs, (n, *patch)."""
    return np.stack([network.run(row) for row in inputs])


def run_elsewhere(
    model: bytes, inputs: Int8, python: Path, *, stateful: bool
) -> tuple[_Other, Int8]:
    """As `run`, by the plain kernels of another interpreter's runtime.

    Raises:
        BuildError: It fails, or has no tflite-runtime.
    """
    with tempfile.TemporaryDirectory() as folder:
        model_path, in_path, out_path = (Path(folder, name) for name in ("model", "in", "out"))
        model_path.write_bytes(model)
        _save(in_path, inputs)
        command = [str(python), "-m", "model_build.parity", str(model_path), str(in_path)]
        command += [str(out_path), "stateful" if stateful else "stateless"]
        said = _run_program(command)
        other = msgspec.json.decode(said, type=_Other)
        outputs: Int8 = np.load(out_path, allow_pickle=False)
    if other.runtime != "tflite-runtime":
        raise BuildError(
            f"{python} runs networks by {other.runtime}: nothing to compare with",
            hint="Name an interpreter with the extra `legacy` and without ai-edge-litert.",
        )
    return other, outputs


def float_checks(ours: Int8, output: Tensor, held_out: HeldOut) -> list[Check]:
    """What int8 costs against float: agreement, error, clip accuracy, average precision.

    Args:
        ours: (n, labels), by the plain kernels.
        output: How the int8 scores read.
        held_out: Patches with their float scores.
    """
    scores, wanted = dequantise(ours, output), held_out.float_scores
    same = scores.argmax(axis=1) == wanted.argmax(axis=1)
    clips = len(_clip_truth(held_out))
    lost = 100 * (_clip_accuracy(held_out, wanted) - _clip_accuracy(held_out, scores))
    lost_map = 100 * (_mean_precision(held_out, wanted) - _mean_precision(held_out, scores))
    return [
        _check("float_top1", float(same.mean()), len(same)),
        _check("float_mean_error", float(np.abs(scores - wanted).mean()), len(same)),
        _check("accuracy_loss_points", lost, clips),
        _check("map_loss_points", lost_map, len(same)),
    ]


def delegate_checks(fast: Int8, theirs: Int8) -> list[Check]:
    """LiteRT as the device runs it against tflite-runtime, (n, labels) each."""
    same = fast.argmax(axis=1) == theirs.argmax(axis=1)
    return [
        _check("xnnpack_top1", float(same.mean()), len(same)),
        _check("xnnpack_steps", _worst_step(fast, theirs), len(same)),
    ]


def repeat_check(networks: Iterable[Network], inputs: Int8) -> Check:
    """Bytes that change when a patch is given again, at once and after a hundred others."""
    differing = compared = 0
    for network in networks:
        for patch in inputs[:_REPEATED]:
            first, again = network.run(patch), network.run(patch)
            for other in inputs[_REPEATED : _REPEATED + _OTHERS]:
                network.run(other)
            later = network.run(patch)
            differing += int(np.count_nonzero(first != again) + np.count_nonzero(first != later))
            compared += 2
    return _check("repeat_differing", differing, compared)


def frontend_checks(settings: FrontendSettings, recordings: Sequence[Samples]) -> list[Check]:
    """Frames of both modes against librosa's, before statistics and standardisation.

    Args:
        settings: The front end.
        recordings: Real sound at its rate; what is shorter than a window is left out.
    """
    long_enough = [samples for samples in recordings if samples.size >= settings.n_fft]
    if not long_enough:
        raise BuildError(
            "no recording to compare the front end on is as long as its window",
            hint=f"Give recordings of at least {settings.n_fft} samples at {settings.rate} Hz.",
        )
    wanted = [_librosa_frames(settings, samples) for samples in long_enough]
    limits = _FRONTEND_LIMITS["logmel" if settings.kind == "logmel" else "mfcc"]
    checks = []
    for mode in ("exact", "fast"):
        frames = Frames(settings, mode)
        pairs = zip(long_enough, wanted, strict=True)
        errors = [np.abs(frames.batch(samples) - frame).ravel() for samples, frame in pairs]
        error = np.concatenate(errors)
        for name, value in (("worst", error.max()), ("p999", np.quantile(error, 0.999))):
            check = f"frontend_{mode}_{name}"
            checks.append(_check(check, float(value), error.size, limit=limits[mode]))
    return checks


def certified(paths: Iterable[str], root: Path) -> tuple[CertifiedClip, ...]:
    """The recordings that the checks were run on, by their path below `root`."""
    return tuple(
        CertifiedClip(id=path, sha256=hashlib.sha256((root / path).read_bytes()).hexdigest())
        for path in sorted(paths)
    )


def _librosa_frames(settings: FrontendSettings, samples: Samples) -> npt.NDArray[np.float64]:
    import librosa  # here, for the other interpreter lacks it

    power = librosa.feature.melspectrogram(
        y=samples,
        sr=settings.rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        win_length=settings.win_length,
        window="hann",
        center=False,
        power=settings.power,
        n_mels=settings.n_mels,
        fmin=settings.fmin,
        fmax=settings.fmax,
        htk=settings.scale == "htk",
        norm=None if settings.norm == "none" else settings.norm,
    ).astype(np.float64)
    floor = settings.floor_value
    level = 10 * np.log10(power + floor if settings.floor == "offset" else np.fmax(power, floor))
    if settings.kind != "logmel":
        level = librosa.feature.mfcc(
            S=level, n_mfcc=settings.n_mfcc, dct_type=2, norm="ortho", lifter=settings.lifter
        )
    frames: npt.NDArray[np.float64] = level.T
    return frames


def _check(name: str, value: float, n: int, limit: float | None = None) -> Check:
    """A check with the agent's limit, or a stricter one."""
    required = REQUIRED_CHECKS[name]
    # Seven digits tell everything and keep the certificate readable.
    value = float(f"{value:.7g}")
    check = Check(
        name=name,
        limit=required.limit if limit is None else float(limit),
        value=value,
        n=n,
        passed=False,
    )
    return msgspec.structs.replace(check, passed=required.met(check))


def _worst_step(ours: Int8, theirs: Int8) -> int:
    return int(np.abs(ours.astype(np.int16) - theirs).max())


def _clip_truth(held_out: HeldOut) -> dict[int, int]:
    """The label of each clip in which exactly one is heard throughout."""
    truth = {}
    for clip in np.unique(held_out.clips):
        heard = held_out.targets[held_out.clips == clip].any(axis=0)
        if np.count_nonzero(heard) == 1:
            truth[int(clip)] = int(np.argmax(heard))
    return truth


def _clip_accuracy(held_out: HeldOut, scores: Samples) -> float:
    truth = _clip_truth(held_out)
    means = [scores[held_out.clips == clip].mean(axis=0) for clip in truth]
    guess = np.array([int(mean.argmax()) for mean in means], np.intp)
    wanted = np.array(list(truth.values()), np.intp)
    return accuracy(confusion(wanted, guess, held_out.targets.shape[1]))


def _mean_precision(held_out: HeldOut, scores: Samples) -> float:
    columns = zip(held_out.targets.T, scores.T, strict=True)
    return macro(np.array([average_precision(positive, score) for positive, score in columns]))


def _run_program(command: list[str]) -> bytes:
    """What the program prints; the packages are found wherever this process found them."""
    source = str(Path(__file__).resolve().parent.parent)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise BuildError(
            f"{command[0]} could not run the network: {last or error}",
            hint="Name an interpreter of Python 3.11 with tflite-runtime 2.14, numpy<2 and msgspec "
            "(the extra `legacy`).",
        ) from error
    return done.stdout


def _versions(*packages: str) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


def _save(path: Path, values: Int8) -> None:
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _main(model: str, inputs: str, outputs: str, state: str) -> None:
    """The other interpreter's part."""
    network = Network(Path(model).read_bytes(), delegate=False, stateful=state == "stateful")
    _save(Path(outputs), run(network, np.load(inputs, allow_pickle=False)))
    versions = {"numpy (tflite-runtime)": np.__version__}
    if network.runtime == "tflite-runtime":
        versions |= _versions("tflite-runtime")
    sys.stdout.write(json.dumps({"runtime": network.runtime, "versions": versions}))


if __name__ == "__main__":
    _main(*sys.argv[1:5])
