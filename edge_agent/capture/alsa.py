"""ALSA's configuration for a capture child that wants a card and no plugin.

PortAudio opens every PCM that has a name when it starts. Those that sound servers and codecs add
bring libraries of 14 MB with them, and a card that is named by its hardware needs none of them.
"""

import os
import re
from pathlib import Path

SYSTEM = Path("/usr/share/alsa/alsa.conf")
PATH = "ALSA_CONFIG_PATH"
"""By which ALSA is told, before it is loaded, what to read instead of `SYSTEM`."""
ADDED = re.compile(r"(?ms)^@hooks \[.*?^\]\n")
"""What loads the additions of packages, administrator and user; ALSA's own words on cards stand
below it."""


def leave_out_plugins(system: Path = SYSTEM) -> bool:
    """Let this process's ALSA read its own configuration without what others add to it.

    Returns:
        Whether it will. Not where the environment names a configuration, or this one looks
        otherwise than known.
    """
    if PATH in os.environ:
        return False
    try:
        text, found = ADDED.subn("", system.read_text())
    except (OSError, UnicodeDecodeError):
        return False
    if found != 1:
        return False
    # In memory: the child may write nowhere.
    with os.fdopen(os.memfd_create("alsa.conf"), "w", closefd=False) as file:
        file.write(text)
        os.environ[PATH] = f"/proc/self/fd/{file.fileno()}"
    return True
