"""The shipped bundle, copied for damage, and mended so far that one fault is left."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge_agent import resources
from edge_agent.bundle import Bundle, load
from edge_agent.config import FrontendSettings
from edge_agent.frontend import fingerprint

Plain = dict[str, Any]


def copied(parent: Path) -> Path:
    """A copy of the shipped bundle below `parent`, with thresholds as before `certify`."""
    folder = parent / "street"
    shutil.copytree(resources.root() / "models" / "street", folder)
    edit_model(folder, _uncertified)
    return folder


def uncertified() -> Bundle:
    """The shipped bundle with thresholds as before `certify`: tests know them."""
    shipped = load(resources.root() / "models" / "street")
    labels = tuple(
        msgspec.structs.replace(
            label, on=0.5, off=0.35, n=1 if label.impulsive else 2, m=1 if label.impulsive else 3
        )
        for label in shipped.labels
    )
    return msgspec.structs.replace(shipped, labels=labels, thresholds=None)


def _uncertified(plain: Plain) -> None:
    plain.pop("thresholds", None)
    for label in plain["labels"]:
        n, m = (1, 1) if label["impulsive"] else (2, 3)
        label.update(on=0.5, off=0.35, n=n, m=m)


def edit(path: Path, change: Callable[[Plain], object]) -> None:
    """Change a JSON file's object in place."""
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def edit_model(folder: Path, change: Callable[[Plain], object]) -> None:
    """Change `model.json`."""
    edit(folder / "model.json", change)


def edit_certificate(folder: Path, change: Callable[[Plain], object]) -> None:
    """Change `certificate.json`."""
    edit(folder / "certificate.json", change)


def change_frontend(folder: Path, **changes: object) -> None:
    """Give the bundle another front end and bind it everywhere, so that no hash tells."""

    def rebind(plain: Plain) -> None:
        plain["frontend_sha256"] = sha256

    settings = json.loads((folder / "model.json").read_text())["frontend"] | changes
    sha256 = fingerprint(msgspec.convert(settings, FrontendSettings))
    edit_model(folder, lambda plain: plain.update(frontend=settings))
    edit_model(folder, rebind)
    edit_certificate(folder, rebind)


def replace_golden(folder: Path, content: bytes) -> None:
    """Put other golden vectors in place, with their hash in `model.json`."""
    (folder / "golden.npz").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    edit_model(folder, lambda plain: plain.update(golden_sha256=sha256))
