"""Where the shipped model, configurations and units are: in the wheel, or in the checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `models/`, `firmware_configs/` and `systemd/`."""
    installed = _PACKAGE / "data"
    return installed if installed.is_dir() else _PACKAGE.parent
