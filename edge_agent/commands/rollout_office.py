"""What a rollout is made of: the fleet's folder, its plan and its repository, as they are now."""

import getpass
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from edge_agent.clock import Clock
from edge_agent.commands.office import fleet_of, refuse_errors
from edge_agent.config import MqttConfig
from edge_agent.errors import ConfigError
from edge_agent.fleet import parcels, published, revision, rings, rollout, rolloutplan
from edge_agent.fleet.differing import count
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.rendering import Renderer
from edge_agent.fleet.repository import Repository, utc
from edge_agent.fleet.rollout import Before, Member, Rollout
from edge_agent.fleet.targets import Listed, Target
from edge_agent.release import Parcel, Release


class Office:
    """The folder, its plan and its repository, as they are when a command begins."""

    def __init__(self, path: Path | None, repo: Path, clock: Clock, *, window_s: int) -> None:
        self.fleet = fleet_of(path)
        refuse_errors(self.fleet)
        self.path = self.fleet.folder.path
        self.release = self.fleet.folder.settings.release
        self.clock = clock
        self._repo = repo
        self._renderer = Renderer(
            self.fleet, revision.source(self.path, self.path / rolloutplan.FOLDER)
        )
        self._devices = {device.name: device for device in self.fleet.devices}
        self._window_s = window_s

    def repository(self) -> Repository:
        """As it is now; what it signs lasts from now on."""
        return Repository(self._repo, utc(self.clock.utc_ns()))

    def targets(self, names: Sequence[str]) -> Iterator[Target]:
        """What these devices are given."""
        chosen = [self._devices[name] for name in names if name in self._devices]
        return parcels.targets(self.fleet, self._renderer, chosen, self._window_s)

    def devices(self, held: Rollout) -> list[Device]:
        """Those that a rollout is for and that are still in the inventory."""
        return [self._devices[name] for name in held.members if name in self._devices]

    def talks(self, held: Rollout) -> Iterator[tuple[str, MqttConfig]]:
        """Where devices talk as long as they have what they had before."""
        for name, one in held.members.items():
            if one.before is not None:
                before = published.parcel(self._repo, name, one.before.sha256)
                yield name, published.broker_of(before)

    def begun(self, *, force: bool) -> Rollout:
        """A rollout of the folder's release, of which nothing was given out yet.

        Raises:
            EarshotError: Nothing is new in it, or the first ring would prove too little.
        """
        settings = rolloutplan.read(self.path)
        offered = published.offered(self.repository(), self._devices)
        contents: dict[str, tuple[str, str]] = {}
        new = set(self.repository().new(_noting(self.targets(list(self._devices)), contents)))
        devices = [one for one in self.fleet.devices if published.path(one.name) in new]
        if not devices:
            raise ConfigError(
                f"release {self.release}: nothing is new for any device",
                hint="`edge-agent fleet diff` shows what a change does.",
            )
        seats = rings.assigned(devices, settings, self.release)
        lacks = rings.lacking((one for one in devices if seats[one.name] == 0), devices)
        if lacks and not force:
            raise ConfigError(
                f"ring {settings.in_turn[0][0]}: has no device with {', '.join(lacks)}",
                hint="Add one to the ring; with --force it begins all the same.",
            )
        earlier = list(rollout.all_of(self.path))
        sites: dict[str, int] = {}
        for one in self.fleet.devices:
            sites[one.site] = sites.get(one.site, 0) + 1
        return Rollout(
            release=self.release,
            began=utc(self.clock.utc_ns()).strftime("%Y-%m-%dT%H:%M:%SZ"),
            who=getpass.getuser(),
            plan=settings,
            sites=sites,
            members={
                one.name: Member(
                    ring=seats[one.name],
                    site=one.site,
                    content=contents[one.name][0],
                    config_sha256=contents[one.name][1],
                    before=self._before(one.name, offered.get(one.name), earlier),
                )
                for one in devices
            },
        )

    def refuse_beside_another(self) -> None:
        """One at a time.

        Raises:
            ConfigError: Another one is under way.
        """
        for one in rollout.all_of(self.path):
            if one.state == "running":
                raise ConfigError(
                    f"the rollout of release {one.release} is not over",
                    hint=f"Go on with it (`release: {one.release}` in fleet.yaml), or abort it.",
                )

    def refuse_changed(self, held: Rollout) -> None:
        """What is given out has to be what it was when the rollout began.

        Raises:
            ConfigError: The folder was changed meanwhile.
        """
        if held.state == "aborted":
            return
        contents: dict[str, tuple[str, str]] = {}
        there = [name for name in held.members if name in self._devices]
        for _ in _noting(self.targets(there), contents):
            pass
        changed = [name for name in there if contents[name][0] != held.members[name].content]
        if changed:
            raise ConfigError(
                f"the folder was changed since the rollout of release {held.release} began: "
                f"{count(len(changed))}, {changed[0]} for one, would be given something else",
                hint="Bring it back to what it was, or raise `release` and begin again.",
            )

    def _before(
        self, name: str, offered: Listed | None, earlier: Sequence[Rollout]
    ) -> Before | None:
        """What a device had that worked: not what an earlier rollout found not to."""
        if offered is None:
            return None
        for one in earlier:
            member = one.members.get(name)
            if member is None or member.published_ns is None:
                continue
            number = one.release if one.abort_release is None else one.abort_release
            if number == offered.offer.release and member.outcome not in ("kept", "returned"):
                return member.before
        release = release_of(published.parcel(self._repo, name, offered.sha256))
        return Before(
            release=release.release, sha256=offered.sha256, config_sha256=release.config_sha256
        )


def _noting(targets: Iterator[Target], contents: dict[str, tuple[str, str]]) -> Iterator[Target]:
    """The same, while the content and the configuration's hash of each device are put down."""
    for target in targets:
        if target.offer is not None:
            release = release_of(msgspec.json.decode(target.data, type=Parcel))
            contents[release.device] = (target.offer.content, release.config_sha256)
        yield target


def release_of(parcel: Parcel) -> Release:
    """What a parcel says of itself."""
    return msgspec.json.decode(parcel.release, type=Release)
