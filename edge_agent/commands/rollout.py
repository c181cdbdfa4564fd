"""`edge-agent fleet rollout`: a release given in rings, watched, stopped, taken back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.commands.office import fleet_of
from edge_agent.commands.reading import heard, listening
from edge_agent.errors import BrokerError, ConfigError, UpdateError

try:
    from edge_agent.commands.rollout_office import Office, release_of
    from edge_agent.fleet import parcels, published, repository, signing
except ModuleNotFoundError as error:
    raise UpdateError(
        f"{error.name} is not installed", hint='Install the extra: pip install "earshot[ota]"'
    ) from error
from edge_agent.fleet import campaign, reports, rings, rollout, rolloutplan, rolloutreport
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.differing import count
from edge_agent.fleet.listening import Listener, unreachable, wait_until_told
from edge_agent.fleet.rendering import canonical
from edge_agent.fleet.reports import Reports
from edge_agent.fleet.repository import Repository
from edge_agent.fleet.rollout import Before, Rollout
from edge_agent.fleet.standing import utc
from edge_agent.fleet.targets import Target
from edge_agent.release import Offer, Parcel

POLL_S: Final = 5.0
AWAY_S: Final = 120.0
"""So long a broker may be away before we give up; nothing is given out meanwhile."""
CLOCK_OFF_S: Final = 120.0
"""By so much this machine's clock may differ from most devices'."""
_FIRST_WAIT_S: Final = 10.0


def plan(path: Path | None, repo: Path, clock: Clock, *, force: bool) -> None:
    """Print who would be given the folder's release, and when.

    Raises:
        EarshotError: The folder, the plan or the repository cannot be used.
    """
    office = Office(path, repo, clock, window_s=0)
    begun = office.begun(force=force)
    print(f"release {begun.release}: {count(len(begun.members))}")
    for index, (name, ring) in enumerate(begun.plan.in_turn):
        names = sorted(name for name, one in begun.members.items() if one.ring == index)
        if not names:
            continue
        most = f"{100 * rings.bound(len(names)):.0f} %"
        proves = f"without a failure, at most {most} of all fail, 95 % sure"
        print(f"ring {name}: {count(len(names))}, then {ring.soak_h:g} h; {proves}")
        print(f"  {', '.join(names[:40])}{' …' if len(names) > 40 else ''}")
    for site in sorted({one.site for one in begun.members.values()}):
        print(f"site {site}: {campaign.limit(begun, site)} of {begun.sites[site]} at once")


def run(
    path: Path | None,
    keys: Path,
    repo: Path,
    clock: Clock,
    *,
    reader: str,
    force: bool,
    go_on: bool,
    window_s: int,
) -> int:
    """Begin the rollout of the folder's release, or go on with it, until it is over.

    Args:
        path: The fleet's folder.
        keys: Where the keys of release and online are.
        repo: The repository.
        clock: The office's.
        reader: Under whose name we listen.
        force: Begin although the first ring lacks a board or a microphone.
        go_on: In spite of what stopped it.
        window_s: Over which devices spread their restarts.

    Returns:
        The exit code: 1 when it was stopped.

    Raises:
        EarshotError: It cannot be begun, or not be watched; what was given out stays so.
    """
    office = Office(path, repo, clock, window_s=window_s)
    with rollout.alone(office.path):
        signers = _signers(office.repository(), keys)
        held = rollout.load(office.path, office.release)
        if held is None:
            held = office.begun(force=force)
            office.refuse_beside_another()
            print(f"release {held.release}: for {count(len(held.members))}", flush=True)
        elif held.state == "stopped" and go_on:
            held = _gone_on(held)
        elif held.state == "done" and len(held.given()) < len(held.members):
            held = msgspec.structs.replace(held, state="running")
        office.refuse_changed(held)

        def give(names: Sequence[str]) -> None:
            office.repository().publish(office.targets(names), *signers)

        if held.state == "running":
            # What was noted as given may not have been: doing it again changes nothing.
            give(list(held.under_way()))
        held = _watched(office, held, reader, give)
    for line in rolloutreport.lines(held):
        print(line)
    if (said := rolloutreport.next_step(held)) is not None:
        print(said)
    return 0 if held.state == "done" else 1


def status(path: Path | None, repo: Path, clock: Clock, *, reader: str) -> int:
    """Print how the latest rollout stands.

    Returns:
        The exit code: 1 where somebody has to look.

    Raises:
        ConfigError: There was none.
        BrokerError: A broker cannot be reached.
    """
    office = Office(path, repo, clock, window_s=0)
    held = _latest(office.fleet)
    given = held.given()
    found = heard(
        office.fleet,
        office.devices(held),
        reader,
        clock,
        lambda told: all(name in told and told[name].seen_ns is not None for name in given),
        _FIRST_WAIT_S,
        office.talks(held),
    )
    held = campaign.noted(held, found, clock.utc_ns(), campaign.LISTEN_S)
    for line in rolloutreport.lines(held):
        print(line)
    if (said := rolloutreport.next_step(held)) is not None:
        print(said)
    good = ("kept", "waiting", "returned")
    fine = all(one.outcome in good for one in held.given().values())
    return 0 if fine and held.state != "stopped" else 1


def abort(
    path: Path | None, keys: Path, repo: Path, clock: Clock, *, window_s: int, dry_run: bool
) -> None:
    """Give those that were given a release what they had before, under a higher number.

    Raises:
        EarshotError: There is nothing to take back, or it cannot be published.
    """
    fleet = fleet_of(path)
    where = fleet.folder.path
    with rollout.alone(where):
        held = _latest(fleet)
        store = Repository(repo, repository.utc(clock.utc_ns()))
        given = {name: one.before for name, one in held.given().items()}
        again = {name: before for name, before in given.items() if before is not None}
        if not given:
            raise ConfigError(
                f"release {held.release} was given to nobody", hint="There is nothing to take back."
            )
        number = held.abort_release
        if number is None:
            offers = published.offered(store, [one.name for one in fleet.devices])
            out = [one.offer.release for one in offers.values()]
            number = 1 + max(held.release, fleet.folder.settings.release, *out)
        if dry_run:
            print(f"release {number} would give {count(len(again))} what they had before")
            return
        signers = _signers(store, keys)
        now_ns = clock.utc_ns()
        members = {
            name: msgspec.structs.replace(one, published_ns=now_ns, outcome="waiting", why="")
            for name, one in held.members.items()
            if name in again
        }
        held = msgspec.structs.replace(
            held,
            state="aborted",
            abort_release=number,
            reason=held.reason or "by hand",
            members={**held.members, **members},
        )
        rollout.keep(where, held)
        store.publish(_as_before(repo, again, number, window_s), *signers)
    print(f"release {number} gives {count(len(again))} what they had before")
    for name in sorted(given.keys() - again.keys()):
        print(f"{name}: had no release before, and keeps what it has")
    print("`edge-agent fleet rollout status` tells who runs it")
    print(f"the folder still makes release {held.release}: mend it, and go on with {number + 1}")


def _watched(
    office: Office, held: Rollout, reader: str, give: Callable[[Sequence[str]], None]
) -> Rollout:
    """Lead it to its end; each step is on the disk before it is done."""
    devices, clock = office.devices(held), office.clock
    found: Reports = {}
    sites = {one.name: one.site for one in devices}
    with listening(office.fleet, devices, reader, clock, office.talks(held)) as listeners:
        wait_until_told(
            listeners, clock, lambda one: reports.take(found, sites, one), lambda: False,
            _FIRST_WAIT_S,
        )  # fmt: skip
        since_ns = heard_ns = clock.monotonic_ns()
        print(f"listening; {len(found)} of {count(len(devices))} told of themselves", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                _take(listeners, found, sites)
                now_ns = clock.monotonic_ns()
                lost = [one for one in listeners if not one.subscribed]
                if lost:
                    since_ns = now_ns
                    if now_ns - heard_ns > AWAY_S * 1e9:
                        raise _gone(lost[0])
                else:
                    heard_ns = now_ns
                    _refuse_clock(found)
                    listened_s = (now_ns - since_ns) / 1e9
                    after, due = campaign.step(held, found, clock.utc_ns(), listened_s)
                    if after != held:
                        rollout.keep(office.path, after)
                        _tell(held, after, clock)
                    held = after
                    if due:
                        give(due)
                    if held.state != "running" and not held.under_way():
                        break
                clock.wait(POLL_S)
    return held


def _take(listeners: Sequence[Listener], found: Reports, sites: dict[str, str]) -> None:
    for listener in listeners:
        for one in listener.heard():
            reports.take(found, sites, one)


def _tell(before: Rollout, after: Rollout, clock: Clock) -> None:
    for line in rolloutreport.changes(before, after):
        print(f"{utc(clock.utc_ns()):%H:%M:%S} {line}", flush=True)


def _gone(listener: Listener) -> BrokerError:
    said = unreachable(listener)
    return BrokerError(
        f"{said.message}; nothing more is given out",
        hint=f"{said.hint} Then `edge-agent fleet rollout run` goes on.",
    )


def _refuse_clock(found: Reports) -> None:
    off_s = reports.clock_off_s(found)
    if off_s is not None and abs(off_s) > CLOCK_OFF_S:
        way = "behind" if off_s > 0 else "ahead of"
        raise UpdateError(
            f"this machine's clock is {abs(off_s):.0f} s {way} most devices'",
            hint="Set it; then `edge-agent fleet rollout run` goes on.",
        )


def _gone_on(held: Rollout) -> Rollout:
    seen = rollout.FAILED | rollout.MISSED
    names = [name for name, one in held.given().items() if one.outcome in seen]
    return msgspec.structs.replace(held, state="running", reason="", forgiven=tuple(names))


def _latest(fleet: Fleet) -> Rollout:
    for one in rollout.all_of(fleet.folder.path):
        return one
    raise ConfigError(
        f"{fleet.folder.path / rolloutplan.FOLDER}: no rollout was begun",
        hint="Begin one: edge-agent fleet rollout run.",
    )


def _signers(held: Repository, keys: Path) -> tuple[signing.CryptoSigner, signing.CryptoSigner]:
    return (
        signing.load(keys, "release", held.key("release")),
        signing.load(keys, "online", held.key("online")),
    )


def _as_before(
    repo: Path, again: dict[str, Before], number: int, window_s: int
) -> Iterator[Target]:
    for name, before in again.items():
        old = published.parcel(repo, name, before.sha256)
        release = msgspec.structs.replace(release_of(old), release=number)
        parcel = Parcel(config=old.config, release=canonical(release).decode())
        yield Target(
            path=published.path(name),
            data=msgspec.json.encode(parcel),
            offer=Offer(release=number, content=parcels.content(release), window_s=window_s),
        )
