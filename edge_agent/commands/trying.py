"""`edge-agent fleet try`: one device of the fleet, played on this machine.

What its card and its units would do is done here, by the same code: it is set up with what the
folder makes of it, is given its credentials, runs the agent, looks at the repository, tries what is
new there, and keeps it or returns.
"""

import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.commands.office import config_of, device_named, fleet_of, refuse_errors
from edge_agent.commands.update import update
from edge_agent.errors import ConfigError, UpdateError
from edge_agent.fleet import credentials, revision
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.identity import Authority
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.rendering import Renderer
from edge_agent.fleet.secrets import Secrets
from edge_agent.updating import device as devices
from edge_agent.updating.process import Process
from edge_agent.updating.releases import Releases

_LOOK_S: Final = 900.0
"""As the timer's, where nothing new was published: what is undecided is tried again."""
_TURN_S: Final = 2.0


def try_device(path: Path | None, name: str, repo: Path, out: Path, clock: Clock) -> None:
    """Play a device until SIGINT or SIGTERM.

    Args:
        path: The fleet's folder.
        name: Of the device.
        repo: What it takes releases from.
        out: For its files; where they are there already, it goes on with them.
        clock: Of everything.

    Raises:
        EarshotError: The folder has errors, a credential or the repository is not there, or the
            device cannot be started.
    """
    fleet = fleet_of(path)
    refuse_errors(fleet)
    device = device_named(fleet, name)
    if device.state == "retired":
        raise ConfigError(
            f"{device.place('state')}: {name} is retired", hint="Try one that is in service."
        )
    out = out.resolve()
    if out == fleet.folder.path.resolve() or out in fleet.folder.path.resolve().parents:
        raise ConfigError(
            f"--out {out}: holds the fleet's folder", hint="Name a folder of its own."
        )
    settings = _set_up(fleet, device, repo, out)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    given = out / "credentials"
    log = out / "agent.log"
    tell = partial(print, flush=True)
    try:
        _give(fleet, device, given)
        process = Process(
            Releases(out / "releases"),
            devices.seeds(settings),
            out / "run",
            log,
            {"CREDENTIALS_DIRECTORY": str(given)},
            clock,
            tell,
        )
        with suppress(KeyboardInterrupt), process:
            tell(f"{device.name} runs; what its agent says is in {log}")
            _look(settings, repo, process, clock)
    finally:
        shutil.rmtree(given, ignore_errors=True)


def _set_up(fleet: Fleet, device: Device, repo: Path, out: Path) -> Path:
    """What its card would bring, as /etc/earshot has it; returns the path of `updates.json`."""
    etc = out / "etc"
    settings = etc / "updates.json"
    if settings.exists():
        if devices.load(settings).device != device.name:
            raise ConfigError(
                f"--out {out}: holds the device {devices.load(settings).device}",
                hint="Name another folder, or take that one away.",
            )
        return settings
    root = repo / "metadata" / "1.root.json"
    if not root.is_file():
        raise UpdateError(
            f"{repo}: holds no repository",
            hint="Begin one: edge-agent fleet keys init --keys DIR --repo DIR.",
        )
    rendered = Renderer(fleet, revision.source(fleet.folder.path, out)).render(device)
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "agent.json").write_bytes(rendered.config)
    (etc / "release.json").write_bytes(rendered.release)
    shutil.copyfile(root, etc / "updates-root.json")
    theirs = devices.Settings(
        repository=str(repo.resolve()),
        device=device.name,
        state_dir=str(out / "releases"),
        runtime_dir=str(out / "run"),
    )
    settings.write_bytes(msgspec.json.format(msgspec.json.encode(theirs)) + b"\n")
    return settings


def _give(fleet: Fleet, device: Device, place: Path) -> None:
    """Its credentials, for us alone, as systemd gives them to the service."""
    secrets = Secrets(fleet.folder.path, fleet.folder.settings.secrets)
    found = credentials.gathered(
        device.name, config_of(fleet, device), Authority(fleet.folder.path, secrets), secrets
    )
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    for name, secret in found.items():
        descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)


def _look(settings: Path, repo: Path, process: Process, clock: Clock) -> None:
    """Take what is published, as soon as it is."""
    stamp = repo / "metadata" / "timestamp.json"
    known, looked_ns = b"", 0
    while True:
        now_ns = clock.monotonic_ns()
        found = stamp.read_bytes() if stamp.is_file() else b""
        if found != known or now_ns - looked_ns > _LOOK_S * 1e9:
            known, looked_ns = found, now_ns
            try:
                update(
                    settings, None, clock,
                    at_once=True, trust_clock=True, dry_run=False, service=process,
                )  # fmt: skip
            except UpdateError as error:
                # As under its timer: it looks again, and runs on meanwhile.
                print(f"{error.message}. {error.hint}")
            sys.stdout.flush()
        clock.wait(_TURN_S)
