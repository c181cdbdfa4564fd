"""`fleet try`: a device on this machine, as its card and units would make it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleets import ROOT, edge_agent, sample
from tests.real.broker import Mosquitto, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

PLAIN = """\
about: this machine
mqtt: {{host: 127.0.0.1, port: {port}, password_file: "credential:mqtt-password", username: "ear"}}
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Path]:
    """A fleet beside its repository, and a broker on loopback."""
    with Mosquitto(tmp_path) as broker:
        broker.start()
        fleet = sample(tmp_path / "fleet")
        rows = "device,board,mic,site\nlaptop-01,laptop,usb-generic,desk\n"
        (fleet / "fleet.csv").write_text(rows)
        (fleet / "sites" / "example-city.yaml").unlink()
        (fleet / "sites" / "desk.yaml").write_text(PLAIN.format(port=broker.port))
        board = f"about: a laptop\nstate_dir: '{tmp_path}/state'\n"
        (fleet / "hardware" / "laptop.yaml").write_text(board)
        settings = (fleet / "fleet.yaml").read_text()
        # A vault of our own: what is closed by it reads backwards.
        settings = re.sub(r"(?m)^  decrypt: .*$", "  decrypt: [rev]", settings)
        (fleet / "fleet.yaml").write_text(settings)
        secret = fleet / "secrets" / "devices" / "laptop-01.password.age"
        secret.parent.mkdir(parents=True)
        secret.write_text("age-encryption.org/v1\n")
        for command in (("keys", "init"), ("publish",)):
            where = ("--keys", str(tmp_path / "keys"), "--repo", str(tmp_path / "repo"))
            done = edge_agent("fleet", *command, *where, cwd=fleet)
            assert done.returncode == 0, done.stderr
        yield fleet


@contextmanager
def tried(fleet: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """The command at work, and what it printed."""
    place = fleet.parent / "said"
    with place.open("w") as said:
        command = ["fleet", "try", "laptop-01", "--repo", "../repo", "--out", "../laptop"]
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", *command],
            cwd=fleet, stdout=said, stderr=said, text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(fleet)},
        )  # fmt: skip
        try:
            wait_for(lambda: "nothing new" in place.read_text(), "it looked", 60)
            yield process, place
        finally:
            process.kill()
            process.wait()


def agents(out: Path) -> list[int]:
    """The processes that run this device's agent."""
    config = str(out / "releases" / "current" / "config.json").encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if config in words and b"run" in words:
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_starts_an_agent_again_and_leaves_nothing_secret(
    office: Path, number: signal.Signals
) -> None:
    out = office.parent / "laptop"
    with tried(office) as (process, said):
        wait_for(lambda: (out / "run" / "heartbeat.json").exists(), "the agent beats", 60)
        (secret,) = (out / "credentials").iterdir()
        assert (secret.name, secret.stat().st_mode & 0o777) == ("mqtt-password", 0o600)
        assert (out / "credentials").stat().st_mode & 0o777 == 0o700
        (agent,) = agents(out)
        subprocess.run(["kill", "-KILL", str(agent)], check=True)
        wait_for(lambda: agents(out) not in ([agent], []), "another one runs", 30)
        assert f"the agent ended with -9, and is started again: {out}/agent.log" in said.read_text()
        process.send_signal(number)
        assert process.wait(40) == 0
    assert agents(out) == []
    assert not (out / "credentials").exists()
    assert "Traceback" not in said.read_text()
    # Again it goes on; another device does not take over what this one kept.
    with tried(office):
        pass
    table = office / "fleet.csv"
    table.write_text(table.read_text().replace("laptop-01", "laptop-02"))
    done = edge_agent("fleet", "try", "laptop-02", "--repo", "../repo", "--out", "../laptop",
                      cwd=office)  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        f"edge-agent: --out {out}: holds the device laptop-01",
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("laptop-1", "--repo", "../repo", "--out", "../x"), "Did you mean laptop-01?"),
        (("laptop-01", "--repo", "../keys", "--out", "../x"), "../keys: holds no repository"),
        (("laptop-01", "--repo", "../repo", "--out", ".."), "holds the fleet's folder"),
    ],
)
def test_what_it_refuses(office: Path, arguments: tuple[str, ...], told: str) -> None:
    done = edge_agent("fleet", "try", *arguments, cwd=office)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (office.parent / "x").exists()
