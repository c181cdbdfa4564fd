"""Features of recordings, by the device's own front end, computed once and cached.

Sound takes the device's way: to 48 kHz for the meter, then to the model's rate. Caches hold raw
features (not standardised, not clipped) as float16: its step is 0.06 dB at -80 dB, an eighth of
the later int8 step. Their names carry the hash of the front end and of the audio list.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.capture.files import read_recording
from edge_agent.config import FrontendSettings
from edge_agent.errors import AudioError, BuildError
from edge_agent.frontend import Frames, Patches, fingerprint
from edge_agent.records import Samples
from edge_agent.resample import resample
from model_build.datasets import Clip, Skip

Halves: TypeAlias = npt.NDArray[np.float16]
Indices: TypeAlias = npt.NDArray[np.int64]

METER_RATE = 48000
# Below this a clip holds nothing that could be learnt: 18 clips of UrbanSound8K (the data's notes).
SILENT_DBFS = -60.0

_log = logging.getLogger(__name__)


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Raw features of many clips, one after the other.

    `rows` is (rows, *shape): patches, or frames; those of clip i are
    `rows[starts[i]:starts[i + 1]]`. `clips` are those used.
    """

    clips: tuple[Clip, ...]
    rows: Halves
    starts: Indices
    rms_dbfs: npt.NDArray[np.float32]
    skipped: tuple[Skip, ...]

    def owners(self) -> Indices:
        """For each row the index of its clip."""
        return np.repeat(np.arange(len(self.clips)), np.diff(self.starts))

    def rows_of(self, clips: Indices) -> tuple[Halves, Indices]:
        """The rows of some clips, and for each of them the index of its clip."""
        owners = self.owners()
        wanted = np.flatnonzero(np.isin(owners, clips))
        return self.rows[wanted], owners[wanted]

    def chosen(self, wanted: Sequence[Clip]) -> Indices:
        """Indices of the clips that are among those wanted."""
        paths = {clip.path for clip in wanted}
        return np.array([i for i, clip in enumerate(self.clips) if clip.path in paths], np.int64)


def raw(settings: FrontendSettings) -> FrontendSettings:
    """The same transform without standardisation and clip."""
    return msgspec.structs.replace(settings, mean=(0.0,), std=(1.0,), clip=None)


def heard(path: Path, rate: int) -> Samples:
    """A recording as the device's model hears it: by way of the meter's rate, (n,) at `rate` Hz."""
    samples, own_rate = read_recording(path)
    return resample(resample(samples, own_rate, METER_RATE), METER_RATE, rate)


def looped(samples: Samples, length: int) -> Samples:
    """The samples, repeated up to `length` where they are shorter."""
    if not 0 < samples.size < length:
        return samples
    return np.ascontiguousarray(np.resize(samples, length))


def patches(clips: Sequence[Clip], root: Path, settings: FrontendSettings, cache: Path) -> Features:
    """Raw patches of each clip, as `evaluate` cuts them: clips shorter than a patch are looped."""
    front = Patches(raw(settings))

    def compute(samples: Samples) -> Samples:
        return front.batch(looped(samples, front.span))

    return cached("patches", clips, root, settings, cache, compute)


def frames(clips: Sequence[Clip], root: Path, settings: FrontendSettings, cache: Path) -> Features:
    """Raw log-mel frames of each clip, with one window of silence before and after it.

    The silence lets a mixture hold the beginning and the end of a sound.
    """
    front = Frames(msgspec.structs.replace(raw(settings), kind="logmel"))

    def compute(samples: Samples) -> Samples:
        return front.batch(np.pad(samples, settings.n_fft))

    return cached("frames", clips, root, settings, cache, compute)


def white_noise(settings: FrontendSettings) -> Samples:
    """(n_mels,) mean power of white noise at 0 dBFS RMS, by the front end itself."""
    noise = np.random.default_rng(0).standard_normal(20 * settings.rate).astype(np.float32)
    levels = Frames(msgspec.structs.replace(raw(settings), kind="logmel"), "exact").batch(noise)
    power: Samples = (10 ** (levels / 10)).mean(axis=0).astype(np.float32)
    return power


def level_dbfs(samples: Samples) -> float:
    """RMS over the whole, in dB re full scale; -200 for silence."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return 10.0 * float(np.log10(power + 1e-20))


def cached(
    kind: str,
    clips: Sequence[Clip],
    root: Path,
    settings: FrontendSettings,
    cache: Path,
    compute: Callable[[Samples], Samples],
) -> Features:
    """Rows of each clip, computed once for this front end and this list of recordings.

    Args:
        kind: What the rows are; part of the cache's name.
        clips: In the order of the rows.
        root: What their paths are relative to.
        settings: The front end that the rows belong to.
        cache: The folder.
        compute: From a clip's samples at the front end's rate to its rows, (n, *shape).

    Raises:
        BuildError: None of the clips can be used.
    """
    name = f"{kind}-{fingerprint(raw(settings))[:12]}-{audio_sha256(clips, root)[:12]}"
    path = cache / f"{name}.npz"
    if not path.is_file():
        _log.info("%s: computing %d clips", path, len(clips))
        cache.mkdir(parents=True, exist_ok=True)
        _save(path, clips, root, settings.rate, compute)
    with np.load(path, allow_pickle=False) as data:
        skipped = msgspec.json.decode(data["skipped"].tobytes(), type=tuple[Skip, ...])
        gone = {skip.path for skip in skipped}
        return Features(
            clips=tuple(clip for clip in clips if clip.path not in gone),
            rows=data["rows"],
            starts=data["starts"],
            rms_dbfs=data["rms_dbfs"],
            skipped=skipped,
        )


def _save(
    path: Path,
    clips: Sequence[Clip],
    root: Path,
    rate: int,
    compute: Callable[[Samples], Samples],
) -> None:
    rows: list[Halves] = []
    levels: list[float] = []
    skipped: list[Skip] = []
    for samples in _readable(clips, root, rate, skipped):
        rows.append(compute(samples).astype(np.float16))
        levels.append(level_dbfs(samples))
    if not rows:
        raise BuildError(
            f"none of {len(clips)} recordings can be used ({skipped[0].reason})",
            hint="Mend the first reason; all recordings of a manifest lie under one folder.",
        )
    starts = np.cumsum([0, *(len(part) for part in rows)], dtype=np.int64)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        rows=np.concatenate(rows),
        starts=starts,
        rms_dbfs=np.array(levels, np.float32),
        skipped=np.frombuffer(msgspec.json.encode(skipped), np.uint8),
    )
    partial.replace(path)


def _readable(
    clips: Sequence[Clip], root: Path, rate: int, skipped: list[Skip]
) -> Iterator[Samples]:
    for clip in clips:
        try:
            samples = heard(root / clip.path, rate)
        except AudioError as error:
            skipped.append(Skip(path=clip.path, reason=error.message))
            continue
        if samples.size:
            yield samples
        else:
            skipped.append(Skip(path=clip.path, reason="holds no sound"))


def audio_sha256(clips: Sequence[Clip], root: Path) -> str:
    """Names the audio, for a cache: paths in their order, with the size of each file."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.path} {(root / clip.path).stat().st_size}\n".encode())
    return digest.hexdigest()
