"""A newcomer's way, from an empty folder to a release that a device took back.

The commands are those of docs/fleet.md and docs/updates.md; cloud-init, systemd, mosquitto and
mutual TLS run as they would on a device.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cards
from tests.fleets import edge_agent
from tests.real.booted import AGENT, BEFORE, System, booted
from tests.real.broker import program, wait_for
from tests.sealed import SSH_KEY, issued, opened, sealed

pytestmark = [pytest.mark.real, pytest.mark.slow]

SEED = ("user-data", "network-config", "meta-data")
BROKER = "/etc/mosquitto/earshot"
# Of this machine, and not of the seed.
CLOUD = "datasource_list: [NoCloud]\nlocale: false\n"
TOPICS = "earshot/example-city/market-01"


def start_from_seed(system: System) -> None:
    """What a boot does: cloud-init's four stages, one after the other."""
    for stage in (
        ("init", "--local"),
        ("init",),
        ("modules", "--mode=config"),
        ("modules", "--mode=final"),
    ):
        system.run("cloud-init", *stage, code=None)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = sealed(tmp_path_factory.mktemp("seeded") / "fleet")
    settings = path / "fleet.yaml"
    settings.write_text(settings.read_text().replace("agent: earshot==0.1.0", "agent: null"))
    changed(path, "sites/example-city.yaml", "mq.example-city.example", "127.0.0.1")
    # A slip of the pen is named where it is, and then mended.
    changed(path, "groups/uplink-lte.yaml", "window: 5", "windou: 5")
    told = edge_agent("fleet", "check", cwd=path)
    assert told.returncode == 1
    place, _, words = told.stdout.partition(": error: ")
    lines = (path / "groups" / "uplink-lte.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "windou" in text)
    assert place.startswith(f"groups/uplink-lte.yaml:{line}:"), told.stdout
    assert "windou" in words
    changed(path, "groups/uplink-lte.yaml", "windou: 5", "window: 5")
    assert edge_agent("fleet", "check", cwd=path).returncode == 0
    issued(path, "--broker", "127.0.0.1", "--reader", "city")
    # Where the devices look, and whom they believe.
    changed(path, "fleet.yaml", "updates: null", "updates: {repository: /shared/repository}")
    office(path, "keys", "init")
    root = path.parent / "repository" / "metadata" / "1.root.json"
    shutil.copy(root, path / "updates-root.json")
    office(path, "publish")
    return path


def changed(fleet: Path, name: str, old: str, new: str) -> None:
    text = (fleet / name).read_text()
    assert old in text
    (fleet / name).write_text(text.replace(old, new))


def office(fleet: Path, *command: str) -> None:
    beside = fleet.parent
    places = ("--repo", str(beside / "repository"), "--keys", str(beside / "keys"))
    done = edge_agent("fleet", *command, *places, cwd=fleet)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, fleet: Path) -> Iterator[System]:
    """A device, whose image has the agent, after its first start from a card, and its broker."""
    if shutil.which("cloud-init") is None:
        pytest.fail("cloud-init is missing: apt-get install cloud-init")
    folder = tmp_path_factory.mktemp("device")
    image, card = cards.image(folder / "os.img", cards.TRIXIE), folder / "card.img"
    for command in (
        ("broker", "--out", str(folder / "broker")),
        ("flash", "market-01", "--image", str(image), "--out", str(card)),
    ):
        done = edge_agent("fleet", *command, cwd=fleet)
        assert done.returncode == 0, done.stderr
    with booted(folder) as system:
        for file in (folder / "broker").iterdir():
            system.write(f"{BROKER}/{file.name}", file.read_text())
        for name, secret in (("server", "brokers/127.0.0.1"), ("city", "readers/city")):
            system.write(f"{BROKER}/{name}.key", opened(fleet, f"{secret}.key").decode())
        certificate = fleet / "identities" / "readers" / "city.crt"
        system.write(f"{BROKER}/city.crt", certificate.read_text())
        system.write("/etc/broker.conf", f"user root\ninclude_dir {BROKER}/conf.d\n")
        system.run("install", "-D", f"{BROKER}/earshot.conf", f"{BROKER}/conf.d/earshot.conf")
        system.run("systemd-run", "--unit=broker", program("mosquitto"), "-c", "/etc/broker.conf")
        who = f"--cafile {BROKER}/ca.crt --cert {BROKER}/city.crt --key {BROKER}/city.key"
        hears = f"mosquitto_sub -h 127.0.0.1 -p 8883 {who} -q 1 -v -t '#' >> /shared/heard"
        system.run("systemd-run", "--unit=hears", "--property=Restart=always", "sh", "-c", hears)
        for name in SEED:
            system.write(f"/boot/firmware/{name}", cards.read(card, name).decode())
        system.write("/etc/cloud/cloud.cfg.d/99-seed.cfg", CLOUD)
        system.run("mkdir", "-p", "/var/lib/cloud/seed")
        system.run("ln", "-s", "/boot/firmware", "/var/lib/cloud/seed/nocloud")
        # What the search below finds, where there is something.
        assert holding(system, _key(fleet)) == {"/boot/firmware/user-data"}
        carried(fleet, system)
        # As timesyncd does; there is no time server here.
        system.run("mkdir", "-p", "/run/systemd/timesync")
        system.run("touch", "/run/systemd/timesync/synchronized")
        start_from_seed(system)
        result = json.loads(system.run("cat", "/run/cloud-init/result.json"))["v1"]
        assert result["errors"] == []
        assert "NoCloud" in result["datasource"]
        gone = "/etc/systemd/system/earshot-agent.service.d/60-seeded.conf"
        wait_for(lambda: "No such" in system.run("ls", gone, code=None), "the seed is cleared", 90)
        yield system


def carried(fleet: Path, system: System) -> None:
    """The repository to where the device looks, as rsync does with a web server's folder."""
    shutil.copytree(fleet.parent / "repository", system.folder / "repository", dirs_exist_ok=True)


def _key(fleet: Path) -> str:
    """The line of the device's key that is nobody else's."""
    return opened(fleet, "devices/market-01.key").decode().splitlines()[1]


def heard(system: System, part: str) -> bool:
    place = system.folder / "heard"
    return place.exists() and any(part in line for line in place.read_text().splitlines())


def holding(system: System, secret: str) -> set[str]:
    """The files of the whole system that hold a text which came after its start."""
    places = ("/boot", "/etc", "/home", "/opt/earshot", "/root", "/run", "/srv", "/var")
    # Not what this machine had before: those are gigabytes, and no secret of today is in them.
    written = ("-type", "f", "-cnewer", f"/shared/{BEFORE}")
    search = ("grep", "--files-with-matches", "--no-messages", "--binary-files=text")
    found = system.run(
        *("find", *places, *written, "-exec", *search, "--fixed-strings", "-e", secret, "{}", "+"),
        code=None,
    )
    return {line for line in found.splitlines() if line.startswith("/")}


def test_a_card_becomes_a_device_that_its_broker_knows_and_keeps_no_secret(
    system: System, fleet: Path
) -> None:
    key = _key(fleet)
    wait_for(lambda: heard(system, f"{TOPICS}/status "), "the device comes to its broker", 90)
    wait_for(lambda: heard(system, f"{TOPICS}/health "), "it tells of itself", 30)
    # Where systemd takes it from, and what it gave the service, in memory.
    assert {
        place for place in holding(system, key) if not place.startswith("/run/credentials/")
    } == {"/etc/earshot/credentials/mqtt-key"}
    assert key not in system.run("journalctl", "--no-pager", "--quiet")
    shown = system.run("stat", "--format=%U %a", "/etc/earshot/credentials").split()
    assert shown == ["root", "700"]
    # What else the seed asked for.
    assert system.run("hostname").strip() == "market-01"
    account = system.run("getent", "shadow", "engineer").split(":")
    assert account[1] in ("!", "*")
    assert system.run("cat", "/home/engineer/.ssh/authorized_keys").strip() == SSH_KEY
    active = system.run("systemctl", "is-active", "earshot-agent.service", code=None).strip()
    assert active == "active"
    left = system.run("systemctl", "list-unit-files", "earshot-*", "--plain", "--no-legend")
    assert [line.split()[0] for line in left.splitlines()] == [
        "earshot-agent.service",
        "earshot-update.service",
        "earshot-update.timer",
    ]
    assert system.shows("earshot-update.timer", "ActiveState") == "active"


def test_at_the_next_boot_cloud_init_leaves_it_alone(system: System) -> None:
    """The instance is known, and what is left of the seed asks for nothing."""
    told = '{"edited": "by hand"}\n'
    system.write("/etc/earshot/release.json", told)
    system.run("rm", "-rf", "/run/cloud-init")
    start_from_seed(system)
    assert system.run("cat", "/etc/earshot/release.json") == told
    assert system.run("cat", "/var/lib/cloud/data/instance-id").strip() == "earshot-market-01-1"
    assert system.run("systemctl", "is-active", "earshot-agent.service").strip() == "active"


def test_an_update_arrives_and_one_with_another_broker_returns_by_itself(
    system: System, fleet: Path
) -> None:
    changed(fleet, "fleet.yaml", "release: 1\n", "release: 2\n")
    changed(fleet, "groups/uplink-lte.yaml", "window: 5", "window: 8")
    released(fleet, system)
    assert looked(system) == "0"
    told = status(system)
    assert (told["state"], told["in_force"]) == ("current", 2)
    wait_for(lambda: heard(system, '"number":2,"state":"current"'), "it says so", 90)

    changed(fleet, "fleet.yaml", "release: 2\n", "release: 3\n")
    changed(fleet, "sites/example-city.yaml", "host: 127.0.0.1", "host: mq.exmaple-city.example")
    released(fleet, system)
    assert looked(system) == "1"
    told = status(system)
    assert (told["state"], told["in_force"], told["about"]) == ("rolled_back", 2, 3)
    assert "broker" in str(told["reason"])
    # At the broker of before, which did nothing for that.
    wait_for(lambda: heard(system, '"state":"rolled_back"'), "it says why", 90)


def released(fleet: Path, system: System) -> None:
    office(fleet, "publish", "--window", "0")
    carried(fleet, system)


def looked(system: System) -> str:
    """The updater's exit code, started as its timer does."""
    unit = "earshot-update"
    system.run("systemctl", "start", "--no-block", unit)

    def over() -> bool:
        return system.shows(unit, "ActiveState") in ("inactive", "failed")

    wait_for(lambda: not over(), "it begins")
    wait_for(over, "it is over", 400)
    return system.shows(unit, "ExecMainStatus")


def status(system: System) -> dict[str, object]:
    told = system.run(AGENT, "config", "status", "--json")
    found: dict[str, object] = json.loads(told.splitlines()[-1])
    return found
