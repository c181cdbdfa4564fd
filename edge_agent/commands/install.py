"""`edge-agent install` and `uninstall`: the systemd service, put in place and taken away.

The files are the shipped ones of `systemd/`; only the path of the agent is filled in. The service
is enabled by its link, as `systemctl enable` would, so that it works on a system that does not
run: an image, a chroot. Configuration, credentials and state belong to the user and are never
overwritten or removed.
"""

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_agent import configfile, resources, seedfiles
from edge_agent.commands import install_updates
from edge_agent.commands.tree import Tree
from edge_agent.errors import InstallError

UNIT = "earshot-agent.service"
_UNITS = "/etc/systemd/system"
UNIT_PATH = f"{_UNITS}/{UNIT}"
LINK = f"{_UNITS}/multi-user.target.wants/{UNIT}"
_DROP_INS = f"{UNIT_PATH}.d"
CREDENTIALS_PATH = f"{_DROP_INS}/50-credentials.conf"
SYSUSERS_PATH = "/etc/sysusers.d/earshot.conf"
TMPFILES_PATH = "/etc/tmpfiles.d/earshot.conf"
_CONFIG_PATH = "/etc/earshot/agent.yaml"
PASSWORD_PATH = f"{seedfiles.CREDENTIALS}/mqtt-password"
_HANDED_OVER = "LoadCredential="
_SHIPPED_AGENT = "/usr/local/bin/edge-agent"

_HIDDEN = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108
"""What ProtectHome= and PrivateTmp= keep from the service."""
_ELSEWHERE = (
    "Install it below /opt: sudo python3 -m venv /opt/earshot && "
    "sudo /opt/earshot/bin/pip install PATH/TO/EARSHOT"
)
_RUNNING = Path("/run/systemd/system")


def install(root: Path, config_path: Path | None, *, dry_run: bool) -> None:
    """Put the service in place.

    Args:
        root: Of the system: `/`, or where an image is mounted.
        config_path: The device's configuration; None: a commented sample. One in JSON is
            installed as such.
        dry_run: Only tell.

    Raises:
        InstallError: The system is 32-bit, the service could not start there, or the files cannot
            be written.
        ConfigError: There is something wrong in `config_path`.
    """
    refuse_32_bit(platform.machine(), sixty_four=sys.maxsize > 2**32)
    with _explained("install", root, dry_run=dry_run):
        agent = _agent(root)
        tree = Tree(root, dry_run=dry_run)
        place = seedfiles.CONFIG if config_path and config_path.suffix == ".json" else _CONFIG_PATH
        config = _config(tree, place, config_path)
        unit = _shipped(UNIT).replace(_SHIPPED_AGENT, _quoted(agent)).replace(_CONFIG_PATH, place)
        tree.put(SYSUSERS_PATH, _shipped("earshot.sysusers"))
        tree.put(TMPFILES_PATH, _shipped("earshot.tmpfiles"))
        tree.put_once(place, config)
        tree.put(UNIT_PATH, unit)
        there = [path for path in credentials() if tree.at(path).exists()]
        if there:
            tree.put(CREDENTIALS_PATH, handing_over(there))
        else:
            # With a line for what is not there the service would not start.
            tree.remove(CREDENTIALS_PATH)
        install_updates.put(tree, lambda text: text.replace(_SHIPPED_AGENT, _quoted(agent)))
        tree.link(LINK, UNIT_PATH)
        if is_live(root):
            _run(["systemd-sysusers", SYSUSERS_PATH], dry_run=dry_run)
            _run(["systemd-tmpfiles", "--create", TMPFILES_PATH], dry_run=dry_run)
            _run(["systemctl", "daemon-reload"], dry_run=dry_run)
    print(_after_install(root, place, tree.changed))


def uninstall(root: Path, *, dry_run: bool) -> None:
    """Stop the service and take away what `install` put there.

    Args:
        root: Of the system: `/`, or where an image is mounted.
        dry_run: Only tell.

    Raises:
        InstallError: A file cannot be removed, or the service not stopped.
    """
    with _explained("uninstall", root, dry_run=dry_run):
        tree = Tree(root, dry_run=dry_run)
        live = is_live(root) and tree.at(UNIT_PATH).is_file()
        if live:
            if tree.at(install_updates.TIMER_PATH).is_file():
                _run(["systemctl", "stop", install_updates.TIMER], dry_run=dry_run)
            _run(["systemctl", "stop", UNIT], dry_run=dry_run)
        tree.unlink(LINK, UNIT_PATH)
        install_updates.remove(tree)
        for path in (CREDENTIALS_PATH, UNIT_PATH, TMPFILES_PATH, SYSUSERS_PATH):
            tree.remove(path)
        for folder in (_DROP_INS, str(Path(LINK).parent)):
            tree.remove_folder(folder)
        if live:
            _run(["systemctl", "daemon-reload"], dry_run=dry_run)
    if not tree.changed:
        print("nothing to remove")
    print("kept, if they are there: /etc/earshot, /var/lib/earshot, the account earshot")


def refuse_32_bit(machine: str, *, sixty_four: bool) -> None:
    """Say so at once where the agent's libraries do not exist.

    Args:
        machine: The kernel's word for the processor; a 64-bit one may run a 32-bit system.
        sixty_four: Whether this Python is 64-bit.

    Raises:
        InstallError: It is a 32-bit system.
    """
    if sixty_four and not machine.startswith(("armv6", "armv7")):
        return
    board = "This board has no 64-bit mode: use a Raspberry Pi 3 or newer, or a Zero 2 W."
    system = "Write the 64-bit Raspberry Pi OS to the card: Raspberry Pi 3 and newer and Zero 2 W."
    raise InstallError(
        f"this system is 32-bit ({machine}): numpy, ai-edge-litert, soxr, msgspec, PyYAML and cffi "
        "have no wheels for it",
        hint=board if machine.startswith("armv6") else system,
    )


def hidden(paths: Sequence[Path]) -> Path | None:
    """The first of these paths that the service would not see."""
    return next((path for path in paths if any(map(path.is_relative_to, _HIDDEN))), None)


def _agent(root: Path) -> Path:
    """The installed `edge-agent`, as that system names it."""
    agent = Path(sysconfig.get_path("scripts")) / "edge-agent"
    if not agent.is_file():
        raise InstallError(f"{agent}: there is no edge-agent there", hint=_ELSEWHERE)
    if _is_this_system(root):
        # The interpreter may be a link, and an editable install is wherever its sources are.
        needed = [agent, Path(sys.executable).resolve(), Path(__file__).resolve()]
        found = hidden(needed)
        if found is not None:
            raise InstallError(
                f"{found}: the service sees neither homes nor /tmp, and could not start",
                hint=_ELSEWHERE,
            )
        return agent
    if agent.is_relative_to(root.resolve()):
        return Path("/") / agent.relative_to(root.resolve())
    print(f"note: the system below {root} needs edge-agent at {agent}", file=sys.stderr)
    return agent


def credentials() -> list[str]:
    """Where root keeps what the service may be given."""
    return [path for path in map(_credential, _shipped("credentials.conf").splitlines()) if path]


def handing_over(there: Collection[str]) -> str:
    """The drop-in that hands these credentials over."""
    lines = _shipped("credentials.conf").splitlines(keepends=True)
    return "".join(line for line in lines if _credential(line) in (None, *there))


def _credential(line: str) -> str | None:
    """The file that a line of the drop-in names."""
    return line.strip().partition(":")[2] if line.startswith(_HANDED_OVER) else None


def _config(tree: Tree, path: str, given: Path | None) -> str:
    """What the configuration shall be, if there is none yet."""
    if given is None:
        sample = resources.root() / "firmware_configs" / "agent.yaml"
        return sample.read_text(encoding="utf-8")
    configfile.load(given)
    text = given.read_text(encoding="utf-8")
    place = tree.at(path)
    if place.exists() and place.read_text(encoding="utf-8") != text:
        raise InstallError(
            f"{place}: is there already, and is not {given}",
            hint="Edit it there, or move it away first; it is never overwritten.",
        )
    return text


def _shipped(name: str) -> str:
    return (resources.root() / "systemd" / name).read_text(encoding="utf-8")


def _quoted(path: Path) -> str:
    """As a unit wants it: % and $ mean something there."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if " " in text else text


@contextmanager
def _explained(command: str, root: Path, *, dry_run: bool) -> Iterator[None]:
    """Refuse what cannot work, and tell what the system refuses in words."""
    if not root.is_dir():
        raise InstallError(
            f"--root {root}: there is no such folder", hint="Mount or make the system there first."
        )
    if _is_this_system(root) and os.geteuid() != 0 and not dry_run:
        raise InstallError(
            f"{command} changes /etc and asks systemd, which only root may",
            hint=f"sudo {Path(sysconfig.get_path('scripts')) / 'edge-agent'} {command}; "
            "--dry-run says what it would do.",
        )
    try:
        yield
    except OSError as error:
        raise InstallError(
            f"{error.filename or root}: {error.strerror or error}",
            hint="Make it writable, or run this as root; what was done so far can be done again.",
        ) from error


def _run(command: Sequence[str], *, dry_run: bool) -> None:
    if dry_run:
        print(f"would be run: {' '.join(command)}")
        return
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise InstallError(
            f"{' '.join(command)}: ended with {done.returncode}: {lines[-1]}",
            hint="Mend that and run this again.",
        )


def _is_this_system(root: Path) -> bool:
    return root.resolve() == Path("/")


def is_live(root: Path) -> bool:
    """Whether it is this system, and systemd runs it."""
    return _is_this_system(root) and _RUNNING.is_dir()


def _after_install(root: Path, config: str, changed: int) -> str:
    if not changed:
        return "nothing to change: the service is in place"
    if is_live(root):
        return f"next: edit {config}, then sudo systemctl restart earshot-agent"
    return (
        f"next: edit {config} there; the service starts with that system's next boot, once "
        "`systemd-sysusers` and `systemd-tmpfiles --create` have made its account and folders there"
    )
