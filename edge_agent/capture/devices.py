"""Which capture devices there are: the kernel's cards, and what PortAudio knows of them."""

from pathlib import Path

import msgspec

from edge_agent.capture import cards
from edge_agent.capture.cards import ROOT, Capture, Place
from edge_agent.capture.process import listing


class CaptureDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that `microphones.<name>.device` can name."""

    device: str
    """The name to use, which stays the same after a reboot."""
    also: tuple[str, ...] = ()
    """Other names that stay."""
    title: str
    channels: int | None
    """None: PortAudio cannot open it, so nobody says."""
    rates: tuple[int, ...] | None
    """Hz, that the hardware itself takes; None: any, or nobody says."""
    resampled_by: str | None = None
    """The plugin that takes any rate and converts."""
    in_use_by: int | None = None
    """The process that records from it."""


class _Offered(msgspec.Struct, frozen=True):
    """What the child says of one of PortAudio's devices."""

    title: str
    channels: int
    place: tuple[int, int] | None = None
    rates: tuple[int, ...] | None = None
    plugin: str | None = None


def devices(root: Path = ROOT) -> list[CaptureDevice]:
    """All capture devices: the cards first, then the plugins.

    Args:
        root: Where `sys` and `proc` are.

    Raises:
        DeviceError: PortAudio cannot be used.
    """
    lines = listing(root).splitlines()
    offered = [msgspec.json.decode(line, type=_Offered) for line in lines]
    by_place = {Place(*one.place): one for one in offered if one.place is not None}
    captures = cards.captures(root)
    hardware = [_hardware(one, captures, by_place.get(one.place), root) for one in captures]
    plugins = [
        CaptureDevice(
            device=one.title,
            title=one.title,
            channels=one.channels,
            rates=None,
            resampled_by=one.plugin,
        )
        for one in offered
        if one.plugin is not None
    ]
    return hardware + plugins


def _hardware(
    capture: Capture, captures: list[Capture], offered: _Offered | None, root: Path
) -> CaptureDevice:
    device, *also = capture.names(captures)
    asked = offered.rates if offered else None
    return CaptureDevice(
        device=device,
        also=tuple(also),
        title=capture.title,
        channels=offered.channels if offered else None,
        # A USB device's own word: asked by opening it, a driver may say yes to too much.
        rates=cards.usb_rates(capture.place, root) or asked or None,
        in_use_by=cards.owner(capture.place, root),
    )
