"""`edge-agent fleet flash`: a device's seed, onto a boot partition, into an image or a folder."""

import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from edge_agent.commands.office import config_of, fleet_of, refuse_errors
from edge_agent.errors import ConfigError, EarshotError
from edge_agent.fleet import credentials, revision, seed, trust
from edge_agent.fleet.bootpartition import Image, Mounted, recognised
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.differing import count
from edge_agent.fleet.identity import Authority
from edge_agent.fleet.inventory import Device, selected
from edge_agent.fleet.rendering import Renderer
from edge_agent.fleet.secrets import Secrets
from edge_agent.fleet.seed import Order, Seed, System

_PACKED = (".xz", ".gz", ".zip", ".zst", ".bz2")


class Seeds:
    """Makes the seeds of a fleet's devices.

    Args:
        fleet: Without errors.

    Raises:
        ConfigError: The devices shall take updates and could not.
    """

    def __init__(self, fleet: Fleet) -> None:
        folder = fleet.folder
        self._fleet = fleet
        self._secrets = Secrets(folder.path, folder.settings.secrets)
        self._authority = Authority(folder.path, self._secrets)
        self._renderer = Renderer(fleet, revision.source(folder.path, folder.path / "build"))
        self._updates_root = trust.root(folder)
        self._passphrases: dict[str, str] = {}

    def made(self, device: Device, system: System) -> Seed:
        """A device's seed.

        Raises:
            EarshotError: A secret or certificate of it is not there.
        """
        config = config_of(self._fleet, device)
        rendered = self._renderer.render(device)
        site = self._fleet.combination(device).layer("sites")
        wifi = None if site is None else site.notes.wifi
        return seed.made(
            Order(
                device=device.name,
                release=self._fleet.folder.settings.release,
                system=system,
                timezone=config.site.timezone,
                config=rendered.config,
                release_file=rendered.release,
                credentials=credentials.gathered(
                    device.name, config, self._authority, self._secrets
                ),
                flash=self._fleet.folder.settings.flash,
                updates=self._fleet.folder.settings.updates,
                updates_root=self._updates_root,
                wifi=wifi,
                passphrase=None if wifi is None else self._passphrase(device.site),
            )
        )

    def _passphrase(self, site: str) -> str:
        if site not in self._passphrases:
            name = f"wifi/{site}"
            text = self._secrets.read(name).decode("utf-8", errors="replace")
            self._passphrases[site] = text.rstrip("\r\n")
        return self._passphrases[site]


def onto_boot(
    path: Path | None, name: str, boot: Path, system: System | None, *, dry_run: bool
) -> None:
    """Write a device's seed onto a mounted boot partition."""
    fleet, device = _one(path, name)
    partition = Mounted(boot)
    found = recognised(partition, boot, system)
    made = Seeds(fleet).made(device, found)
    print(f"{boot}: {seed.SYSTEMS[found]}")
    if not dry_run:
        partition.write(made.files())
    _tell(made, fleet, device, dry_run=dry_run)
    _next_steps(fleet)


def into_image(
    path: Path | None,
    name: str,
    image: Path,
    out: Path,
    system: System | None,
    *,
    dry_run: bool,
) -> None:
    """Copy an image, and write a device's seed into the copy."""
    fleet, device = _one(path, name)
    if image.suffix in _PACKED:
        raise ConfigError(f"{image}: is packed", hint=f"Unpack it first, as by unxz {image}.")
    if not image.is_file():
        raise ConfigError(f"{image}: there is no such file", hint="Name the image of a card.")
    if out.exists() and (not out.is_file() or out.samefile(image)):
        raise ConfigError(
            f"{out}: is the image itself, a folder or a device",
            hint="Name a file that will be made; dd or Raspberry Pi Imager writes it to a card.",
        )
    found = recognised(Image(image, image), image, system)
    made = Seeds(fleet).made(device, found)
    print(f"{image}: {seed.SYSTEMS[found]}")
    if not dry_run:
        _copied(image, out, made)
    _tell(made, fleet, device, dry_run=dry_run)
    _next_steps(fleet)


def into_folder(
    path: Path | None,
    chosen: Sequence[str],
    out: Path,
    system: System,
    *,
    dry_run: bool,
) -> None:
    """Write seeds into a folder for each device, with a table of them all."""
    fleet = fleet_of(path)
    refuse_errors(fleet)
    devices = selected(fleet.devices, chosen)
    seeds = Seeds(fleet)
    for device in devices:
        made = seeds.made(device, system)
        if not dry_run:
            _write_private(out / device.name, made)
    done = "would be written" if dry_run else "written"
    print(f"{count(len(devices))} {done} to {out}, for {seed.SYSTEMS[system]}")
    if not dry_run:
        (out / "sheet.csv").write_text(_sheet(devices), encoding="utf-8")
    folder = out / (devices[0].name if len(devices) == 1 else "DEVICE")
    print("Next, for each card:")
    print(
        f"  rpi-imager --cli --cloudinit-userdata {folder}/user-data "
        f"--cloudinit-networkconfig {folder}/network-config IMAGE CARD"
    )
    _next_steps(fleet)


def _one(path: Path | None, name: str) -> tuple[Fleet, Device]:
    fleet = fleet_of(path)
    refuse_errors(fleet)
    for device in fleet.folder.inventory.devices:
        if device.name == name and device.state == "retired":
            raise ConfigError(
                f"{device.place('state')}: {name} is retired",
                hint="Its name, topics and history are over; give the card another one.",
            )
    devices = selected(fleet.devices, [name])
    if len(devices) > 1:
        raise ConfigError(
            f"{name}: fits {count(len(devices))}, and a card is one of them",
            hint="Name one, or write folders: --out DIR without --image.",
        )
    return fleet, devices[0]


def _copied(image: Path, out: Path, made: Seed) -> None:
    """The image with the seed, under its name only when it is whole; secrets are for us alone."""
    beside = out.with_name(f".{out.name}.new")
    try:
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            shutil.copyfile(image, beside)
            Image(beside, out).write(made.files())
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise EarshotError(
            f"{error.filename or out}: {error.strerror}",
            hint="Name a file in a folder that has room for the image and that you may write to.",
        ) from error


def _write_private(folder: Path, made: Seed) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        Mounted(folder).write(made.files())
    except OSError as error:
        raise EarshotError(
            f"{folder}: {error.strerror}", hint="Name a folder that you may write to."
        ) from error


def _tell(made: Seed, fleet: Fleet, device: Device, *, dry_run: bool) -> None:
    done = "would be written" if dry_run else "written"
    names = ", ".join(made.files())
    print(f"{device.name}, release {fleet.folder.settings.release}: {names} {done}")


def _next_steps(fleet: Fleet) -> None:
    if not fleet.folder.settings.flash.ssh_keys:
        print("note: flash.ssh_keys of fleet.yaml is empty, so that nobody can log in there")


def _sheet(devices: Sequence[Device]) -> str:
    """What is printed and laid beside the cards."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("device", "board", "mic", "site", "serial", "lat", "lon", "note"))
    for one in devices:
        writer.writerow(
            (one.name, one.board, one.mic, one.site, one.serial, one.lat, one.lon, one.note)
        )
    return out.getvalue()
