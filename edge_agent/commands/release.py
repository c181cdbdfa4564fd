"""`edge-agent config status`, `rollback`, `confirm`, `guard`: the release on this device."""

import json
import os
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import UpdateError
from edge_agent.updating import device
from edge_agent.updating import guard as guards
from edge_agent.updating.releases import SEED, Releases
from edge_agent.updating.service import Systemd
from edge_agent.updating.state import State


def status(path: Path, *, as_json: bool) -> None:
    """Print which release is in force, and how far an update is.

    Raises:
        UpdateError: Nothing was ever in force here.
    """
    releases = _releases(path)
    state = _state(releases)
    there = releases.in_force()
    release = None if there is None else releases.release(there)
    drift = (
        there is not None
        and release is not None
        and releases.config_sha256(there) != release.config_sha256
    )
    told = {
        "in_force": there,
        "release": there if release is None else release.release,
        "state": state.state,
        "about": state.number,
        "since": state.since,
        "reason": state.reason,
        "previous": state.previous,
        "drift": drift,
    }
    if as_json:
        print(json.dumps(told))
        return
    print(f"in force   release {told['release']}{' (the seed)' if there == SEED else ''}")
    print(f"state      {state.state} since {state.since}")
    if state.reason:
        print(f"reason     {state.reason}")
    print(f"previous   {'none' if state.previous is None else f'release {state.previous}'}")
    if drift:
        print("drift      config.json was changed by hand since it was delivered")


def rollback(path: Path, clock: Clock) -> None:
    """Go back to the release before; this one is not tried again.

    Raises:
        UpdateError: There is none, or an update is at work.
    """
    releases = _releases(path)
    with releases.deciding():
        state = _state(releases)
        if state.state == "trial":
            reason = f"release {state.number}: taken back by hand"
            releases.write_state(state.entering("reverting", clock, reason=reason))
            print(f"{reason}; the update at work returns, or the next one")
            return
    with releases.alone(), releases.deciding():
        state = _state(releases)
        target = SEED if state.previous is None else state.previous
        if target == state.good:
            raise UpdateError(
                f"release {state.good} is in force, and there is none before it",
                hint="`edge-agent config status` tells what there is.",
            )
        releases.write_state(
            state.entering(
                "rolled_back",
                clock,
                number=state.good,
                good=target,
                previous=None,
                highest=max(state.highest, state.good),
                reason=f"release {state.good}: taken back by hand",
            )
        )
        releases.put_in_force(target)
    _restart(path)
    print(f"release {target} is in force")


def confirm(path: Path, clock: Clock) -> None:
    """Keep a release that is on trial or undecided, without further watching.

    Raises:
        UpdateError: There is none.
    """
    releases = _releases(path)
    with releases.deciding():
        state = _state(releases)
        if state.state not in ("trial", "undecided"):
            raise UpdateError(
                f"no release is on trial or undecided: release {state.good} is in force",
                hint="`edge-agent config status` tells what there is.",
            )
        releases.write_state(
            state.entering(
                "current", clock, good=state.number, previous=state.good, tries=0, reason=""
            )
        )
        releases.put_in_force(state.number)
    if state.state == "undecided":
        _restart(path)
    print(f"release {state.number} is in force")


def guard(path: Path, clock: Clock) -> None:
    """Make ready for a start of the service.

    Raises:
        UpdateError: There is no configuration, or the disk refuses.
    """
    # The unit's own mask keeps what the agent writes from others; this here the agent has to read.
    os.umask(0o022)
    releases = _releases(path)
    state = guards.guard(releases, device.seeds(path), clock)
    print(f"release {releases.in_force()}, {state.state}")


def _releases(path: Path) -> Releases:
    return Releases(Path(device.load(path).state_dir))


def _state(releases: Releases) -> State:
    state = releases.read_state()
    if state is None:
        raise UpdateError(
            f"{releases.path}: no release was ever in force here",
            hint="Start the service once: sudo systemctl restart earshot-agent.",
        )
    return state


def _restart(path: Path) -> None:
    Systemd(Path(device.load(path).runtime_dir)).restart()
