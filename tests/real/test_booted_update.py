"""Updates under a systemd that really runs: the unit's rights, the guard, restarts, the journal."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.offices import Office
from tests.real.booted import AGENT, System, booted
from tests.real.broker import program, wait_for
from tests.real.sound import INSTALL, MONO
from tests.real.test_booted import ASOUND, UNIT

pytestmark = [pytest.mark.real, pytest.mark.slow]

SITE = """
microphones: {mic: {device: mic0}}
mqtt: {host: 127.0.0.1}
"""
SEED = '{"microphones": {"mic": {"device": "mic0"}}, "mqtt": {"host": "127.0.0.1"}}'
SETTINGS = '{"repository": "http://127.0.0.1:8000", "device": "ear-1"}'
BROKER = "listener 1883 127.0.0.1\nallow_anonymous true\nuser root\n"


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "office")


@pytest.fixture
def system(tmp_path: Path, office: Office) -> Iterator[System]:
    """With broker, sound server, web server, and a device that was set up."""
    if shutil.which("pulseaudio") is None:
        pytest.fail(f"PulseAudio is missing: {INSTALL}")
    with booted(tmp_path) as system:
        system.write("/etc/broker.conf", BROKER)
        system.run("systemd-run", "--unit=broker", program("mosquitto"), "-c", "/etc/broker.conf")
        system.write("/etc/asound.conf", ASOUND)
        system.run("mkdir", "-p", "/run/sound", "/shared/repo", "/run/systemd/timesync")
        # As timesyncd does; there is no time server here.
        system.run("touch", "/run/systemd/timesync/synchronized")
        serves = ["pulseaudio", "-n", "--daemonize=no", "--fail", "--exit-idle-time=-1"]
        serves += ["--use-pid-file=no", "--disable-shm=yes", "--realtime=no", "-L"]
        serves += ["module-native-protocol-unix socket=/run/sound/native auth-anonymous=1"]
        system.run("systemd-run", "--unit=sound", "--setenv=HOME=/run/sound", *serves, "-L", MONO)
        python = ["env", "LD_LIBRARY_PATH=/opt/python/lib", "/opt/python/bin/python3"]
        web = [*python, "-m", "http.server", "--bind", "127.0.0.1", "-d", "/shared/repo", "8000"]
        system.run("systemd-run", "--unit=web", *web)
        system.write("/etc/earshot/agent.json", SEED)
        system.write("/etc/earshot/updates.json", SETTINGS)
        root = office.repo / "metadata" / "1.root.json"
        system.write("/etc/earshot/updates-root.json", root.read_text())
        system.run(AGENT, "install")
        system.run("systemctl", "start", UNIT)
        yield system


def status(system: System) -> dict[str, object]:
    told = system.run(AGENT, "config", "status", "--json")
    found: dict[str, object] = json.loads(told.splitlines()[-1])
    return found


def published(system: System, office: Office, release: int, site: str) -> None:
    office.publish(release, site)
    shutil.copytree(office.repo, system.folder / "repo", dirs_exist_ok=True)


def test_a_release_is_kept_and_one_that_cannot_start_is_gone_at_its_second_start(
    system: System, office: Office
) -> None:
    assert status(system)["in_force"] == 0
    wait_for(lambda: 'ack_ns":' in beat(system), "the heartbeat is there", 30)
    assert "earshot-update.timer" in system.run(
        "systemctl", "list-dependencies", "timers.target", "--plain"
    )

    published(system, office, 1, SITE)
    updated(system, 0)
    assert status(system)["state"] == "current"
    assert status(system)["in_force"] == 1
    command = system.run("systemctl", "show", UNIT, "--property=ExecStart")
    assert "--config /var/lib/earshot-config/current/config.json" in command

    # It passes the check, and the agent cannot start with it.
    published(system, office, 2, f"{SITE}state_dir: /proc/nowhere\n")
    updated(system, 1)
    told = status(system)
    assert (told["state"], told["in_force"], told["about"]) == ("rolled_back", 1, 2)
    assert "had to be started a second time" in str(told["reason"])
    assert system.shows(UNIT, "ActiveState") == "active"
    journal = system.run("journalctl", "--unit=earshot-update", "--no-pager")
    assert "rolled back: release 2: the agent had to be started a second time" in journal
    assert system.run("stat", "--format=%U %a", "/var/lib/earshot-config").strip() == "root 755"


def updated(system: System, code: int) -> None:
    """As the timer does."""
    system.run("systemctl", "start", "--no-block", "earshot-update")

    def over() -> bool:
        return system.shows("earshot-update", "ActiveState") in ("inactive", "failed")

    wait_for(lambda: not over(), "it begins")
    wait_for(over, "it is over", 400)
    told = system.run("journalctl", "--lines=30", "--no-pager")
    assert system.shows("earshot-update", "ExecMainStatus") == str(code), told


def beat(system: System) -> str:
    return system.run("cat", "/run/earshot/heartbeat.json", code=None)
