"""A TUF repository of static files: what devices fetch, signed, and in an order that never lies.

    metadata/N.root.json N.targets.json N.bin-xx.json N.snapshot.json timestamp.json
    targets/devices/HASH.NAME.json   targets/models/HASH.NAME-SHA256.tar

Devices are spread over bins by the hash of their path, so that an update of one moves one small
list. Files get new names with each version and are written before what names them; the timestamp
comes last. So a copy by any tool that keeps this order serves a consistent state at every moment.

https://theupdateframework.github.io/specification/latest/
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_agent.errors import UpdateError
from edge_agent.fleet.metadata import Store
from edge_agent.fleet.targets import Listed, Target, put
from edge_agent.release import Offer

LIFE: Final = {
    "timestamp": timedelta(days=14),
    "snapshot": timedelta(days=90),
    "bin": timedelta(days=90),
    "targets": timedelta(days=365),
    "root": timedelta(days=365),
}
"""A fleet whose office is closed for longer keeps running and cannot be updated."""
SOON: Final = timedelta(days=30)
_PREFIX: Final = "bin"


class Repository:
    """A repository on this disk.

    Args:
        path: Its folder.
        now: UTC.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self.path = path
        self._store = Store(path / "metadata")
        self._now = now

    def create(
        self,
        root: CryptoSigner,
        targets: CryptoSigner,
        release: CryptoSigner,
        online: CryptoSigner,
        bits: int,
    ) -> None:
        """Begin an empty repository.

        Raises:
            UpdateError: There is one already, or the folder cannot be written to.
        """
        if self._store.exists():
            raise UpdateError(
                f"{self.path}: holds a repository already", hint="Name another folder with --repo."
            )
        first = Metadata(Root(expires=self._until("root"), consistent_snapshot=True))
        first.signed.add_key(root.public_key, "root")
        first.signed.add_key(targets.public_key, "targets")
        for role in ("snapshot", "timestamp"):
            first.signed.add_key(online.public_key, role)
        first.sign(root)
        top = Metadata(Targets(expires=self._until("targets")))
        top.signed.delegations = Delegations(
            {release.public_key.keyid: release.public_key},
            succinct_roles=SuccinctRoles([release.public_key.keyid], 1, bits, _PREFIX),
        )
        top.sign(targets)
        snapshot = Metadata(Snapshot(expires=self._until("snapshot")))
        snapshot.signed.version = 0
        timestamp = Metadata(Timestamp(expires=self._until("timestamp")))
        timestamp.signed.version = 0
        try:
            self._store.make()
            self._store.write("root", first)
            self._store.write("targets", top)
            for name in _succinct(top.signed).get_roles():
                one = Metadata(Targets(expires=self._until("bin")))
                one.sign(release)
                self._store.write(name, one)
                snapshot.signed.meta[f"{name}.json"] = MetaFile(1)
            self._close(snapshot, timestamp, online)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def publish(
        self, targets: Iterable[Target], release: CryptoSigner, online: CryptoSigner
    ) -> list[str]:
        """Add files, or newer ones under the same name.

        Args:
            targets: A device's is left out where it would change nothing on the device.
            release: Signs for devices.
            online: Signs that this is the newest.

        Returns:
            The paths of what was new.

        Raises:
            UpdateError: A device would get other content under a number that it has, or a lower
                one; or the folder cannot be used.
        """
        top = self._targets()
        bins: dict[str, Metadata[Targets]] = {}
        changed: set[str] = set()
        done: list[str] = []
        try:
            for target in targets:
                name = _succinct(top.signed).get_role_for_target(target.path)
                if name not in bins:
                    bins[name] = self._bin(top, name)
                listed = bins[name].signed.targets
                if not _is_new(target, listed.get(target.path)):
                    continue
                file = TargetFile.from_data(target.path, target.data, ["sha256"])
                if target.offer is not None:
                    file.unrecognized_fields["custom"] = msgspec.to_builtins(target.offer)
                put(f"{self.path}/targets/{file.get_prefixed_paths()[0]}", target.data)
                listed[target.path] = file
                changed.add(name)
                done.append(target.path)
            if done:
                self._sign_bins({name: bins[name] for name in changed}, release, online)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return done

    def new(self, targets: Iterable[Target]) -> list[str]:
        """The paths of what `publish` would add.

        Raises:
            UpdateError: It would refuse.
        """
        top = self._targets()
        roles = _succinct(top.signed)
        bins: dict[str, Metadata[Targets]] = {}
        found: list[str] = []
        for target in targets:
            name = roles.get_role_for_target(target.path)
            if name not in bins:
                bins[name] = self._bin(top, name)
            if _is_new(target, bins[name].signed.targets.get(target.path)):
                found.append(target.path)
        return found

    def listed(self, paths: Iterable[str]) -> dict[str, Listed]:
        """What is offered of these now; what nothing is offered of is left out."""
        top = self._targets()
        bins: dict[str, Metadata[Targets]] = {}
        found: dict[str, Listed] = {}
        for path in paths:
            name = _succinct(top.signed).get_role_for_target(path)
            if name not in bins:
                bins[name] = self._bin(top, name)
            one = bins[name].signed.targets.get(path)
            if one is not None:
                offer = msgspec.convert(one.custom, Offer)
                found[path] = Listed(offer=offer, sha256=one.hashes["sha256"])
        return found

    def refresh(self, online: CryptoSigner, release: CryptoSigner | None) -> None:
        """Say again that nothing newer is withheld; bins that expire soon are signed again, too.

        Args:
            online: Signs that.
            release: None: it is not at hand, and bins stay as they are.
        """
        top = self._targets()
        names = list(_succinct(top.signed).get_roles())
        old = {} if release is None else {name: self._bin(top, name) for name in names}
        due = {name: one for name, one in old.items() if one.signed.expires - self._now < SOON}
        try:
            if release is not None and due:
                self._sign_bins(due, release, online)
            else:
                self._close(self._snapshot(), self._timestamp(), online)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def rotate_root(self, old: CryptoSigner, new: CryptoSigner, online: CryptoSigner) -> None:
        """Replace the root key; both sign the step, so that devices can follow."""
        root = self._root()
        root.signed.revoke_key(old.public_key.keyid, "root")
        root.signed.add_key(new.public_key, "root")
        self._next_root(root, [old, new], online)

    def rotate_targets(
        self, root: CryptoSigner, old: Key, new: CryptoSigner, online: CryptoSigner
    ) -> None:
        """Replace the targets key."""
        top, metadata = self._targets(), self._root()
        metadata.signed.revoke_key(old.keyid, "targets")
        metadata.signed.add_key(new.public_key, "targets")
        self._next_root(metadata, [root], None)
        self._next_targets(top, new, online)

    def rotate_online(self, root: CryptoSigner, old: Key, new: CryptoSigner) -> None:
        """Replace the key of snapshot and timestamp."""
        snapshot, timestamp, metadata = self._snapshot(), self._timestamp(), self._root()
        for role in ("snapshot", "timestamp"):
            metadata.signed.revoke_key(old.keyid, role)
            metadata.signed.add_key(new.public_key, role)
        self._next_root(metadata, [root], None)
        self._close(snapshot, timestamp, new)

    def rotate_release(
        self, targets: CryptoSigner, old: Key, new: CryptoSigner, online: CryptoSigner
    ) -> None:
        """Replace the key of the bins, and sign all of them anew."""
        top = self._targets()
        bins = {name: self._bin(top, name) for name in _succinct(top.signed).get_roles()}
        top.signed.add_key(new.public_key)
        top.signed.revoke_key(old.keyid)
        self._next_targets(top, targets, None)
        self._sign_bins(bins, new, online)

    def key(self, role: str) -> Key:
        """What the repository knows of a key: `root`, `targets`, `release` or `online`."""
        if role == "release":
            found = self._targets().signed.delegations
            assert found is not None, "made so"
            return next(iter(found.keys.values()))
        signed = self._root().signed
        return signed.keys[signed.roles["timestamp" if role == "online" else role].keyids[0]]

    def expiring(self) -> Iterator[tuple[str, timedelta]]:
        """What expires soon, and in how long; less than nothing: it has."""
        bins = _succinct(self._targets().signed).get_roles()
        found = {name: self._store.expires(name) for name in ("root", "targets", "snapshot")}
        found["bins"] = min(self._store.expires(name) for name in bins)
        for name, expires in found.items():
            if expires - self._now < SOON:
                yield name, expires - self._now

    def _next_root(
        self, root: Metadata[Root], signers: list[CryptoSigner], online: CryptoSigner | None
    ) -> None:
        root.signed.version += 1
        root.signed.expires = self._until("root")
        root.signatures.clear()
        for signer in signers:
            root.sign(signer, append=True)
        self._store.write("root", root)
        if online is not None:
            # Devices look for a new root when the timestamp moved.
            self._close(self._snapshot(), self._timestamp(), online)

    def _next_targets(
        self, top: Metadata[Targets], signer: CryptoSigner, online: CryptoSigner | None
    ) -> None:
        top.signed.version += 1
        top.signed.expires = self._until("targets")
        top.sign(signer)
        self._store.write("targets", top)
        if online is not None:
            snapshot = self._snapshot()
            snapshot.signed.meta["targets.json"] = MetaFile(top.signed.version)
            self._close(snapshot, self._timestamp(), online)

    def _sign_bins(
        self, bins: dict[str, Metadata[Targets]], release: CryptoSigner, online: CryptoSigner
    ) -> None:
        snapshot = self._snapshot()
        snapshot.signed.meta["targets.json"] = MetaFile(self._store.version("targets"))
        for name, one in bins.items():
            one.signed.version += 1
            one.signed.expires = self._until("bin")
            one.sign(release)
            self._store.write(name, one)
            snapshot.signed.meta[f"{name}.json"] = MetaFile(one.signed.version)
        self._close(snapshot, self._timestamp(), online)

    def _close(
        self, snapshot: Metadata[Snapshot], timestamp: Metadata[Timestamp], online: CryptoSigner
    ) -> None:
        """Name everything that was written; the last file of all makes it the newest."""
        snapshot.signed.version += 1
        snapshot.signed.expires = self._until("snapshot")
        snapshot.sign(online)
        data = self._store.write("snapshot", snapshot)
        timestamp.signed.snapshot_meta = MetaFile.from_data(
            snapshot.signed.version, data, ["sha256"]
        )
        timestamp.signed.version += 1
        timestamp.signed.expires = self._until("timestamp")
        timestamp.sign(online)
        self._store.write("timestamp", timestamp)

    def _until(self, role: str) -> datetime:
        return (self._now + LIFE[role]).replace(microsecond=0)

    def _root(self) -> Metadata[Root]:
        root = self._store.read("root", Root)
        self._store.verify(root, "root", root.signed)
        return root

    def _targets(self) -> Metadata[Targets]:
        found = self._store.read("targets", Targets)
        self._store.verify(found, "targets", self._root().signed)
        return found

    def _bin(self, top: Metadata[Targets], name: str) -> Metadata[Targets]:
        found = self._store.read(name, Targets)
        self._store.verify(found, name, top.signed)
        return found

    def _snapshot(self) -> Metadata[Snapshot]:
        found = self._store.read("snapshot", Snapshot)
        self._store.verify(found, "snapshot", self._root().signed)
        return found

    def _timestamp(self) -> Metadata[Timestamp]:
        found = self._store.read("timestamp", Timestamp)
        self._store.verify(found, "timestamp", self._root().signed)
        return found


def _is_new(target: Target, listed: TargetFile | None) -> bool:
    if listed is None:
        return True
    if target.offer is None:
        return False
    before = msgspec.convert(listed.custom, Offer)
    if before.content == target.offer.content:
        return False
    if target.offer.release <= before.release:
        raise UpdateError(
            f"{target.path}: release {before.release} is published with other content, so "
            f"{target.offer.release} cannot be",
            hint="Raise `release` in fleet.yaml: devices never take a lower number, or one twice.",
        )
    return True


def _succinct(targets: Targets) -> SuccinctRoles:
    assert targets.delegations is not None, "made so"
    assert targets.delegations.succinct_roles is not None, "made so"
    return targets.delegations.succinct_roles


def _unwritable(path: Path, error: OSError) -> UpdateError:
    return UpdateError(
        f"{path}: cannot be written: {error.strerror}",
        hint="What devices read is whole: publish again when there is room.",
    )


def utc(ns: int) -> datetime:
    """A clock's reading."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
