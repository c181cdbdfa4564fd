"""A laboratory's calibration that came with the device's release, beside what was measured there.

`release.json` stands beside the configuration; the newer of the two dates wins, the device's own on
the same day. It is for a device of one microphone, as a row of the fleet's table has one value.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.calibrationfile import Decibel
from edge_agent.config import MicrophoneConfig
from edge_agent.records import Calibration

FILE: Final = "release.json"


class _Laboratory(msgspec.Struct, frozen=True):
    offset_db: Decibel
    date: datetime.date


class _Release(msgspec.Struct, frozen=True):
    """As much of the file."""

    calibration: _Laboratory | None = None


def calibrations(
    config: Path, microphones: Mapping[str, MicrophoneConfig]
) -> dict[str, Calibration]:
    """By microphone; none where no release brings one, or it cannot be read.

    Args:
        config: The file that the agent is started with.
        microphones: That it names.
    """
    if len(microphones) != 1:
        return {}
    try:
        found = msgspec.json.decode(config.with_name(FILE).read_bytes(), type=_Release).calibration
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    if found is None:
        return {}
    (name,) = microphones
    date = found.date.isoformat()
    return {name: Calibration(offset_db=found.offset_db, date=date, source="laboratory")}


def holds(brought: Calibration, measured: str | None) -> bool:
    """Whether what a release brings is in force.

    Args:
        brought: By the release.
        measured: The date of what was measured on the device, ISO 8601; None: nothing was.
    """
    return measured is None or brought.date > measured


def newest(
    measured: Mapping[str, Calibration], brought: Mapping[str, Calibration]
) -> dict[str, Calibration]:
    """What holds of both, by microphone.

    Args:
        measured: On the device.
        brought: By its release.
    """
    newer = {
        name: one
        for name, one in brought.items()
        if holds(one, measured[name].date if name in measured else None)
    }
    return {**measured, **newer}
