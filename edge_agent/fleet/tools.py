"""Other people's programs that the office's work is done with; what they say when they refuse.

Secrets go to them and come from them through pipes, never through arguments, which every user of
the machine can read, and never through files.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_agent.errors import EarshotError

_PACKAGES: Final = {
    "age": "age",
    "mcopy": "mtools",
    "mdir": "mtools",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "openssl": "openssl",
    "sfdisk": "fdisk",
}
"""Programs, and the Debian packages that have them."""
_ELSEWHERE: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Not on every user's path."""


class ToolError(EarshotError):
    """A program ended with an error.

    Args:
        message: What it was asked, and what it said.
        hint: What to do.
        said: All of its words.
    """

    def __init__(self, message: str, *, hint: str, said: str) -> None:
        super().__init__(message, hint=hint)
        self.said = said


def run(
    command: Sequence[str],
    *,
    doing: str,
    given: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hint: str = "Mend that, and do it again.",
) -> bytes:
    """What a program writes to its standard output.

    Args:
        command: The program and its arguments; a `~` that begins one is the home.
        doing: For the message, like "cards/market-01: the key was not decrypted".
        given: Its standard input.
        cwd: Where it works.
        environment: All of its variables; None: ours.
        hint: What to do when it refuses.

    Raises:
        ToolError: It ended with an error.
        EarshotError: It is not there.
    """
    name, *arguments = command
    try:
        program = found(name)
        done = subprocess.run(
            [
                program,
                *(str(Path(one).expanduser()) if one[:1] == "~" else one for one in arguments),
            ],
            input=given,
            capture_output=True,
            check=False,
            cwd=cwd,
            env=None if environment is None else dict(environment),
        )
    except OSError as error:
        raise EarshotError(
            f"{doing}: {name} cannot be started: {error.strerror}", hint="Name a program."
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ToolError(f"{doing}: {name}: {_first(said)}", hint=hint, said=said)
    return done.stdout


def found(name: str) -> str:
    """Where a program is.

    Raises:
        EarshotError: It is not there.
    """
    program = shutil.which(name) or shutil.which(name, path=_ELSEWHERE)
    if program is None:
        package = _PACKAGES.get(name)
        raise EarshotError(
            f"{name}: there is no such program",
            hint=f"sudo apt-get install {package}" if package else "Install it, or name another.",
        )
    return program


def _first(said: str) -> str:
    return said.splitlines()[0] if said else "it said nothing"
