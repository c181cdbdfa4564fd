"""The agent's bill of materials: what a release's devices run beside their settings.

CycloneDX 1.6 as JSON, as cyclonedx-py writes it. The office keeps the file with the folder, in git;
each `release.json` holds its hash.
"""

import hashlib
from pathlib import Path
from typing import Final, Literal

import msgspec

HINT: Final = "Write it by `cyclonedx-py environment`, of what the devices have installed."


class _Bill(msgspec.Struct, frozen=True, rename={"form": "bomFormat"}):
    form: Literal["CycloneDX"]


def problem(path: Path) -> str | None:
    """Why a file cannot be one; None: it can."""
    try:
        msgspec.json.decode(path.read_bytes(), type=_Bill)
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    except msgspec.MsgspecError as error:
        return f"{path.name}: is no CycloneDX as JSON: {error}"
    return None


def sha256(path: Path) -> str:
    """Of one that `problem` has nothing against."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
