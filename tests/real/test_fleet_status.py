"""`fleet status` before a real mosquitto with the fleet's own certificates and access list."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.commands.fleet_status import published, rendered
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.standing import Wanted
from edge_agent.records import Calibration
from tests.fleets import ROOT, edge_agent, read
from tests.real.broker import Subscriber, free_port, wait_for
from tests.real.fleetbroker import Broker
from tests.sealed import issued, sealed
from tests.spoken import Voice, release

pytestmark = pytest.mark.real

SITE = "example-city"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("status")
    readers = ("--reader", "office", "--reader", "rollout")
    fleet = issued(sealed(folder / "fleet"), "--broker", "127.0.0.1", *readers)
    with Broker(folder, fleet) as broker:
        broker.start()
        yield broker


def status(broker: Broker, *arguments: str, code: int = 1) -> str:
    done = edge_agent("fleet", "status", *arguments, cwd=broker.fleet)
    assert (done.returncode, done.stderr) == (code, ""), done.stderr
    return done.stdout


def wanted(fleet: Fleet) -> dict[str, Wanted]:
    return rendered(fleet, fleet.devices)


def speak(broker: Broker, device: str, state: str, *, faults: tuple[str, ...] = ()) -> None:
    one = wanted(read(broker.fleet))[device]
    voice = Voice(SITE, device, one.model_sha256)
    now_ns = SystemClock().utc_ns()
    sha256 = one.config_sha256 if state == "current" else "a" * 64
    told = release(1, state, "release 1: within 180 s no sound came in", was=0)
    broker.say(
        device,
        [
            voice.online(now_ns),
            voice.info(now_ns, sha256, told),
            voice.health(now_ns, faults),
        ],
    )


def test_each_device_has_a_line_and_the_exit_code_says_whether_all_is_well(broker: Broker) -> None:
    speak(broker, "market-01", "current")
    speak(broker, "market-02", "rolled_back", faults=("disk_low",))
    told = re.sub(r"\b\d s", "N s", status(broker))
    assert told.splitlines() == [
        "DEVICE     SITE          WANTED  RUNS  SEEN  CERT   STANDS",
        "market-01  example-city  1       1     N s   824 d  as wanted",
        (
            "market-02  example-city  1       0     N s   824 d  rolled back: release 1: within "
            "180 s no sound came in; faults: disk_low"
        ),
        (
            "depot-01   example-city  1       -     -     824 d  never heard: "
            "the broker keeps nothing of it"
        ),
        "3 devices: 1 as wanted, 1 rolled back, 1 never heard",
    ]
    # The same for Prometheus; a folder that is not there is named.
    exposed = broker.fleet / "earshot.prom"
    status(broker, "--prometheus", str(exposed))
    assert 'earshot_device_rolled_back{device="market-02"' in exposed.read_text()
    done = edge_agent("fleet", "status", "--prometheus", "/proc/no/file", cwd=broker.fleet)
    assert (done.returncode, done.stdout) == (2, "")
    assert "/proc/no/file: cannot be written: " in done.stderr
    # Nothing is awaited of the one that was heard, and it stands as wanted.
    status(broker, "market-01", code=0)
    line = json.loads(status(broker, "--json", "market-02"))
    assert (line["verdict"], line["wanted"], line["reported"]) == ("rolled back", 1, 0)
    assert (line["faults"], line["online"]) == (["disk_low"], True)
    assert 0 <= line["seen_s"] < 60


def test_against_what_is_published(broker: Broker, tmp_path: Path) -> None:
    repo, keys = tmp_path / "repo", tmp_path / "keys"
    where = ("--keys", str(keys), "--repo", str(repo))
    for command in (("keys", "init"), ("publish", "market-01")):
        done = edge_agent("fleet", *command, *where, cwd=broker.fleet)
        assert done.returncode == 0, done.stderr
    fleet = read(broker.fleet)
    told, brokers = published(repo, fleet.devices, SystemClock())
    assert [(name, one.port) for name, one in brokers] == [("market-01", broker.port)]
    assert told == {"market-01": wanted(fleet)["market-01"]}
    speak(broker, "market-01", "current")
    speak(broker, "market-02", "current")
    out = status(broker, "--repo", str(repo), "market-*")
    assert "market-02  example-city  -       1" in out
    assert "2 devices: 1 as wanted, 1 unwanted" in out
    # A cent of difference in the folder concerns what will be published, not what is.
    table = broker.fleet / "fleet.csv"
    before = table.read_text()
    table.write_text(before.replace("119.8,2026-10-02,,lamp", "119.8,2026-10-02,99,lamp"))
    try:
        status(broker, "--repo", str(repo), "market-01", code=0)
        assert "drift: config.json or the model was changed by hand" in status(broker, "market-01")
    finally:
        table.write_text(before)
    file = next((repo / "targets" / "devices").glob("*.market-01.json"))
    file.write_bytes(file.read_bytes().replace(b"hw:", b"xx:"))
    done = edge_agent("fleet", "status", "--repo", str(repo), cwd=broker.fleet)
    assert done.returncode == 2
    assert "was changed since it was published" in done.stderr


def test_calibrations_are_a_table_beside_the_laboratorys_values(broker: Broker) -> None:
    now_ns = SystemClock().utc_ns()
    for device, known in (
        ("market-01", Calibration(offset_db=119.62, date="2026-11-02", source="calibrator")),
        ("market-02", None),
    ):
        voice = Voice(SITE, device)
        broker.say(device, [voice.info(now_ns, "a" * 64, None, {"mic": known})])
    done = edge_agent("fleet", "calibrations", cwd=broker.fleet)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "device,site,microphone,source,offset_db,date,lab_offset_db,lab_date,from_lab_db",
        "market-01,example-city,mic,calibrator,119.62,2026-11-02,119.8,2026-10-02,-0.18",
        "market-02,example-city,mic,none,,,124.1,2026-10-02,",
        "depot-01,example-city,,never heard,,,,,",
    ]
    assert edge_agent("fleet", "calibrations", "market-01", cwd=broker.fleet).returncode == 0


def test_a_reader_is_let_in_by_its_own_certificate_alone(broker: Broker, tmp_path: Path) -> None:
    done = edge_agent("fleet", "status", "--reader", "me", cwd=broker.fleet)
    assert done.returncode == 2
    assert "edge-agent fleet identity issue --reader me" in done.stderr
    # A device's certificate is let in, and told nothing.
    for place in ("identities", "secrets"):
        own = broker.fleet / place
        for file in (own / "devices").glob("depot-01.*"):
            shutil.copy(file, own / "readers" / file.name)
    told = status(broker, "--reader", "depot-01", "--wait", "2")
    assert "3 devices: 3 never heard" in told


def test_an_office_reads_and_hears_no_levels(broker: Broker) -> None:
    certificate, key = broker.pair("readers/office")
    who = ("--cafile", str(broker.place / "ca.crt"), "--cert", str(certificate), "--key", str(key))
    before = broker.log().count("SUBACK")
    office = Subscriber(broker.port, "-h", "127.0.0.1", *who)
    try:
        wait_for(lambda: broker.log().count("SUBACK") > before, "mosquitto_sub subscribes")
        speak(broker, "market-01", "current")
        wait_for(lambda: len(office.messages()) >= 3, "it hears")
        kinds = {message.topic.rpartition("/")[2] for message in office.messages()}
        assert kinds <= {"status", "info", "health"}
    finally:
        office.end()


def test_a_broker_that_is_away_is_told_in_two_lines(broker: Broker) -> None:
    broker.kill()
    try:
        done = edge_agent("fleet", "status", cwd=broker.fleet)
    finally:
        broker.start()
    assert done.returncode == 2
    assert f"broker 127.0.0.1:{broker.port}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_release_that_took_devices_to_no_broker_hides_nobody(
    broker: Broker, tmp_path: Path
) -> None:
    """Just then the office has to see who came back."""
    repo, keys = tmp_path / "repo", tmp_path / "keys"
    where = ("--keys", str(keys), "--repo", str(repo))
    fleet = tmp_path / "fleet"
    shutil.copytree(broker.fleet, fleet)
    site, away = fleet / "sites" / f"{SITE}.yaml", free_port()
    text = site.read_text()
    site.write_text(text.replace(str(broker.port), str(away)))
    for command in (("keys", "init"), ("publish",)):
        assert edge_agent("fleet", *command, *where, cwd=fleet).returncode == 0
    site.write_text(text)
    speak(broker, "market-01", "rolled_back")
    done = edge_agent("fleet", "status", "market-01", "--repo", str(repo), cwd=fleet)
    assert done.returncode == 1
    assert "rolled back: release 1: within 180 s no sound came in" in done.stdout
    assert done.stderr == (
        f"warning: broker 127.0.0.1:{away}: Connection refused; whoever is there is not heard\n"
    )


def test_a_watch_tells_each_change_and_ends_by_ctrl_c(broker: Broker, tmp_path: Path) -> None:
    for device in ("market-01", "market-02"):
        speak(broker, device, "current")
    place = tmp_path / "said"
    with place.open("w") as said:
        watching = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "fleet", "status", "--watch", "market-*"],
            cwd=broker.fleet, stdout=said, stderr=said,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(broker.fleet)},
        )  # fmt: skip
        try:
            wait_for(lambda: "2 devices: 2 as wanted" in place.read_text(), "the table", 30)
            speak(broker, "market-02", "trial")
            wait_for(lambda: "on trial" in place.read_text(), "the trial is told")
            speak(broker, "market-02", "rolled_back", faults=("mic_missing:mic",))
            wait_for(lambda: "mic_missing" in place.read_text(), "its end is told")
            watching.send_signal(signal.SIGINT)
            assert watching.wait(10) == 1
        finally:
            watching.kill()
            watching.wait()
    table, _, changes = place.read_text().partition("2 devices: 2 as wanted\n")
    assert len(table.splitlines()) == 3
    found = [re.sub(r"^\d\d:\d\d:\d\dZ ", "", line) for line in changes.splitlines()]
    # What is said comes in several messages, and each may be seen before the next.
    assert found[0].startswith("market-02 runs 1, on trial: release 1")
    assert found[-1] == (
        "market-02 runs 0, rolled back: release 1: within 180 s no sound came in; "
        "faults: mic_missing:mic"
    )
    assert all(line.startswith("market-02 ") for line in found)
