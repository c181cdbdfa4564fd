"""What a configuration does to one recording, step by step, and which of it the device can do."""

from pathlib import Path

import msgspec
import numpy as np

from edge_agent.records import Samples
from model_build import devicefit, steps
from model_build.devicefit import Obstacle
from model_build.features import level_dbfs
from model_build.labconfig import LabConfig
from model_build.labrows import Maker
from model_build.steps import Sound


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A clip after a step."""

    step: str
    rate: int
    samples: int
    peak_dbfs: float
    rms_dbfs: float


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """What a feature gave: over all its values of all frames."""

    feature: str
    values: int
    """In a frame."""
    least: float
    mean: float
    most: float


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One recording's way to a model."""

    recording: str
    stages: tuple[Stage, ...]
    frames: int
    features: tuple[Column, ...]
    rows: tuple[int, ...]
    """Rows, and the shape of one."""
    not_for_the_device: tuple[Obstacle, ...]


def describe(path: Path, config: LabConfig) -> Description:
    """Prepare one recording and say what each step and each feature made of it.

    Raises:
        AudioError: It cannot be read.
    """
    maker = Maker(config)
    sound = steps.load(path)
    stages = [_stage("load", sound)]
    for step in maker.steps:
        sound = step.run(sound)
        stages.append(_stage(step.name, sound))
    frames = maker.frames(sound)
    return Description(
        recording=path.name,
        stages=tuple(stages),
        frames=len(frames),
        features=_columns(frames, maker),
        rows=maker.rows_of(sound).shape,
        not_for_the_device=devicefit.obstacles(config),
    )


def as_text(found: Description) -> str:
    """For people."""
    width = max(len(one.feature) for one in found.features)
    width = max(width, *(len(one.step) for one in found.stages))
    lines = [f"{'step':{width}}  rate, Hz  samples  seconds  peak dBFS  RMS dBFS"]
    lines += [
        f"{one.step:{width}}  {one.rate:8}  {one.samples:7}  {one.samples / one.rate:7.3f}  "
        f"{one.peak_dbfs:9.1f}  {one.rms_dbfs:8.1f}"
        for one in found.stages
    ]
    lines += ["", f"{'feature':{width}}  values       least        mean        most"]
    lines += [
        f"{one.feature:{width}}  {one.values:6}  {one.least:10.4g}  {one.mean:10.4g}  "
        f"{one.most:10.4g}"
        for one in found.features
    ]
    shape = " x ".join(map(str, found.rows[1:]))
    lines += ["", f"{found.frames} frames; {found.rows[0]} row(s) of {shape}", ""]
    if found.not_for_the_device:
        lines.append("not for the device:")
        lines += [f"  {one}" for one in found.not_for_the_device]
    else:
        lines.append("the device computes the same")
    return "\n".join(lines)


def _stage(name: str, sound: Sound) -> Stage:
    peak = float(np.abs(sound.samples).max(initial=0.0))
    return Stage(
        step=name,
        rate=sound.rate,
        samples=sound.samples.size,
        peak_dbfs=20.0 * float(np.log10(peak + 1e-10)),
        rms_dbfs=level_dbfs(sound.samples),
    )


def _columns(frames: Samples, maker: Maker) -> tuple[Column, ...]:
    found = []
    first = 0
    for feature in maker.features:
        values = frames[:, first : first + len(feature.columns)]
        first += len(feature.columns)
        found.append(
            Column(
                feature=feature.name,
                values=len(feature.columns),
                least=float(values.min()),
                mean=float(values.mean()),
                most=float(values.max()),
            )
        )
    return tuple(found)
