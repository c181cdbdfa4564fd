"""The grammar of names by which a sound card is found again after a reboot.

    hw:CARD=<id>[,DEV=n]
    usb:<vendor>:<product>[:<serial>][@<port>]

Apart from `capture`, so that the configuration refuses a slip of the pen before a microphone opens.
"""

import re
from typing import NamedTuple

_CARD = re.compile(r"hw:CARD=([A-Za-z0-9_-]+)(?:,DEV=(\d{1,3}))?")
_USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+?))?(?:@(\d+-\d+(?:\.\d+)*))?")
ALLOWED = "hw:CARD=<id>[,DEV=<number>] or usb:<vendor>:<product>[:<serial>][@<port>]"


class CardName(NamedTuple):
    """A card by the id that the kernel gave it."""

    card_id: str
    device: int


class UsbName(NamedTuple):
    """A card by what its USB device says, and where it is plugged in if that matters."""

    vendor: str
    product: str
    serial: str | None
    port: str | None


def parsed(name: str) -> CardName | UsbName | None:
    """What a stable name asks for; None for a name of another kind.

    Raises:
        ValueError: It begins as a stable name does, and goes on as none.
    """
    if name.startswith("hw:CARD="):
        if found := _CARD.fullmatch(name):
            return CardName(found[1], int(found[2] or 0))
    elif name.startswith("usb:"):
        if found := _USB.fullmatch(name):
            return UsbName(found[1].lower(), found[2].lower(), found[3], found[4])
    else:
        return None
    raise ValueError(f"{name!r} is no name of a sound card; write {ALLOWED}")
