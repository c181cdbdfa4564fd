"""A release of one device: what the office renders and delivers, and what the device takes."""

from typing import Final, Literal

import msgspec

SCHEMA: Final = 1
"""Of the configuration; grows when an older agent could not read it."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet's folder was when it was rendered."""

    commit: str
    clean: bool
    """Nothing in the folder differs from the commit."""


class Laboratory(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration that was made before the device went out."""

    offset_db: float
    date: str


class Release(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`release.json`."""

    device: str
    release: int
    config_sha256: str
    model: str
    model_sha256: str
    schema: int
    agent: str
    """The oldest agent that is known to read it."""
    source: Source | None
    """None: the folder is under no version control."""
    calibration: Laboratory | None
    sbom_sha256: str | None = None
    """Of the agent's bill of materials, which stays in the fleet's folder; left out without one."""


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is delivered: both files of a device, as texts, so that their bytes stay."""

    v: Literal[1] = 1
    config: str
    """`config.json`."""
    release: str
    """`release.json`."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What the signed list says about a parcel beside its length and hash."""

    release: int
    content: str
    """A hash of what would change on the device: equal contents are not delivered twice."""
    window_s: int
    """Devices spread their restarts over this time. Signed JSON has no fractions."""
