"""From a card's image to a device at its broker: cloud-init, systemd, mosquitto and TLS run."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cards
from tests.fleets import edge_agent
from tests.real.booted import System, booted
from tests.real.broker import program, wait_for
from tests.sealed import SSH_KEY, issued, opened, sealed

pytestmark = pytest.mark.real

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
    site = path / "sites" / "example-city.yaml"
    site.write_text(site.read_text().replace("mq.example-city.example", "127.0.0.1"))
    return issued(path, "--broker", "127.0.0.1", "--reader", "city")


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
        start_from_seed(system)
        result = json.loads(system.run("cat", "/run/cloud-init/result.json"))["v1"]
        assert result["errors"] == []
        assert "NoCloud" in result["datasource"]
        gone = "/etc/systemd/system/earshot-agent.service.d/60-seeded.conf"
        wait_for(lambda: "No such" in system.run("ls", gone, code=None), "the seed is cleared", 90)
        yield system


def _key(fleet: Path) -> str:
    """The line of the device's key that is nobody else's."""
    return opened(fleet, "devices/market-01.key").decode().splitlines()[1]


def heard(system: System, part: str) -> bool:
    place = system.folder / "heard"
    return place.exists() and any(part in line for line in place.read_text().splitlines())


def holding(system: System, secret: str) -> set[str]:
    """The files of the whole system that hold a text."""
    places = ("/boot", "/etc", "/home", "/opt/earshot", "/root", "/run", "/srv", "/var")
    found = system.run(
        *("grep", "--recursive", "--files-with-matches", "--no-messages", "--binary-files=text"),
        *("--devices=skip", "--fixed-strings", "--", secret, *places),
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
    assert [line.split()[0] for line in left.splitlines()] == ["earshot-agent.service"]


def test_at_the_next_boot_cloud_init_leaves_it_alone(system: System) -> None:
    """The instance is known, and what is left of the seed asks for nothing."""
    told = '{"edited": "by hand"}\n'
    system.write("/etc/earshot/release.json", told)
    system.run("rm", "-rf", "/run/cloud-init")
    start_from_seed(system)
    assert system.run("cat", "/etc/earshot/release.json") == told
    assert system.run("cat", "/var/lib/cloud/data/instance-id").strip() == "earshot-market-01-1"
    assert system.run("systemctl", "is-active", "earshot-agent.service").strip() == "active"
