"""The service under a systemd that really runs: sandbox, credentials, watchdog, restarts."""

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.real.booted import AGENT, System, booted
from tests.real.broker import program, wait_for
from tests.real.sound import INSTALL, MONO

pytestmark = pytest.mark.real

UNIT = "earshot-agent.service"
PASSWORD = "correct horse"  # of a broker that lives as long as this test
PULSE = "unix:/run/sound/native"
CONFIG = """
site: {site: harbour, device: ear-1}
microphones:
  mic: {device: mic0}
mqtt: {username: ear-1}
"""
BROKER = """
listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/broker.passwords
user root
"""
ASOUND = f'pcm.mic0 {{ type pulse server "{PULSE}" device "mic.monitor" }}\n'
PATIENCE = "[Service]\nWatchdogSec=6\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """With a broker that wants a password, a sound server, and the agent installed."""
    if shutil.which("pulseaudio") is None:
        pytest.fail(f"PulseAudio is missing: {INSTALL}")
    with booted(tmp_path_factory.mktemp("booted")) as system:
        system.write("/etc/broker.conf", BROKER)
        system.run("mosquitto_passwd", "-c", "-b", "/etc/broker.passwords", "ear-1", PASSWORD)
        system.run("systemd-run", "--unit=broker", program("mosquitto"), "-c", "/etc/broker.conf")
        hears = f"mosquitto_sub -u ear-1 -P '{PASSWORD}' -q 1 -v -t '#' > /shared/heard"
        system.run("systemd-run", "--unit=hears", "--property=Restart=always", "sh", "-c", hears)
        system.write("/etc/asound.conf", ASOUND)
        system.run("mkdir", "-p", "/run/sound")
        serves = ["pulseaudio", "-n", "--daemonize=no", "--fail", "--exit-idle-time=-1"]
        serves += ["--use-pid-file=no", "--disable-shm=yes", "--realtime=no", "-L"]
        serves += ["module-native-protocol-unix socket=/run/sound/native auth-anonymous=1"]
        system.run("systemd-run", "--unit=sound", "--setenv=HOME=/run/sound", *serves, "-L", MONO)
        system.write("/etc/earshot/credentials/mqtt-password", PASSWORD, mode="600")
        system.write("/etc/earshot/agent.yaml", CONFIG)
        system.write(f"/etc/systemd/system/{UNIT}.d/90-patience.conf", PATIENCE)
        yield system


def heard(system: System, topic: str) -> list[str]:
    lines = (system.folder / "heard").read_text().splitlines()
    return [line for line in lines if re.fullmatch(topic, line.partition(" ")[0])]


def levels(system: System) -> int:
    return len(heard(system, ".*/levels/1s"))


def main_pid(system: System) -> str:
    return system.shows(UNIT, "MainPID")


@pytest.fixture
def running(system: System) -> System:
    """Installed, which may be done again at any time, started, and heard by the broker."""
    system.run(AGENT, "install")
    before = levels(system)
    system.run("systemctl", "start", UNIT, code=None)
    told = system.run("journalctl", "--no-pager", "--lines=40")
    assert system.shows(UNIT, "ActiveState") == "active", told
    wait_for(lambda: levels(system) > before + 1, "levels arrive", 30)
    return system


def test_it_is_enabled_starts_and_is_confined(running: System) -> None:
    system = running
    assert UNIT in system.run("systemctl", "list-dependencies", "multi-user.target", "--plain")
    assert system.shows(UNIT, "ActiveState") == "active"
    status = system.run("cat", f"/proc/{main_pid(system)}/status")
    account = system.run("id", "--user", "earshot").strip()
    assert re.search(rf"^Uid:\t{account}\t", status, re.MULTILINE)
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert system.run("stat", "--format=%U %a", "/var/lib/earshot").strip() == "earshot 700"


def test_the_password_reaches_it_in_memory_alone(running: System) -> None:
    system = running
    kept = "/etc/earshot/credentials/mqtt-password"
    told = system.run("setpriv", "--reuid=earshot", "--clear-groups", "cat", kept, code=1)
    assert "Permission denied" in told
    assert PASSWORD not in system.run("journalctl", "--unit", UNIT, "--no-pager")
    assert PASSWORD not in system.run("cat", f"/proc/{main_pid(system)}/environ")
    assert system.run("grep", "-r", PASSWORD, "/var/lib/earshot", code=1) == ""


def test_killed_it_is_back_and_goes_on(running: System) -> None:
    system = running
    before, restarts = main_pid(system), int(system.shows(UNIT, "NRestarts"))
    system.run("kill", "-KILL", before)
    wait_for(lambda: main_pid(system) not in ("0", before), "it is started again", 30)
    assert int(system.shows(UNIT, "NRestarts")) == restarts + 1
    heard_before = levels(system)
    wait_for(lambda: levels(system) > heard_before + 1, "levels go on", 30)


def test_frozen_it_is_ended_by_the_watchdog_and_started_again(running: System) -> None:
    system = running
    before = main_pid(system)
    system.run("kill", "-STOP", before)
    wait_for(lambda: main_pid(system) not in ("0", before), "it is started again", 60)
    journal = system.run("journalctl", "--unit", UNIT, "--no-pager")
    assert "Watchdog timeout (limit 6s)!" in journal
    heard_before = levels(system)
    wait_for(lambda: levels(system) > heard_before + 1, "levels go on", 30)


def test_the_doctor_finds_service_account_and_broker_in_order(running: System) -> None:
    told = running.run(AGENT, "doctor", "--json", code=None).splitlines()[-1]
    checks = json.loads(told)["checks"]
    # Nobody plays to its microphone, and there is no time server.
    others = {"microphone", "clock"}
    assert [one for one in checks if one["status"] != "ok" and one["check"] not in others] == []


def test_stopped_it_says_goodbye_and_uninstall_leaves_what_is_the_users(running: System) -> None:
    system = running
    system.run("systemctl", "stop", UNIT)
    assert system.shows(UNIT, "Result") == "success"
    wait_for(
        lambda: "offline" in heard(system, ".*/status")[-1], "the broker is told that it is off"
    )
    system.run("systemctl", "start", UNIT)
    system.run(AGENT, "uninstall")
    assert system.shows(UNIT, "LoadState") == "not-found"
    system.run("test", "-f", "/etc/earshot/agent.yaml")
    system.run("test", "-f", "/var/lib/earshot/outbox.db")
