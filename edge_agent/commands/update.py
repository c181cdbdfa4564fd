"""`edge-agent update`: look, fetch, try, keep or return."""

import hashlib
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import msgspec

from edge_agent import __version__, resources
from edge_agent.clock import Clock
from edge_agent.errors import UpdateError
from edge_agent.release import Offer, Parcel, Release
from edge_agent.updating import device, fetching, seen
from edge_agent.updating.releases import Releases
from edge_agent.updating.service import Systemd
from edge_agent.updating.state import State, rfc3339
from edge_agent.updating.trial import Service, Trial

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from edge_agent.updating.repository import Repository


class _Model(msgspec.Struct, frozen=True):
    path: str = "models/street"


class _Settings(msgspec.Struct, frozen=True):
    model: _Model = _Model()


class AgentService(Service, Protocol):
    """The agent's service, which somebody may have stopped."""

    def stopped(self) -> bool:
        """Whether somebody did."""
        ...


def update(
    path: Path,
    repo: str | None,
    clock: Clock,
    *,
    at_once: bool,
    trust_clock: bool,
    dry_run: bool,
    service: AgentService | None = None,
) -> int:
    """Bring the device to the release that is published for it.

    Args:
        path: Of `updates.json`.
        repo: Instead of the repository named there.
        clock: The device's.
        at_once: Do not wait for this device's turn.
        trust_clock: Somebody vouches for the clock.
        dry_run: Only tell.
        service: The agent's; None: systemd's.

    Returns:
        The exit code: 1 when a release was refused, taken back or left undecided.

    Raises:
        UpdateError: Nothing could be looked at, or not with certainty; nothing was changed.
    """
    settings = device.load(path)
    releases = Releases(Path(settings.state_dir))
    service = service or Systemd(Path(settings.runtime_dir))
    with releases.alone():
        trial = Trial(releases, service, clock, partial(print, flush=True))
        before = releases.read_state()
        state = before if dry_run and before is not None else trial.resume()
        if state != before:
            _tell(state)
        if not clock.synced() and not trust_clock:
            raise UpdateError(
                "the clock is not synchronised, and without the time nobody knows what has expired",
                hint="The device keeps what it has. With the time right: --trust-clock.",
            )
        found = _look(path, settings, repo, state, releases, clock)
        if found is None:
            print(f"nothing new: release {_number(releases, state.good)} is in force")
            return 0 if state == before else _code(state)
        repository, offer, target = found
        if dry_run:
            print(f"release {offer.release} would be tried")
            return 0
        if service.stopped():
            raise UpdateError(
                f"release {offer.release} cannot be tried: the agent's service is stopped",
                hint="sudo systemctl start earshot-agent",
            )
        release, parcel = repository.parcel(settings.device, offer, target)
        releases.stage(release, parcel, _model(repository, release, parcel))
        hurry = at_once or repo is not None
        delay = 0.0 if hurry else device.delay_s(settings, offer.release, offer.window_s)
        state = trial.take(offer.release, delay)
        _tell(state)
    return _code(state)


def _look(
    path: Path,
    settings: device.Settings,
    repo: str | None,
    state: State,
    releases: Releases,
    clock: Clock,
) -> "tuple[Repository, Offer, TargetFile] | None":
    """The offer that is to be tried; None: nothing new."""
    origin = fetching.origin(repo or settings.repository, clock)
    root = device.root(path, settings)
    memory = releases.path / seen.FILE
    last = seen.read(memory)
    if last is not None and not _is_new(last.release, state):
        now = rfc3339(clock.utc_ns())
        if seen.unchanged(last, root, settings.device, now, origin):
            return None
    try:
        # Only now: it takes longer to come than all the rest.
        from edge_agent.updating.repository import Repository
    except ModuleNotFoundError as error:
        raise UpdateError(
            f"{error.name} is not installed", hint='Install the extra: pip install "earshot[ota]"'
        ) from error
    repository = Repository(releases.tuf, root, origin)
    found = repository.offer(settings.device)
    release = None if found is None else found[0].release
    seen.note(memory, releases.tuf, root, settings.device, release)
    if found is None or not _is_new(release, state):
        return None
    return (repository, *found)


def _is_new(release: int | None, state: State) -> bool:
    """A higher number; or one that another agent refused."""
    if release is None:
        return False
    again = state.state == "refused" and state.agent != __version__
    return release > state.highest or (again and release == state.highest)


def _model(repository: "Repository", release: Release, parcel: Parcel) -> tuple[Path, bytes] | None:
    """Where the release's model belongs, and the model; None: it is installed, or stands apart."""
    text = msgspec.json.decode(parcel.config, type=_Settings).model.path
    place = PurePosixPath(text)
    if place.is_absolute():
        return None
    if ".." in place.parts:
        raise UpdateError(
            f"model.path {text} leads out of the release", hint="Publish it with another path."
        )
    installed = resources.root() / text / "model.tflite"
    if installed.is_file():
        found = hashlib.sha256(installed.read_bytes()).hexdigest()
        if found == release.model_sha256:
            return None
    return Path(text), repository.model(release)


def _tell(state: State) -> None:
    match state.state:
        case "rolled_back":
            print(f"rolled back: {state.reason}")
        case "undecided":
            print(f"undecided: {state.reason}")
        case "refused":
            print(f"refused: {state.reason}")


def _code(state: State) -> int:
    return 0 if state.state == "current" else 1


def _number(releases: Releases, number: int) -> int:
    """As the office counts: the seed was a release there."""
    found = releases.release(number)
    return number if found is None else found.release
