"""`fleet flash` onto real FAT images and into folders; the seeds judged by cloud-init itself."""

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml

from edge_agent import configfile
from edge_agent.commands.install import LINK
from tests import cards
from tests.fleets import ROOT, edge_agent
from tests.real.broker import program
from tests.sealed import (
    PASSPHRASE,
    SSH_KEY,
    found_in,
    issued,
    opened,
    sealed,
    sealed_secret,
)

NAMES = ("user-data", "network-config", "meta-data")
KEY = "/etc/earshot/credentials/mqtt-key"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Devices with certificates, at a site with a wireless network; tests only look at it."""
    path = issued(sealed(tmp_path_factory.mktemp("flash") / "fleet"))
    site = path / "sites" / "example-city.yaml"
    wifi = "wifi: {ssid: 'Straßenfest: no # 5', country: DE}\n"
    site.write_text(site.read_text() + wifi, encoding="utf-8")
    sealed_secret(path, "wifi/example-city", f"{PASSPHRASE}\n".encode())
    return path


def flash(fleet: Path, *arguments: str | Path, code: int = 0) -> str:
    done = edge_agent("fleet", "flash", *map(str, arguments), cwd=fleet)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stdout if code == 0 else done.stderr


def written(user_data: bytes) -> dict[str, dict[str, str]]:
    """The files of a seed by their paths."""
    return {entry["path"]: entry for entry in yaml.safe_load(user_data)["write_files"]}


@pytest.mark.parametrize(
    ("files", "called"),
    [
        (cards.TRIXIE, "Raspberry Pi OS with cloud-init (Trixie)"),
        (cards.UBUNTU, "Ubuntu for Raspberry Pi"),
        ({**cards.UBUNTU, "vmlinuz": b"", "current": b""}, "Ubuntu for Raspberry Pi"),
    ],
    ids=["trixie", "ubuntu", "ubuntu with two states"],
)
def test_a_mounted_card_and_an_image_get_the_same_seed(
    fleet: Path, tmp_path: Path, files: dict[str, bytes], called: str
) -> None:
    image, card = cards.image(tmp_path / "os.img", files), tmp_path / "card.img"
    before = image.read_bytes()
    told = flash(fleet, "market-01", "--image", image, "--out", card)
    assert told.splitlines() == [
        f"{image}: {called}",
        "market-01, release 1: user-data, network-config, meta-data written",
    ]
    boot = cards.folder(tmp_path / "boot", files)
    assert called in flash(fleet, "market-01", "--boot", boot)
    for name in NAMES:
        assert cards.read(card, name) == (boot / name).read_bytes(), name
    # Nothing else has changed, on the card as in its second partition, and the image not at all.
    assert image.read_bytes() == before
    for name in set(files) - set(NAMES):
        assert cards.read(card, name) == (boot / name).read_bytes() == files[name]
    assert card.read_bytes()[41 << 20 :] == before[41 << 20 :]
    assert card.stat().st_mode & 0o777 == 0o600
    checked = [program("fsck.vfat"), "-n", str(_fat(card, tmp_path))]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
    # It may be done again, also with another device.
    flash(fleet, "market-02", "--image", card, "--out", image)
    assert b"earshot-market-02-1" in cards.read(image, "meta-data")
    flash(fleet, "market-02", "--boot", boot)
    assert found_in(boot, b"market-01") == []


def _fat(card: Path, folder: Path) -> Path:
    fat = folder / "partition"
    fat.write_bytes(card.read_bytes()[1 << 20 : 41 << 20])
    return fat


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            cards.BOOKWORM,
            "is of a Raspberry Pi OS without cloud-init (Bookworm, or the first Trixie",
        ),
        (cards.PRESEED, "takes its settings from rpi-preseed.toml"),
        ({"autorun.inf": b""}, "is no boot partition of a Raspberry Pi: it has no config.txt"),
        ({"config.txt": b"", "kernel8.img": b""}, "is a boot partition, but neither of"),
        ({**cards.TRIXIE, "firstrun.sh": b""}, "was customised with a firstrun.sh, which this"),
        (
            {**cards.TRIXIE, "cmdline.txt": b"root=x rootwait ds=nocloud;i=rpi-imager-17 quiet\n"},
            "cmdline.txt names an instance of cloud-init, which outdoes a seed's own",
        ),
    ],
    ids=["bookworm", "preseed", "other stick", "other system", "imager 1", "imager 2"],
)
def test_what_would_ignore_a_seed_is_refused_with_a_sentence_and_left_alone(
    fleet: Path, tmp_path: Path, files: dict[str, bytes], reason: str
) -> None:
    image, card = cards.image(tmp_path / "os.img", files), tmp_path / "card.img"
    boot = cards.folder(tmp_path / "boot", files)
    for place, arguments in ((image, ("--image", image, "--out", card)), (boot, ("--boot", boot))):
        told = flash(fleet, "market-01", *arguments, code=2)
        assert f"{place}: {reason}" in told
        assert len(told.splitlines()) == 2
    assert {one.name: one.read_bytes() for one in boot.iterdir()} == files
    assert not card.exists()


@pytest.mark.parametrize(("files", "other"), [(cards.TRIXIE, "ubuntu"), (cards.UBUNTU, "raspios")])
def test_another_system_than_the_one_wanted_is_refused(
    fleet: Path, tmp_path: Path, files: dict[str, bytes], other: str
) -> None:
    boot = cards.folder(tmp_path / "boot", files)
    told = flash(fleet, "market-01", "--boot", boot, "--system", other, code=2)
    assert "Leave out --system, or take the other card" in told
    assert {one.name: one.read_bytes() for one in boot.iterdir()} == files


def test_what_is_no_image_of_a_card_is_refused(fleet: Path, tmp_path: Path) -> None:
    plain, card = tmp_path / "plain.img", tmp_path / "card.img"
    plain.write_bytes(bytes(1 << 20))
    packed = tmp_path / "os.img.xz"
    packed.write_bytes(b"\xfd7zXZ\0")
    bare = cards.partition(tmp_path / "bare.fat", cards.TRIXIE)
    for image, reason in (
        (plain, "its partitions: sfdisk: "),
        (packed, "is packed"),
        (bare, "has no partition"),
        (tmp_path / "nowhere.img", "there is no such file"),
    ):
        told = flash(fleet, "market-01", "--image", image, "--out", card, code=2)
        assert f"{image}: {reason}" in told
    for out in (plain, tmp_path, Path("/dev/null")):
        told = flash(fleet, "market-01", "--image", plain, "--out", out, code=2)
        assert f"{out}: is the image itself, a folder or a device" in told
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bare.fat", "os.img.xz", "plain.img"]


def test_a_card_without_room_is_said_and_no_half_image_is_left(fleet: Path, tmp_path: Path) -> None:
    image = cards.image(tmp_path / "os.img", cards.TRIXIE)
    fill = [program("mcopy"), "-i", f"{image}@@{1 << 20}", "-"]
    for size in (1 << 20, 1 << 15, 512):
        for number in range(1000):
            name = f"::{size}-{number}"
            done = subprocess.run(
                [*fill, name], input=bytes(size), capture_output=True, check=False
            )
            if done.returncode or done.stderr:
                break
    told = flash(fleet, "market-01", "--image", image, "--out", tmp_path / "card.img", code=2)
    assert "card.img: user-data was not written whole to its first partition" in told
    assert [one.name for one in tmp_path.iterdir()] == ["os.img"]


def test_folders_hold_what_imager_takes_and_are_for_their_owner_alone(
    fleet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cards"
    told = flash(fleet, "market-*", "--out", out, "--system", "ubuntu")
    assert told.splitlines()[0] == f"2 devices written to {out}, for Ubuntu for Raspberry Pi"
    assert f"--cloudinit-userdata {out}/DEVICE/user-data" in told
    for name in ("market-01", "market-02"):
        assert (out / name).stat().st_mode & 0o777 == 0o700
        assert sorted(one.name for one in (out / name).iterdir()) == sorted(NAMES)
        assert all(one.stat().st_mode & 0o777 == 0o600 for one in (out / name).iterdir())
    sheet = (out / "sheet.csv").read_text().splitlines()
    assert sheet[0] == "device,board,mic,site,serial,lat,lon,note"
    assert sheet[1].startswith("market-01,pi-zero-2w,i2s-ics43434,example-city,10000000a1b2c3d4,")
    told = flash(fleet, "market-*", "--boot", tmp_path, code=2)
    assert "fits 2 devices, and a card is one of them" in told


def test_a_dry_run_changes_nothing(fleet: Path, tmp_path: Path) -> None:
    boot = cards.folder(tmp_path / "boot", cards.TRIXIE)
    image = cards.image(tmp_path / "os.img", cards.TRIXIE)
    for arguments in (
        ("--boot", boot),
        ("--image", image, "--out", tmp_path / "card.img"),
        ("--out", tmp_path / "folders"),
    ):
        assert "would be written" in flash(fleet, "market-01", *arguments, "--dry-run")
    assert {one.name: one.read_bytes() for one in boot.iterdir()} == cards.TRIXIE
    assert sorted(one.name for one in tmp_path.iterdir()) == ["boot", "os.img"]


def test_a_seed_carries_the_rendered_files_and_the_devices_own_credentials(
    fleet: Path, tmp_path: Path
) -> None:
    edge_agent("fleet", "render", "--out", str(tmp_path / "build"), cwd=fleet)
    boot = cards.folder(tmp_path / "boot", cards.TRIXIE)
    flash(fleet, "market-01", "--boot", boot)
    files = written((boot / "user-data").read_bytes())
    rendered = tmp_path / "build" / "market-01"
    assert files["/etc/earshot/agent.json"]["content"] == (rendered / "config.json").read_text()
    assert files["/etc/earshot/release.json"]["content"] == (rendered / "release.json").read_text()
    key = opened(fleet, "devices/market-01.key").decode()
    identities = fleet / "identities"
    for name, text in (
        ("mqtt-key", key),
        ("mqtt-certificate", (identities / "devices" / "market-01.crt").read_text()),
        ("mqtt-ca", (identities / "ca.crt").read_text()),
    ):
        entry = files[f"/etc/earshot/credentials/{name}"]
        assert (entry["content"], entry["permissions"]) == (text, "0600")
        assert entry["owner"] == "root:root"
    # Where secrets belong, and nowhere else: not in the folder, not in what is rendered.
    line = key.splitlines()[1].encode()
    assert found_in(tmp_path, line) == ["boot/user-data"]
    assert found_in(tmp_path, PASSPHRASE.encode()) == ["boot/network-config"]
    assert found_in(fleet, line) == found_in(fleet, PASSPHRASE.encode()) == []
    others = opened(fleet, "devices/market-02.key").splitlines()[1]
    assert others not in (boot / "user-data").read_bytes()


def test_nobody_logs_in_by_a_password_and_the_id_is_of_device_and_release(
    fleet: Path, tmp_path: Path
) -> None:
    for system in ("raspios", "ubuntu"):
        out = tmp_path / system
        flash(fleet, "depot-01", "--out", out, "--system", system)
        data = yaml.safe_load((out / "depot-01" / "user-data").read_text())
        assert data["hostname"] == "depot-01"
        assert data["ssh_pwauth"] is False
        assert data["disable_root"] is True
        (user,) = data["users"]
        assert (user["name"], user["lock_passwd"]) == ("engineer", True)
        assert user["ssh_authorized_keys"] == [SSH_KEY]
        assert not {"passwd", "hashed_passwd", "plain_text_passwd"} & set(user)
        assert data.get("enable_ssh") == (True if system == "raspios" else None)
        meta = yaml.safe_load((out / "depot-01" / "meta-data").read_text())
        assert meta["instance-id"] == "earshot-depot-01-1"
        network = yaml.safe_load((out / "depot-01" / "network-config").read_text())
        wifi = network["wifis"]["wlan0"]
        assert wifi["access-points"] == {"Straßenfest: no # 5": {"password": PASSPHRASE}}
        assert wifi["regulatory-domain"] == "DE"


@pytest.mark.parametrize("system", ["raspios", "ubuntu"])
def test_cloud_init_finds_nothing_wrong_with_a_seed(
    fleet: Path, tmp_path: Path, system: str
) -> None:
    flash(fleet, "market-01", "--out", tmp_path / "out", "--system", system)
    data = (tmp_path / "out" / "market-01" / "user-data").read_text()
    if system == "raspios":
        # Raspberry Pi's own word, which Debian's schema does not know.
        assert '\n "enable_ssh": true\n' in data
        data = data.replace(',\n "enable_ssh": true\n', "\n")
    assert judged(tmp_path, data) == (0, "Valid cloud-config: user-data\n")
    code, told = judged(tmp_path, data.replace('"permissions"', '"permission"'))
    assert (code, "'permission' was unexpected" in told) == (1, True)


def judged(folder: Path, text: str) -> tuple[int, str]:
    place = folder / "user-data"
    place.write_text(text)
    done = subprocess.run(
        [cloud_init(), "schema", "--config-file", place.name],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def cloud_init() -> str:
    found = shutil.which("cloud-init")
    assert found is not None, "cloud-init is missing: apt-get install cloud-init"
    return found


_APPLY = """
import sys
from cloudinit import util
from cloudinit.config.cc_write_files import write_files
root, data = sys.argv[1], util.load_yaml(open(sys.argv[2]).read())
for one in data["write_files"]:
    one.pop("owner")
    one["path"] = root + one["path"]
write_files("seed", data["write_files"], owner=None)
"""


def test_cloud_inits_own_module_writes_what_was_meant_and_install_takes_it_up(
    fleet: Path, tmp_path: Path
) -> None:
    flash(fleet, "market-01", "--out", tmp_path / "out")
    seed = tmp_path / "out" / "market-01" / "user-data"
    root = tmp_path / "root"
    root.mkdir()
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _APPLY, str(root), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    for path, entry in written(seed.read_bytes()).items():
        place = root / path.lstrip("/")
        assert place.read_text() == entry["content"]
        assert f"{place.stat().st_mode & 0o777:04o}" == entry["permissions"]
    loaded = configfile.load(root / "etc" / "earshot" / "agent.json")
    assert loaded.config.mqtt.tls is not None
    assert loaded.config.mqtt.tls.key == "credential:mqtt-key"
    release = json.loads((root / "etc" / "earshot" / "release.json").read_bytes())
    assert release["config_sha256"] == loaded.sha256
    # What the set-up unit calls next.
    command = ("install", "--root", str(root), "--config", f"{root}/etc/earshot/agent.json")
    done = edge_agent(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    units = root / "etc" / "systemd" / "system"
    unit = (units / "earshot-agent.service").read_text()
    assert " run --config /etc/earshot/agent.json\n" in unit
    handed = (units / "earshot-agent.service.d" / "50-credentials.conf").read_text()
    assert [line.partition("=")[2] for line in handed.splitlines() if "Load" in line] == [
        f"{name}:/etc/earshot/credentials/{name}"
        for name in ("mqtt-ca", "mqtt-certificate", "mqtt-key")
    ]
    assert (root / LINK.lstrip("/")).is_symlink()
    assert not (root / "etc" / "earshot" / "agent.yaml").exists()
    assert edge_agent(*command, cwd=ROOT).stdout == "nothing to change: the service is in place\n"
    for name in ("earshot-setup.service", "earshot-agent.service"):
        verify = [program("systemd-analyze"), "verify", "--man=no", str(units / name)]
        told = subprocess.run(verify, capture_output=True, text=True, check=False).stderr
        # There is no agent in /opt on this machine.
        absent = "Command /opt/earshot/bin/edge-agent is not executable: No such file or directory"
        assert [line for line in told.splitlines() if absent not in line] == []


def test_an_image_with_the_agent_installs_nothing(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "fleet"
    shutil.copytree(fleet, path)
    text = (path / "fleet.yaml").read_text()
    (path / "fleet.yaml").write_text(text.replace("agent: earshot==0.1.0", "agent: null"))
    flash(path, "market-01", "--out", tmp_path / "out")
    files = written((tmp_path / "out" / "market-01" / "user-data").read_bytes())
    assert not [name for name in files if "10-agent" in name or "/setup/" in name]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("fleet.csv", "note\n", "note,state\n"), ""),
        (("recipients.txt", "", ""), ""),
    ],
    ids=["retired", "passphrase"],
)
def test_what_is_missing_is_said_before_a_card_is_touched(
    fleet: Path, tmp_path: Path, change: tuple[str, str, str], reason: str
) -> None:
    path = tmp_path / "fleet"
    shutil.copytree(fleet, path)
    boot = cards.folder(tmp_path / "boot", cards.TRIXIE)
    if change[1]:
        rows = (path / "fleet.csv").read_text().splitlines()
        states = ["state", "retired", "active", "active"]
        rows = [f"{row},{state}" for row, state in zip(rows, states, strict=True)]
        (path / "fleet.csv").write_text("\n".join(rows) + "\n")
        told = flash(path, "market-01", "--boot", boot, code=2)
        assert "market-01 is retired" in told
    else:
        sealed_secret(path, "wifi/example-city", b"short")
        told = flash(path, "market-01", "--boot", boot, code=2)
        assert "market-01: the passphrase of Straßenfest: no # 5 is none of WPA" in told
        (path / "secrets" / "wifi" / "example-city.age").unlink()
        told = flash(path, "market-01", "--boot", boot, code=2)
        assert "secrets/wifi/example-city.age: there is no such secret" in told
        shutil.rmtree(path / "identities")
        told = flash(path, "market-01", "--boot", boot, code=2)
        assert "identities/devices/market-01.crt: there is no such certificate" in told
        assert "edge-agent fleet identity issue market-01" in told
    assert {one.name: one.read_bytes() for one in boot.iterdir()} == cards.TRIXIE


def test_a_password_instead_of_a_certificate(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "fleet"
    shutil.copytree(fleet, path)
    site = path / "sites" / "example-city.yaml"
    head, _, _ = site.read_text().partition("  # The fleet's own")
    site.write_text(f"{head}  tls: {{}}\n  password_file: credential:mqtt-password\n")
    told = flash(path, "market-01", "--out", tmp_path / "out", code=2)
    assert "secrets/devices/market-01.password.age: there is no such secret" in told
    sealed_secret(path, "devices/market-01.password", b"planted password")
    flash(path, "market-01", "--out", tmp_path / "out")
    files = written((tmp_path / "out" / "market-01" / "user-data").read_bytes())
    assert files["/etc/earshot/credentials/mqtt-password"]["content"] == "planted password"
    assert KEY not in files


def test_the_sample_names_the_version_that_it_comes_with() -> None:
    text = (ROOT / "firmware_configs" / "fleet.yaml").read_text()
    version = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["version"]
    assert f"agent: earshot=={version}\n" in text
