"""Sound cards as the kernel knows them: names that outlast a reboot, and what they lead to now.

The index of a card follows the order of discovery, so `hw:1,0` is another card after the next
boot. `hw:CARD=<id>[,DEV=n]` and `usb:<vendor>:<product>[:<serial>][@<port>]` stay; of two equal
microphones without a serial number only the port tells which is which. The capture child runs this
file, too: it imports nothing but the standard library.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.devicename import CardName, UsbName, parsed

ROOT = Path("/")
"""Where `sys` and `proc` are; tests bring a tree of their own."""

_CAPTURE = re.compile(r"pcmC(\d+)D(\d+)c")
_OWNER = re.compile(r"^owner_pid\s*:\s*(\d+)", re.M)
_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000, 176400)
RATES = (*_RATES, 192000)
"""Hz, that devices are asked for."""


class Place(NamedTuple):
    """Where a capture device is until the next boot."""

    card: int
    device: int

    def __str__(self) -> str:
        """As PortAudio's names end, without the parentheses."""
        return f"hw:{self.card},{self.device}"


class Usb(NamedTuple):
    """What a USB device says of itself, and where it is plugged in."""

    vendor: str
    product: str
    serial: str | None
    port: str
    """The bus and the ports on the way, like 1-1.2."""


class Capture(NamedTuple):
    """One capture device of a card."""

    place: Place
    card_id: str
    usb: Usb | None
    title: str
    """For people."""

    def names(self, others: "Sequence[Capture]") -> tuple[str, ...]:
        """Its names for the configuration; the port only where nothing else tells it apart."""
        device = f",DEV={self.place.device}" if self.place.device else ""
        names = [f"hw:CARD={self.card_id}{device}"]
        # A USB name means the card's first device.
        if self.usb is not None and self.place.device == 0:
            name = f"usb:{self.usb.vendor}:{self.usb.product}"
            name += f":{self.usb.serial}" if self.usb.serial else ""
            if len([one for one in others if _is(one, name)]) > 1:
                name += f"@{self.usb.port}"
            names.append(name)
        return tuple(names)


def captures(root: Path = ROOT) -> list[Capture]:
    """All capture devices, in the order of their places."""
    return sorted(_captures(root / "sys" / "class" / "sound"))


def find(name: str, root: Path = ROOT) -> Place | None:
    """The place of a stable name; None for a name of another kind, to be taken as it stands.

    Raises:
        LookupError: No card has the name, or more than one.
    """
    if parsed(name) is None:
        return None
    known = captures(root)
    found = [capture for capture in known if _is(capture, name)]
    if len(found) == 1:
        return found[0].place
    if found:
        ports = " or ".join(f"@{one.usb.port}" for one in found if one.usb is not None)
        raise LookupError(f"{len(found)} sound cards have this name; add {ports}")
    names = [name for capture in known for name in capture.names(known)]
    raise LookupError(f"no sound card has this name; there are: {', '.join(names) or 'none'}")


def owner(place: Place, root: Path = ROOT) -> int | None:
    """The process that records from it."""
    folder = root / "proc" / "asound" / f"card{place.card}" / f"pcm{place.device}c"
    found = _OWNER.search(_text(folder / "sub0" / "status") or "")
    return int(found[1]) if found else None


def usb_rates(place: Place, root: Path = ROOT) -> tuple[int, ...] | None:
    """The rates, Hz, that a USB device offers by its descriptors; None where nobody says."""
    stream = _text(root / "proc" / "asound" / f"card{place.card}" / f"stream{place.device}") or ""
    _, _, capture = stream.partition("\nCapture:")
    rates: set[int] = set()
    for text in re.findall(r"^\s*Rates: (.+)$", capture, re.M):
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        if "continuous" in text:
            rates.update(rate for rate in RATES if numbers[0] <= rate <= numbers[-1])
        else:
            rates.update(numbers)
    return tuple(sorted(rates)) or None


def place_in(title: str) -> Place | None:
    """The place that PortAudio's name of a device ends with; a plugin's name has none."""
    found = re.search(r"\(hw:(\d+),(\d+)\)$", title)
    return Place(int(found[1]), int(found[2])) if found else None


def number(place: Place, titles: Sequence[str]) -> int | None:
    """Which of PortAudio's devices, by their names, is at the place; None: it offers none there."""
    places = [place_in(title) for title in titles]
    return places.index(place) if place in places else None


def _captures(folder: Path) -> Iterator[Capture]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _CAPTURE.fullmatch(path.name)
        card_id = _text(folder / f"card{match[1]}" / "id") if match else None
        if match is None or card_id is None:
            continue
        interface = (folder / f"card{match[1]}" / "device").resolve()
        usb = _usb(interface.parent)
        title = _text(interface.parent / "product") if usb else None
        yield Capture(Place(int(match[1]), int(match[2])), card_id, usb, title or card_id)


def _usb(folder: Path) -> Usb | None:
    vendor, product = _text(folder / "idVendor"), _text(folder / "idProduct")
    if vendor is None or product is None:
        return None
    return Usb(vendor, product, _text(folder / "serial") or None, folder.name)


def _is(capture: Capture, name: str) -> bool:
    wanted = parsed(name)
    if isinstance(wanted, CardName):
        return (capture.card_id, capture.place.device) == (wanted.card_id, wanted.device)
    usb = capture.usb
    if not isinstance(wanted, UsbName) or usb is None or capture.place.device != 0:
        return False
    return (
        (usb.vendor, usb.product) == (wanted.vendor, wanted.product)
        and wanted.serial in (None, usb.serial)
        and wanted.port in (None, usb.port)
    )


def _text(path: Path) -> str | None:
    # A card may be pulled out between two looks.
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
