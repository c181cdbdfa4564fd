"""Whether the device can do what a laboratory's configuration asks, and if not, why.

What goes into a bundle is a front end's record, and `frontend` is the only way to it from a
configuration: what needs the whole clip, or what the agent does not compute, is refused here.
"""

import msgspec

from edge_agent.config import FrontendSettings
from edge_agent.errors import BuildError
from edge_agent.frontend import check
from model_build import clipfeatures, steps
from model_build.labconfig import LabConfig, Statistic, transform

_KINDS: dict[tuple[Statistic, ...] | None, str] = {
    None: "mfcc",
    ("mean",): "mfcc_mean",
    ("mean", "std", "delta_rms"): "mfcc_stats",
}


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the device cannot follow."""

    key: str
    why: str

    def __str__(self) -> str:
        """As a part of a sentence."""
        return f"{self.key}: {self.why}"


def obstacles(config: LabConfig) -> tuple[Obstacle, ...]:
    """All that keeps a configuration from the device, in the order of its settings."""
    found: list[tuple[str, str]] = []
    if config.steps.resample.way == "direct":
        found.append(("steps.resample.way", "the device hears by way of 48 kHz"))
    found += [
        (f"steps.{step.name}", f"needs the whole clip: {step.whole_clip}")
        for step in steps.chosen(config.steps)
        if step.whole_clip
    ]
    if config.grid.center:
        found.append(("grid.center", "needs the whole clip: frames reach beyond its ends"))
    features = clipfeatures.chosen(config)
    for feature in features:
        key = f"features.{feature.name}"
        if feature.whole_clip:
            found.append((key, f"needs the whole clip: {feature.whole_clip}"))
        if feature.not_there:
            found.append((key, feature.not_there))
    if len(features) > 1:
        found.append(("features", "the device gives log-mel levels or MFCCs, one kind at a time"))
    if config.patches is None:
        found.append(("patches", "rows are whole clips, and the device's sound has no end"))
    if config.summary is not None and (
        config.features.mfcc is None or config.summary not in _KINDS
    ):
        found.append(
            (
                "summary",
                "the device sums up MFCCs alone, as [mean] or as [mean, std, delta_rms]",
            )
        )
    if not found:
        found += _of_the_front_end(config)
    return tuple(Obstacle(key=key, why=why) for key, why in found)


def frontend(config: LabConfig) -> FrontendSettings:
    """The device's front end that gives the same rows, not yet standardised.

    Raises:
        BuildError: The device cannot: says every setting that is in the way, and why.
    """
    found = obstacles(config)
    if found:
        raise BuildError(
            "this is not for a device bundle:" + "".join(f"\n  {one}" for one in found),
            hint="Change these settings for a model that shall run on the device; `device` is a "
            "shipped configuration that can.",
        )
    return _front(config)


def _front(config: LabConfig) -> FrontendSettings:
    mfcc = config.features.mfcc
    if mfcc is None:
        assert config.features.mel is not None, "nothing else is left"
        return transform(config, config.features.mel)
    return msgspec.convert(
        {
            **msgspec.to_builtins(transform(config, mfcc.mel)),
            "kind": _KINDS[config.summary],
            "n_mfcc": mfcc.n,
            "lifter": mfcc.lifter,
        },
        FrontendSettings,
    )


def _of_the_front_end(config: LabConfig) -> list[tuple[str, str]]:
    try:
        check(_front(config))
    except ValueError as error:
        return [("features", str(error))]
    return []
