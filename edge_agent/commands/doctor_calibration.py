"""What turns each microphone's dBFS into decibels, as `doctor` finds it."""

from edge_agent import calibrationfile, delivered
from edge_agent.calibrationfile import FILE, Entry, device_of
from edge_agent.commands.finding import Finding, fault, ok, refused, there, warning
from edge_agent.config import MicrophoneConfig
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import StoreError
from edge_agent.records import Calibration

_CHECK = "calibration"


def calibrations(loaded: LoadedConfig | None) -> list[Finding]:
    """Of each microphone of the configuration."""
    if loaded is None:
        return [ok(_CHECK, "not looked for: no configuration names a microphone")]
    folder = loaded.path.parent / loaded.config.state_dir
    if there(folder / FILE) is None:
        return [warning(_CHECK, f"you may not look into {folder}", "Do this as root.")]
    try:
        entries = calibrationfile.read(folder)
    except StoreError as error:
        return [refused(_CHECK, error)]
    brought = delivered.calibrations(loaded.path, loaded.config.microphones)
    return [
        _one(name, settings, entries.get(name), brought.get(name))
        for name, settings in loaded.config.microphones.items()
    ]


def _one(
    name: str, settings: MicrophoneConfig, entry: Entry | None, brought: Calibration | None
) -> Finding:
    if brought is not None and delivered.holds(brought, entry.date if entry else None):
        words = f"{brought.offset_db:.2f} dB ({brought.source}, {brought.date}), by its release"
        return ok(_CHECK, f"{name}: {words}")
    if entry is None:
        return ok(_CHECK, f"{name}: none, so its levels are in dBFS")
    offset = f"{name}: {entry.offset_db:.2f} dB ({entry.source}, {entry.date})"
    if entry.fits(settings):
        return ok(_CHECK, offset)
    made = f"made with {entry.device}, channel {entry.channel}"
    now = f"{device_of(settings)}, channel {settings.channel}"
    todo = f"Calibrate it again: sudo edge-agent calibrate --microphone {name} --level 94"
    return fault(_CHECK, f"{offset} does not hold: it was {made}, and this is {now}", todo)
