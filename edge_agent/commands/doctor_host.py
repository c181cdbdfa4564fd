"""What `doctor` looks at on the machine itself: kind, clock, disk, and who may what."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_agent import seedfiles
from edge_agent.clock import SystemClock
from edge_agent.commands.finding import (
    Account,
    Finding,
    fault,
    group_id,
    ok,
    refused,
    there,
    upwards,
    user_name,
    warning,
)
from edge_agent.commands.install import PASSWORD_PATH, refuse_32_bit
from edge_agent.config import CREDENTIAL_PREFIX, Config, MqttConfig
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import InstallError
from edge_agent.machine import LOW_DISK_MB

_2024_NS = 1_704_067_200 * 10**9
_MEGABYTE = 1_000_000
_OTHERS = 0o077


def system() -> Finding:
    """Whether the agent's libraries exist for this machine."""
    machine = platform.machine()
    try:
        refuse_32_bit(machine, sixty_four=sys.maxsize > 2**32)
    except InstallError as error:
        return refused("system", error)
    return ok("system", f"64-bit {machine}, Python {platform.python_version()}")


def clock() -> Finding:
    """Whether somebody vouches for the time."""
    now = SystemClock()
    if now.utc_ns() < _2024_NS:
        return fault(
            "clock",
            "is years behind: certificates are refused, and times are wrong",
            "See that the device reaches a time server: timedatectl",
        )
    if not now.synced():
        return warning(
            "clock",
            "systemd-timesyncd has not synchronised it: messages say time_synced: false",
            "See that the device reaches a time server: timedatectl",
        )
    return ok("clock", "synchronised")


def disk(loaded: LoadedConfig | None, account: Account) -> list[Finding]:
    """Room for what waits, and a state folder that takes it."""
    config = loaded.config if loaded else Config()
    folder = loaded.path.parent / config.state_dir if loaded else Path(config.state_dir)
    place = next((path for path in upwards(folder) if there(path)), Path("/"))
    return [_room(place, config.outbox.max_mb), _state(folder, place, account)]


def _room(place: Path, outbox_mb: float) -> Finding:
    free_mb = shutil.disk_usage(place).free / _MEGABYTE
    found = f"{free_mb:.0f} MB free at {place}"
    todo = "Make room, or allow the outbox less: `outbox: {max_mb: …}`"
    if free_mb < LOW_DISK_MB:
        return fault("disk", f"{found}, less than {LOW_DISK_MB:g} MB", todo)
    if free_mb < LOW_DISK_MB + outbox_mb:
        return warning("disk", f"{found}, and the outbox may take {outbox_mb:g} MB", todo)
    return ok("disk", found)


def _state(folder: Path, place: Path, account: Account) -> Finding:
    hidden = warning("state folder", f"you may not look into {folder}", "Do this as root.")
    if there(folder) is None:
        return hidden
    if place != folder:
        return _state_to_come(folder, place, account)
    if not folder.is_dir():
        todo = "Move it away, or set `state_dir` elsewhere."
        return fault("state folder", f"{folder} is no folder", todo)
    mend = f"sudo chown -R {account.name}: {folder} && sudo chmod 700 {folder}"
    allowed = account.may_fill(folder)
    if allowed is None:
        return hidden
    owner = user_name(folder.stat().st_uid)
    if not allowed:
        found = f"{folder} belongs to {owner}, and {account.name} may not write there"
        return fault("state folder", found, mend)
    try:
        foreign = _foreign(folder, account)
    except PermissionError:
        return hidden
    if foreign is not None:
        found = f"{foreign} belongs to {user_name(foreign.lstat().st_uid)}, not to {account.name}"
        return fault("state folder", found, mend)
    if account.is_me or os.geteuid() == 0:
        # Modes say nothing of a disk that is full, broken or mounted read-only.
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"0" * 4096)
                file.flush()
        except OSError as error:
            found = f"{folder} takes no files: {error.strerror}"
            return fault("state folder", found, "Make it writable: the disk is full or read-only.")
    return ok("state folder", f"{folder}, writable for {account.name}")


def _state_to_come(folder: Path, place: Path, account: Account) -> Finding:
    if account.may_fill(place) or not account.is_me:
        return ok("state folder", f"{folder} is not there yet; it is made at the start")
    return fault(
        "state folder",
        f"there is no {folder}, and {account.name} may not make it in {place}",
        "Make the folder for the agent, or set `state_dir` to one that it may write.",
    )


def _foreign(folder: Path, account: Account) -> Path | None:
    """A file there that another user left, as one does who ran the agent as root once."""
    if account.uid == 0:
        return None
    return next((path for path in folder.iterdir() if path.lstat().st_uid != account.uid), None)


def permissions(loaded: LoadedConfig | None, account: Account) -> list[Finding]:
    """Sound cards for the account, its files readable, secrets only for it."""
    return [_audio(loaded, account), *_files(loaded, account)]


def _audio(loaded: LoadedConfig | None, account: Account) -> Finding:
    audio = group_id("audio")
    microphones = loaded.config.microphones.values() if loaded else ()
    if loaded is not None and not any(mic.kind == "device" for mic in microphones):
        return ok("audio group", "not needed: no microphone is a sound card")
    if account.uid == 0 or audio is None or audio in account.groups:
        return ok("audio group", f"{account.name} may open sound cards")
    return warning(
        "audio group",
        f"{account.name} is not in the group audio, to which sound cards belong",
        f"sudo usermod -aG audio {account.name}; it holds from the next login on",
    )


def _files(loaded: LoadedConfig | None, account: Account) -> Iterator[Finding]:
    if loaded is None:
        return
    if account.may_read(loaded.path) is False:
        found = f"{account.name} may not read {loaded.path}"
        yield fault("permissions", found, f"sudo chmod a+r {loaded.path}")
    for setting, named, secret in _named_files(loaded.config.mqtt):
        if named.startswith(CREDENTIAL_PREFIX):
            yield from _credential(setting, named.removeprefix(CREDENTIAL_PREFIX), secret=secret)
        else:
            yield from _file(setting, loaded.path.parent / named, account, secret=secret)
    handed_over = Path(PASSWORD_PATH)
    if not account.is_me and there(handed_over):
        yield from _secret(f"the password in {handed_over}", handed_over)


def _file(setting: str, path: Path, account: Account, *, secret: bool) -> Iterator[Finding]:
    if there(path) is False:
        todo = f"Put the file there, or correct {setting}."
        yield fault("permissions", f"{setting}: there is no {path}", todo)
        return
    allowed = account.may_read(path)
    if allowed is None:
        yield warning("permissions", f"{setting}: you may not look at {path}", "Do this as root.")
    elif not allowed:
        todo = f"sudo chown {account.name} {path}"
        yield fault("permissions", f"{setting}: {account.name} may not read {path}", todo)
    elif secret:
        yield from _secret(setting, path)


def _credential(setting: str, name: str, *, secret: bool) -> Iterator[Finding]:
    """Root's, and handed over by systemd: the account itself need not read it."""
    path = Path(seedfiles.CREDENTIALS) / name
    if there(path) is False:
        todo = f"Put the file there, then sudo edge-agent install, or correct {setting}."
        yield fault("permissions", f"{setting}: there is no {path}", todo)
    elif secret and there(path):
        yield from _secret(setting, path)


def _secret(what: str, path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        found = f"{what}: others may read or change {path} (mode {mode:o})"
        yield warning("permissions", found, f"sudo chmod 600 {path}")
    else:
        yield ok("permissions", f"{what}: {path} is nobody else's business (mode {mode:o})")


def _named_files(mqtt: MqttConfig) -> Iterator[tuple[str, str, bool]]:
    """Setting, file, and whether it is a secret."""
    tls = mqtt.tls
    settings = (
        ("mqtt.password_file", mqtt.password_file, True),
        ("mqtt.tls.ca", tls and tls.ca, False),
        ("mqtt.tls.certificate", tls and tls.certificate, False),
        ("mqtt.tls.key", tls and tls.key, True),
    )
    for setting, path, secret in settings:
        if path:
            yield setting, path, secret
