"""`model.json` and `certificate.json`: what stands in them, and how strictly they are read.

Schema 1 is closed: a field more or less is another schema. The certificate is evidence and no
signature, as whoever can write a bundle's folder can write all of it.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from edge_agent.config import FrontendSettings, LabelId, NotNegative, Positive
from edge_agent.errors import BundleError
from edge_agent.labels import Label

SCHEMA: Final = 1
"""Grows when an older agent could not read the files."""
MAX_LABELS: Final = 256

_T = TypeVar("_T")
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Count = Annotated[int, Meta(ge=0)]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An int8 tensor: real value = scale * (stored - zero_point)."""

    shape: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1, max_length=8)]
    scale: Positive
    zero_point: Annotated[int, Meta(ge=-128, le=127)]


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the weights were made, enough to make them again."""

    command: Text
    commit: Text
    seed: int
    threads: int
    versions: dict[str, str]
    """Package name to version."""
    cpu: Text
    epochs: Count
    manifests: dict[str, Sha256]
    """Of each manifest, by name."""
    audio_lists: dict[str, Sha256]
    """Of each list of the clips really used, by purpose (train, validation, calibration, test)."""
    teacher_sha256: Sha256 | None


class DataSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A set of recordings and what it was used for."""

    set: Text
    licence: Text
    url: str
    clips: Count
    use: Text


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A figure, with what it takes to believe it."""

    task: Text
    split: Text
    metric: Text
    value: float
    spread: float | None
    """Standard deviation over folds or seeds, as `split` says; None for a single run."""
    n: Count
    """Clips (or patches, as `metric` says) that the figure rests on."""
    seeds: tuple[int, ...]
    command: Text


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the labels' `on` and `off` were chosen for."""

    budget_per_day: Positive
    streams_sha256: Sha256
    hours: Positive
    bound_per_day: NotNegative
    proven: bool


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`model.json`."""

    schema: Literal[1]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)")]
    version: Annotated[str, Meta(pattern=r"^[0-9A-Za-z._+-]{1,40}$(?!\n)")]
    labels: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=MAX_LABELS)]
    """In the order of the network's output."""
    multilabel: bool
    """Sigmoid scores that know nothing of each other; else softmax."""
    frontend: FrontendSettings
    frontend_sha256: Sha256
    input: Tensor
    output: Tensor
    stateful: bool
    """The network remembers (a fused recurrent layer): it is reset before each inference."""
    model_sha256: Sha256
    model_bytes: Count
    golden_sha256: Sha256
    training: Training
    data: tuple[DataSet, ...]
    weights_licence: Text
    metrics: tuple[Metric, ...]
    thresholds: Thresholds | None = None
    """Absent while nothing was certified."""


class CertifiedClip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A recording that the checks were run on."""

    id: Text
    sha256: Sha256
    """Of the file as it was read."""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A build gate and what was found; `REQUIRED_CHECKS` knows which way `limit` holds."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}$(?!\n)")]
    limit: float
    value: float
    n: Count
    passed: bool


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`certificate.json`: what was compared on real clips before the bundle was written."""

    schema: Literal[1]
    model_sha256: Sha256
    frontend_sha256: Sha256
    labels: tuple[LabelId, ...]
    """In the order of the output: a name on another's score is no damage that a hash would show."""
    made_by: dict[str, str]
    """Package name to version."""
    clips: tuple[CertifiedClip, ...]
    checks: tuple[Check, ...]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What a check must reach for a bundle to be run at all."""

    holds: Literal["at_most", "at_least"]
    limit: float
    """The loosest that a certificate may name; a build may be stricter."""
    n: int = 1
    """The fewest things compared."""

    def strictest(self, check: Check) -> float:
        """The stricter of this limit and the check's own."""
        return (min if self.holds == "at_most" else max)(self.limit, check.limit)

    def met(self, check: Check) -> bool:
        """Whether the check's own figures bear out that it passed."""
        limit = self.strictest(check)
        reached = check.value <= limit if self.holds == "at_most" else check.value >= limit
        return check.limit == limit and reached and check.n >= self.n


REQUIRED_CHECKS: Final[dict[str, Limit]] = {
    # dB of log-mel, or units of the MFCC, against librosa on real clips.
    "frontend_exact_worst": Limit(holds="at_most", limit=5e-4),
    "frontend_exact_p999": Limit(holds="at_most", limit=5e-4),
    "frontend_fast_worst": Limit(holds="at_most", limit=0.01),
    "frontend_fast_p999": Limit(holds="at_most", limit=0.01),
    # int8 by the plain kernels against the float network, on held-out patches.
    "float_top1": Limit(holds="at_least", limit=0.97, n=2000),
    "float_mean_error": Limit(holds="at_most", limit=0.01, n=2000),
    # What int8 costs on those patches, in points (hundredths): by clip, and by label.
    "accuracy_loss_points": Limit(holds="at_most", limit=0.5),
    "map_loss_points": Limit(holds="at_most", limit=0.5, n=2000),
    # LiteRT against tflite-runtime 2.14: bytes that differ; then with XNNPACK, in steps of 1/256.
    "runtimes_differing": Limit(holds="at_most", limit=0.0, n=2000),
    "xnnpack_top1": Limit(holds="at_least", limit=0.97, n=2000),
    "xnnpack_steps": Limit(holds="at_most", limit=32.0, n=2000),
    "golden_steps": Limit(holds="at_most", limit=2.0),
    # Bytes that differ when a patch comes again, at once and after a hundred others.
    "repeat_differing": Limit(holds="at_most", limit=0.0),
    "model_bytes": Limit(holds="at_most", limit=1_000_000.0),
}


def failed_checks(checks: tuple[Check, ...]) -> list[str]:
    """Why these checks do not carry a bundle, a phrase each; empty when they do.

    A check's own word does not count: its value must be within its limit, its limit no looser than
    `REQUIRED_CHECKS` has it, and every required check must be there exactly once.
    """
    names = [check.name for check in checks]
    problems = [f"check {name} is missing" for name in REQUIRED_CHECKS if name not in names]
    problems += [f"check {name} stands there twice" for name in names if names.count(name) > 1]
    for check in checks:
        required = REQUIRED_CHECKS.get(check.name)
        if required is None:
            problems.append(f"check {check.name} is unknown")
        elif not (check.passed and required.met(check)):
            problems.append(
                f"check {check.name} did not pass: {check.value:g} of {check.n}, "
                f"{required.holds.replace('_', ' ')} {required.strictest(check):g} "
                f"of at least {required.n} was asked"
            )
    return problems


def parse(path: Path, text: bytes, kind: type[_T]) -> _T:
    """Strictly: no duplicate key, no NaN, nothing unknown, nothing missing."""
    try:
        plain = json.loads(
            text.decode(),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: is not strict JSON: {error}",
            hint="Copy the bundle again; it was damaged or edited after it was built.",
        ) from error
    _check_schema(path, plain)
    try:
        _check_complete(plain)
        return msgspec.convert(plain, kind)
    except ValueError as error:  # msgspec.ValidationError is one
        raise BundleError(
            f"{path}: {error}",
            hint="The bundle was edited, or built by another version: build it again, or install "
            "the agent that it was built with.",
        ) from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands there twice")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large")
    return number


def _check_schema(path: Path, plain: object) -> None:
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise BundleError(
            f"{path}: bundle schema {schema} is newer than this agent's ({SCHEMA})",
            hint="Update the agent, or install a bundle of schema 1.",
        )


def _check_complete(plain: object) -> None:
    """The front end's settings have defaults, which must not fill what a bundle left out."""
    frontend = plain.get("frontend") if isinstance(plain, dict) else None
    if isinstance(frontend, dict):
        missing = set(FrontendSettings.__struct_fields__) - set(frontend)
        if missing:
            raise ValueError(f"missing field `{min(missing)}` - at `$.frontend`")
