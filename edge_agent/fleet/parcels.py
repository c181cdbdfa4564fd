"""From a fleet's folder to what is published: a parcel for each device, the models they name."""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from edge_agent.configfile import find_model
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.rendering import Renderer, canonical
from edge_agent.fleet.targets import Target
from edge_agent.release import Offer, Parcel, Release

WINDOW_S: Final = 600


class _Model(msgspec.Struct, frozen=True):
    path: str = "models/street"


class _Settings(msgspec.Struct, frozen=True):
    model: _Model = _Model()


def targets(
    fleet: Fleet, renderer: Renderer, devices: Sequence[Device], window_s: int = WINDOW_S
) -> Iterator[Target]:
    """Each model before the first device that needs it.

    Args:
        fleet: Without errors.
        renderer: Of it.
        devices: Those that are published.
        window_s: Over which they spread their restarts.

    Raises:
        EarshotError: A model is not there.
    """
    packed: set[str] = set()
    for device in devices:
        config, release = renderer.release(device)
        text = msgspec.json.decode(config, type=_Settings).model.path
        name = f"models/{release.model}-{release.model_sha256}.tar"
        if name not in packed and not PurePosixPath(text).is_absolute():
            packed.add(name)
            folder = find_model(text, fleet.folder.path)
            yield Target(path=name, data=pack(folder), offer=None)
        parcel = Parcel(config=config.decode(), release=canonical(release).decode())
        yield Target(
            path=f"devices/{device.name}.json",
            data=msgspec.json.encode(parcel),
            offer=Offer(release=release.release, content=content(release), window_s=window_s),
        )


def pack(folder: Path) -> bytes:
    """A folder as tar, the same bytes from the same files: no times, no owners, sorted."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as files:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o644
            files.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def content(release: Release) -> str:
    """Of what would change on the device; the number and the commit would not."""
    of = msgspec.structs.replace(release, release=0, source=None, agent="", sbom_sha256=None)
    return hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:32]
