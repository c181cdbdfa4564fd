"""A repository over real HTTP: what is right is taken, attacks and accidents change nothing."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from edge_agent.clock import SimulatedClock, SystemClock
from edge_agent.commands.release import guard
from edge_agent.commands.update import update
from edge_agent.errors import UpdateError
from edge_agent.fleet import signing
from edge_agent.fleet.repository import Repository, utc
from edge_agent.fleet.targets import Target
from edge_agent.release import Offer, Parcel
from edge_agent.updating import fetching
from edge_agent.updating.releases import Releases
from edge_agent.updating.state import State
from tests.offices import Office, Server, serving

pytestmark = pytest.mark.real

CLOCK = SystemClock()
BUSIER = "outbox: {max_mb: 32}\n"


class Device:
    """A device that was set up with the office's first release."""

    def __init__(self, path: Path, office: Office, repository: str) -> None:
        etc = path / "etc"
        etc.mkdir(parents=True)
        self.settings = etc / "updates.json"
        self.state_dir = path / "config"
        self.releases = Releases(self.state_dir)
        told = {"repository": repository, "device": "ear-1", "state_dir": str(self.state_dir)}
        self.settings.write_bytes(msgspec.json.encode({**told, "runtime_dir": str(path / "run")}))
        shutil.copy(office.repo / "metadata" / "1.root.json", etc / "updates-root.json")
        (etc / "agent.json").write_text('{"mqtt": {"host": "mq.example"}}')
        guard(self.settings, CLOCK)

    def look(self, repo: str | None = None) -> None:
        """Look for a release, without trying it."""
        update(self.settings, repo, CLOCK, at_once=True, trust_clock=True, dry_run=True)

    def take(self, repo: str | None = None) -> None:
        """Fetch and stage what is offered, all but the trial."""
        from edge_agent.updating.repository import Repository as View

        told = msgspec.json.decode(self.settings.read_bytes())
        root = self.settings.with_name("updates-root.json").read_bytes()
        origin = fetching.origin(repo or told["repository"], CLOCK)
        view = View(self.releases.tuf, root, origin)
        found = view.offer("ear-1")
        assert found is not None
        release, parcel = view.parcel("ear-1", *found)
        self.releases.stage(release, parcel, (Path("models/street"), view.model(release)))

    def things(self) -> dict[str, bytes]:
        """What must not change: releases, state, what is in force."""
        return {
            str(path.relative_to(self.state_dir)): path.read_bytes()
            for path in self.state_dir.rglob("*")
            if path.is_file() and "tuf" not in path.parts and not path.name.endswith("lock")
            and path.name != "seen.json"
        }  # fmt: skip


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office(tmp_path / "office")
    office.publish(1)
    return office


@pytest.fixture
def server(office: Office) -> Iterator[Server]:
    with serving(office.repo) as server:
        yield server


@pytest.fixture
def device(tmp_path: Path, office: Office, server: Server) -> Device:
    return Device(tmp_path / "device", office, server.url)


def known(device: Device) -> State:
    state = device.releases.read_state()
    assert state is not None
    return state


def refused(device: Device, match: str) -> None:
    """Told in a sentence with a hint, and nothing changed."""
    before = device.things()
    with pytest.raises(UpdateError, match=match) as told:
        device.take()
    assert told.value.hint
    assert device.things() == before


def flip(path: Path, at: int | None = None) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    place = len(data) // 2 if at is None else at
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_a_release_arrives_whole_with_its_model(device: Device, office: Office) -> None:
    device.take()
    folder = device.releases.folder(1)
    assert device.releases.whole(1)
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    assert config["site"]["device"] == "ear-1"
    assert (folder / "models" / "street" / "model.tflite").is_file()


def test_without_news_the_second_look_is_one_request_and_brings_nothing(
    device: Device, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    device.releases.write_state(msgspec.structs.replace(known(device), highest=1))
    device.look()
    server.asked.clear()
    device.look()
    assert server.asked == ["metadata/timestamp.json"]
    assert "nothing new: release 0 is in force" in capsys.readouterr().out


def test_what_expired_since_the_last_look_is_looked_at_in_full(
    device: Device, server: Server
) -> None:
    device.releases.write_state(msgspec.structs.replace(known(device), highest=1))
    device.look()
    server.asked.clear()
    later = SimulatedClock(CLOCK.utc_ns() + 15 * 86_400_000_000_000)
    update(device.settings, None, later, at_once=True, trust_clock=True, dry_run=True)
    assert "metadata/2.root.json" in server.asked


def test_news_are_seen_by_the_next_look(
    device: Device, office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    device.look()
    office.publish(2, BUSIER)
    capsys.readouterr()
    device.look()
    assert capsys.readouterr().out == "release 2 would be tried\n"


def test_an_older_repository_is_refused(device: Device, office: Office, server: Server) -> None:
    old = office.copied(office.repo.with_name("old"))
    office.publish(2, BUSIER)
    device.look()
    server.folder = old
    refused(device, "the repository is older than what this device has seen")


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("metadata/timestamp.json", "not signed by the keys|is damaged"),
        ("metadata/*.snapshot.json", "differs from what was signed"),
        ("metadata/*.targets.json", "not signed by the keys|is damaged"),
        ("metadata/2.bin-*.json", "not signed by the keys|is damaged"),
        ("targets/devices/*.ear-1.json", "differs from what was signed"),
        ("targets/models/*.tar", "differs from what was signed"),
    ],
)
def test_a_changed_byte_is_refused_wherever_it_is(
    device: Device, office: Office, pattern: str, match: str
) -> None:
    for path in office.repo.glob(pattern):
        flip(path)
    refused(device, match)


def test_two_devices_files_that_changed_places_are_refused(device: Device, office: Office) -> None:
    one, other = (
        office.file("targets/devices/*.ear-1.json"),
        office.file("targets/devices/*.ear-2.json"),
    )
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    refused(device, "differs from what was signed")


def signed(office: Office, data: bytes, release: int) -> None:
    """What an office would never write, under its keys."""
    held = Repository(office.repo, utc(CLOCK.utc_ns()))
    offer = Offer(release=release, content="other", window_s=0)
    target = Target(path="devices/ear-1.json", data=data, offer=offer)
    held.publish(
        [target], signing.load(office.keys, "release"), signing.load(office.keys, "online")
    )


def test_another_devices_release_under_this_ones_name_is_refused(
    device: Device, office: Office
) -> None:
    signed(office, office.file("targets/devices/*.ear-2.json").read_bytes(), 2)
    refused(device, "is release 1 of ear-2, not 2 of ear-1")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", msgspec.json.encode(Parcel(config="", release="{}"))]
)
def test_a_parcel_that_is_none_is_refused(device: Device, office: Office, data: bytes) -> None:
    signed(office, data, 2)
    refused(device, "is not published as this agent knows it")


def test_lists_of_two_days_are_not_mixed(device: Device, office: Office) -> None:
    first = {
        path.name.partition(".")[2]: path for path in office.repo.glob("metadata/2.bin-*.json")
    }
    office.publish(2, BUSIER)
    for path in office.repo.glob("metadata/3.bin-*.json"):
        path.write_bytes(first[path.name.partition(".")[2]].read_bytes())
    refused(device, "the repository is older|is damaged")


@pytest.mark.parametrize("pattern", ["metadata/*.bin-*.json", "targets/devices/*.ear-1.json"])
def test_a_file_that_is_gone_is_told(device: Device, office: Office, pattern: str) -> None:
    for path in office.repo.glob(pattern):
        path.unlink()
    refused(device, "the repository lacks a file: .*HTTP 404")


@pytest.mark.parametrize("days", [15, 100, 400])
def test_an_expired_repository_is_refused_and_a_refresh_mends_it(tmp_path: Path, days: int) -> None:
    clock = SimulatedClock(CLOCK.utc_ns() - days * 86_400_000_000_000)
    office = Office(tmp_path / "office", clock)
    office.publish(1)
    with serving(office.repo) as server:
        device = Device(tmp_path / "device", office, server.url)
        refused(device, "metadata expired")
        office.clock = CLOCK
        office.refresh()
        if days == 400:
            # Who may refresh must not be who says which keys count.
            refused(device, "metadata expired: Final root")
            office.rotate("root")
            office.rotate("targets")
        device.take()


def test_a_device_follows_keys_that_were_changed_twice_while_it_was_away(
    device: Device, office: Office
) -> None:
    for _ in range(2):
        for role in signing.ROLES:
            office.rotate(role)
    office.publish(2, BUSIER)
    device.take()
    assert device.releases.whole(2)


def test_a_repository_of_other_keys_is_refused(
    device: Device, server: Server, tmp_path: Path
) -> None:
    other = Office(tmp_path / "other")
    other.publish(1)
    server.folder = other.repo
    refused(device, "not signed by the keys that this device trusts")


def test_who_has_the_online_key_alone_can_give_devices_nothing(
    device: Device, office: Office, tmp_path: Path
) -> None:
    for role in ("root", "targets", "release"):
        (office.keys / f"{role}.pem").unlink()
        signing.make(office.keys, role)
    held = Repository(office.repo, utc(CLOCK.utc_ns()))
    offer = Offer(release=9, content="other", window_s=0)
    target = Target(path="devices/ear-1.json", data=b"{}", offer=offer)
    stolen = signing.load(office.keys, "online")
    held.publish([target], signing.load(office.keys, "release"), stolen)
    refused(device, "not signed by the keys")


def names(device: Device, server: Server) -> list[str]:
    """Every file that a device asks for on its way to a release."""
    device.take()
    asked = list(dict.fromkeys(name for name in server.asked if "root" not in name))
    shutil.rmtree(device.releases.folder(1))
    shutil.rmtree(device.releases.tuf)
    return asked


def test_a_connection_that_is_cut_in_any_request_is_told_and_done_again(
    device: Device, server: Server
) -> None:
    asked = names(device, server)
    assert len(asked) == 7
    for name in asked:
        server.troubles = {name: "cut"}
        refused(device, "broke off, \\d+ bytes are missing")
        shutil.rmtree(device.releases.tuf)
    server.troubles = {}
    device.take()


def test_a_body_without_end_is_cut_off_in_any_request(device: Device, server: Server) -> None:
    for name in names(device, server):
        server.troubles = {name: "endless"}
        refused(device, "sent more than it may")
        shutil.rmtree(device.releases.tuf)


def test_404_for_everything_is_told(device: Device, server: Server) -> None:
    server.troubles = {"*": "missing"}
    refused(device, "the repository lacks a file")


def test_nobody_there_is_told(device: Device, server: Server) -> None:
    server.close()
    refused(device, "cannot be fetched from: .*refused")


def test_a_server_that_says_nothing_or_drop_by_drop_is_given_up(server: Server) -> None:
    web = fetching.Web(server.url, CLOCK, quiet_s=0.2, file_s=0.5)
    server.troubles = {"*": "silent"}
    with pytest.raises(UpdateError, match="timed out"):
        list(web.pieces("metadata/timestamp.json"))
    server.troubles = {"*": "drip"}
    with pytest.raises(UpdateError, match=r"was not whole after 0 s"):
        list(web.pieces("metadata/timestamp.json"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"not run: this machine mounts nothing: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told_and_changes_nothing(
    small_disk: Path, office: Office, server: Server
) -> None:
    device = Device(small_disk / "device", office, server.url)
    # The model has 400 kB.
    refused(device, "cannot be written: No space left on device; nothing was changed")
    assert not list(device.state_dir.glob(".staging*"))
    assert list((device.state_dir / "releases").iterdir()) == [device.releases.folder(0)]
    # And where not even the state fits:
    with (small_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0" * 512)
    with pytest.raises(UpdateError, match="No space left on device; nothing was changed"):
        device.take()
    assert device.releases.in_force() == 0


def test_a_stick_is_taken_with_the_same_checks(
    device: Device, office: Office, server: Server, tmp_path: Path
) -> None:
    stick = office.copied(tmp_path / "stick")
    server.close()
    device.take(str(stick))
    assert device.releases.whole(1)
    shutil.rmtree(device.releases.tuf)
    for path in stick.glob("targets/devices/*.ear-1.json"):
        flip(path)
    with pytest.raises(UpdateError, match="differs from what was signed"):
        device.take(str(stick))
    with pytest.raises(UpdateError, match="holds no repository"):
        device.take(str(tmp_path))
    with pytest.raises(UpdateError, match="is no address of a repository"):
        device.take("ftp://127.0.0.1/")


def test_a_clock_that_nothing_set_keeps_what_there_is(device: Device) -> None:
    before = device.things()
    with pytest.raises(UpdateError, match="the clock is not synchronised"):
        update(
            device.settings, None, SimulatedClock(), at_once=True, trust_clock=False, dry_run=False
        )
    assert device.things() == before


def test_the_same_number_with_other_content_is_refused_in_the_office(office: Office) -> None:
    with pytest.raises(UpdateError, match="so 1 cannot be") as told:
        office.publish(1, BUSIER)
    assert "Raise `release` in fleet.yaml" in told.value.hint


def test_a_part_of_the_fleet_is_published_and_the_rest_sees_no_change(
    device: Device, office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.publish(2, BUSIER, "ear-2")
    capsys.readouterr()
    device.look()
    assert capsys.readouterr().out == "release 1 would be tried\n"


def test_keys_are_refused_where_others_read_them(office: Office, tmp_path: Path) -> None:
    from edge_agent.commands.publish import init

    with pytest.raises(UpdateError, match="which others read"):
        init(office.fleet, office.fleet / "keys", tmp_path / "new", None, CLOCK)
    assert (office.keys / "root.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "pattern", ["2.bin-*.json", "1.targets.json", "2.snapshot.json", "timestamp.json"]
)
def test_what_somebody_changed_in_the_repository_is_never_signed_again(
    office: Office, pattern: str
) -> None:
    for path in office.repo.glob(f"metadata/{pattern}"):
        # A later expiry is still a valid list, but for its signature.
        found = msgspec.json.decode(path.read_bytes())
        found["signed"]["expires"] = "2099-01-01T00:00:00Z"
        path.write_bytes(msgspec.json.encode(found))
    with pytest.raises(UpdateError, match="is not signed by its key"):
        office.publish(2, BUSIER)
