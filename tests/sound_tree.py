"""A kernel's sound cards as files: what /sys and /proc would hold for a tree of USB devices."""

from pathlib import Path

STREAM = """\
C-Media Electronics Inc. USB PnP Sound Device at usb-1, full speed : USB Audio

Playback:
  Status: Stop
  Interface 1
    Altset 1
    Format: S16_LE
    Channels: 2
    Rates: 8000, 32000
Capture:
  Status: Stop
  Interface 2
    Altset 1
    Format: S16_LE
    Channels: 1
    Endpoint: 0x82 (2 IN) (ASYNC)
    Rates: 48000, 44100
    Bits: 16
"""


class SoundTree:
    """Builds a root with `sys` and `proc` as the kernel lays them out, links included."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sound = root / "sys" / "class" / "sound"
        self._sound.mkdir(parents=True)

    def usb(
        self,
        index: int,
        card_id: str,
        port: str,
        *,
        vendor: str = "0d8c",
        product: str = "013c",
        serial: str | None = None,
        stream: str = STREAM,
    ) -> None:
        """Plug in a USB microphone."""
        device = self.root / "sys" / "devices" / "usb1" / port
        interface = device / f"{port}:1.0"
        interface.mkdir(parents=True)
        (device / "idVendor").write_text(f"{vendor}\n")
        (device / "idProduct").write_text(f"{product}\n")
        (device / "product").write_text("USB PnP Sound Device\n")
        if serial is not None:
            (device / "serial").write_text(f"{serial}\n")
        self.card(index, card_id, interface)
        self._proc(index, stream)

    def card(self, index: int, card_id: str, parent: Path | None = None, devices: int = 1) -> None:
        """Put in a card; by default one of the board."""
        parent = parent or self.root / "sys" / "devices" / "platform" / f"soc{index}"
        card = parent / "sound" / f"card{index}"
        card.mkdir(parents=True)
        (card / "id").write_text(f"{card_id}\n")
        (card / "device").symlink_to(Path("../../../") / parent.name)
        (self._sound / f"card{index}").symlink_to(card)
        for device in range(devices):
            for direction in "cp":
                pcm = card / f"pcmC{index}D{device}{direction}"
                pcm.mkdir()
                (self._sound / pcm.name).symlink_to(pcm)

    def unplug(self, index: int) -> None:
        """Take a card out."""
        for path in list(self._sound.iterdir()):
            if path.name == f"card{index}" or path.name.startswith(f"pcmC{index}D"):
                path.unlink()

    def record(self, index: int, pid: int) -> None:
        """Let a process record from the card's first device."""
        status = self._status(index)
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(f"state: RUNNING\nowner_pid   : {pid}\n")

    def _proc(self, index: int, stream: str) -> None:
        status = self._status(index)
        status.parent.mkdir(parents=True)
        status.write_text("closed\n")
        (self.root / "proc" / "asound" / f"card{index}" / "stream0").write_text(stream)

    def _status(self, index: int) -> Path:
        return self.root / "proc" / "asound" / f"card{index}" / "pcm0c" / "sub0" / "status"
