"""`edge-agent devices`: what a microphone's `device` can be here."""

import sys
from pathlib import Path

import msgspec

from edge_agent.capture.cards import ROOT
from edge_agent.capture.devices import CaptureDevice, devices

_NONE = (
    "No capture device. Is the microphone plugged in (`lsusb`, `arecord -l`), and is this user in "
    "the group audio (`id`)?"
)


def show_devices(*, as_json: bool, root: Path = ROOT) -> int:
    """Print the capture devices.

    Args:
        as_json: One object a line instead of text.
        root: Where `sys` and `proc` are.

    Returns:
        The exit code: to find none is an answer, too.

    Raises:
        DeviceError: PortAudio cannot be used.
    """
    found = devices(root)
    for device in found:
        print(msgspec.json.encode(device).decode() if as_json else _told(device))
    if not found:
        print(_NONE, file=sys.stderr if as_json else sys.stdout)
    return 0


def _told(device: CaptureDevice) -> str:
    facts = [device.title] if device.title != device.device else []
    if device.channels is not None:
        facts.append(f"{device.channels} channel{'s' if device.channels > 1 else ''}")
    if device.resampled_by is not None:
        facts.append(f"resampled by {device.resampled_by}")
    elif device.rates is not None:
        facts.append(f"{', '.join(map(str, device.rates))} Hz")
    else:
        facts.append("rates unknown")
    if device.in_use_by is not None:
        facts.append(f"in use by process {device.in_use_by}")
    elif device.channels is None:
        facts.append("cannot be opened: is this user in the group audio?")
    lines = [f"{device.device}: {', '.join(facts)}"]
    return "\n".join([*lines, *(f"  or {name}" for name in device.also)])
