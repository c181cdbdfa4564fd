"""A release given to thirty devices in rings, before a real mosquitto with mutual TLS.

What a device does with it is real (tests/real/fleetworld.py); hours pass while the office waits.
"""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.commands import reading, rollout
from edge_agent.commands.publish import init, publish
from edge_agent.errors import BrokerError, ConfigError
from edge_agent.fleet import rollout as kept
from edge_agent.fleet.rendering import Renderer
from edge_agent.fleet.repository import Repository
from tests.fleets import edge_agent, read
from tests.real.broker import wait_for
from tests.real.fleetbroker import Broker
from tests.real.fleetworld import Device, Ear, World
from tests.sealed import issued, sealed
from tests.spoken import Voice, release

pytestmark = [pytest.mark.real, pytest.mark.slow]

SITES = ("north", "south", "west")
BOARDS = ("pi-zero-2w", "pi-4")
MIC = "microphones/usb-generic.yaml"
PLAN = """\
rings:
  canary: {select: ring=canary, soak_h: 1}
  tenth: {percent: 20, soak_h: 0.5}
  rest: {percent: 100}
"""


def rows() -> str:
    """Ten devices at each of three sites; one of each is a canary."""
    lines = ["device,board,mic,site,groups,ring"]
    for site in SITES:
        for number in range(10):
            ring = "canary" if number == 0 else ""
            board = BOARDS[SITES.index(site) % 2 if number == 0 else number % 2]
            lines.append(f"{site}-{number},{board},usb-generic,{site},city-noise,{ring}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("rollout")
    fleet = sealed(folder / "fleet")
    sample = fleet / "sites" / "example-city.yaml"
    for site in SITES:
        shutil.copy(sample, fleet / "sites" / f"{site}.yaml")
    sample.unlink()
    (fleet / "fleet.csv").write_text(rows())
    (fleet / "rollouts" / "plan.yaml").write_text(PLAN)
    readers = ("--reader", "office", "--reader", "rollout")
    issued(fleet, "--broker", "127.0.0.1", *readers)
    broker = Broker(folder, fleet)
    with broker:
        broker.start()
        yield broker


class Scene:
    """An office with thirty devices that run release 1."""

    def __init__(self, broker: Broker, path: Path) -> None:
        self.fleet = path / "fleet"
        shutil.copytree(broker.fleet, self.fleet)
        self.keys, self.repo = path / "keys", path / "repo"
        self.world = World(broker)
        init(self.fleet, self.keys, self.repo, None, self.world)
        publish(self.fleet, self.keys, self.repo, (), self.world, window_s=0, dry_run=False)
        fleet = read(self.fleet)
        renderer = Renderer(fleet, None)
        for device in fleet.devices:
            rendered = renderer.render(device)
            etc = path / "devices" / device.name / "etc"
            etc.mkdir(parents=True)
            (etc / "config.json").write_bytes(rendered.config)
            (etc / "release.json").write_bytes(rendered.release)
            self.world.devices[device.name] = Device(
                etc.parent,
                device.name,
                device.site,
                self.repo,
                self.world.utc_ns(),
                renderer.release(device)[1].model_sha256,
            )
        self.world.wait(60)

    def change(self, release: int, file: str, text: str) -> None:
        """Make another release of the folder."""
        settings = self.fleet / "fleet.yaml"
        numbered = re.sub(r"(?m)^release: \d+", f"release: {release}", settings.read_text())
        settings.write_text(numbered)
        (self.fleet / file).write_text(text)

    def run(self, *, go_on: bool = False) -> int:
        """`fleet rollout run`."""
        return rollout.run(
            self.fleet, self.keys, self.repo, self.world,
            reader="rollout", force=False, go_on=go_on, window_s=600,
        )  # fmt: skip

    def status(self) -> int:
        """`fleet rollout status`."""
        return rollout.status(self.fleet, self.repo, self.world, reader="office")

    def abort(self) -> None:
        """`fleet rollout abort`."""
        rollout.abort(self.fleet, self.keys, self.repo, self.world, window_s=60, dry_run=False)

    def in_force(self) -> dict[str, int | None]:
        return {name: one.releases.in_force() for name, one in self.world.devices.items()}

    def starts(self) -> dict[str, list[int | None]]:
        return {name: one.agent.starts for name, one in self.world.devices.items()}


CANARIES = {f"{site}-0" for site in SITES}
DEAF = 'microphones: {mic: {device: "hw:CARD=gone", rate: 48000, channels: 1}}\n'


@pytest.fixture
def scene(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(reading, "Listener", Ear)
    monkeypatch.setenv("HOME", str(broker.fleet))
    # What was kept of another test's devices is gone with it.
    broker.kill()
    broker.start()
    scene = Scene(broker, tmp_path)
    yield scene
    scene.world.close()


def test_a_broken_release_reaches_the_canaries_only_and_all_come_back(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (scene.fleet / MIC).read_text()
    scene.change(2, MIC, DEAF)
    capsys.readouterr()

    assert scene.run() == 1
    told = capsys.readouterr().out
    report = told[told.rindex("release 2: stopped") :].splitlines()
    why = "within 180 s no sound came in; nothing was scored; new faults: mic_missing:mic"
    assert "given to 3 of 30 devices; 27 saw nothing of it" in report
    assert {line for line in report if line.startswith("  north-0")} == {
        f"  north-0: rolled back: release 2: {why}"
    }
    assert "all 3 that did not keep it run what they ran before" in report
    # Nobody else so much as restarted, and the canaries hear again.
    assert {name for name, starts in scene.starts().items() if len(starts) > 1} == CANARIES
    assert set(scene.in_force().values()) == {0}
    for name in CANARIES:
        beat = scene.world.devices[name].agent.beat()
        assert beat is not None
        assert beat.faults == ()

    # Looked at again, by whoever comes in the morning.
    assert scene.status() == 1
    assert capsys.readouterr().out.splitlines() == report
    assert scene.run() == 1
    assert "27 saw nothing of it" in capsys.readouterr().out

    # Taken back, everybody has a release that counts, with what was there before.
    scene.abort()
    assert "release 3 gives 3 devices what they had before" in capsys.readouterr().out
    assert scene.run() == 1
    told = capsys.readouterr().out
    assert "release 3 gives them what they had before: all 3 run it" in told
    assert {name for name, number in scene.in_force().items() if number == 3} == CANARIES
    assert scene.status() == 0

    # Mended, it goes to all of them.
    scene.change(4, MIC, good + "outbox: {max_mb: 48}\n")
    assert scene.run() == 0
    told = capsys.readouterr().out
    assert "given to 30 of 30 devices; 0 saw nothing of it" in told
    assert set(scene.in_force().values()) == {4}
    held = kept.load(scene.fleet, 4)
    assert held is not None
    before = {name: one.before.release for name, one in held.members.items() if one.before}
    assert {name for name, number in before.items() if number == 3} == CANARIES


class Killed(BaseException):
    """The process is gone."""


def test_killed_again_and_again_it_ends_as_if_it_never_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_publish, real_wait = Repository.publish, World.wait
    publishes: list[int] = []
    kills = 0

    def mortal_publish(self: Repository, *arguments: object) -> list[str]:
        """Killed before what was noted is done, and after."""
        nonlocal kills
        publishes.append(len(publishes))
        if publishes[-1] % 4 == 1:
            kills += 1
            raise Killed
        done = real_publish(self, *arguments)  # type: ignore[arg-type] # handed on
        if publishes[-1] % 4 == 3:
            kills += 1
            raise Killed
        return done

    def mortal_wait(self: World, seconds: float) -> None:
        nonlocal kills
        real_wait(self, seconds)
        if seconds >= 1 and self.waits % 150 == 0:
            kills += 1
            raise Killed

    scene.change(2, MIC, (scene.fleet / MIC).read_text() + "outbox: {max_mb: 48}\n")
    monkeypatch.setattr(Repository, "publish", mortal_publish)
    monkeypatch.setattr(World, "wait", mortal_wait)
    for _ in range(100):
        try:
            code = scene.run()
        except Killed:
            continue
        break
    assert code == 0
    assert kills > 10
    assert set(scene.in_force().values()) == {2}
    assert all(starts == [0, 2] for starts in scene.starts().values())
    assert "given to 30 of 30 devices" in capsys.readouterr().out


def test_what_cannot_be_led_is_not_begun(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="release 1: nothing is new for any device"):
        scene.run()
    # A broker that nobody can listen at: devices would go there, and never be heard again.
    sites = {site: scene.fleet / "sites" / f"{site}.yaml" for site in SITES}
    good = {site: file.read_text() for site, file in sites.items()}
    for site, text in good.items():
        scene.change(2, f"sites/{site}.yaml", text.replace("127.0.0.1", "nowhere.invalid"))
    with pytest.raises(BrokerError, match=r"nowhere\.invalid"):
        scene.run()
    for site, text in good.items():
        sites[site].write_text(text)
    assert kept.load(scene.fleet, 2) is None
    # A first ring that proves nothing about a board.
    scene.change(2, MIC, DEAF)
    table = scene.fleet / "fleet.csv"
    table.write_text(table.read_text().replace("south-0,pi-4", "south-0,pi-zero-2w"))
    with pytest.raises(ConfigError, match="ring canary: has no device with board pi-4"):
        scene.run()
    table.write_text(rows())
    rollout.plan(scene.fleet, scene.repo, scene.world, force=False)
    told = capsys.readouterr().out
    assert "ring canary: 3 devices, then 1 h; without a failure, at most 63 % of all" in told
    assert "site north: 2 of 10 at once" in told
    # In the middle of it, the folder is changed.
    scene.world.devices.clear()
    scene.world.wait(3600)
    assert scene.run() == 1
    assert "ring canary: none of its devices is heard" in capsys.readouterr().out
    (scene.fleet / MIC).write_text(DEAF + "outbox: {max_mb: 9}\n")
    with pytest.raises(ConfigError, match="the folder was changed since the rollout of release 2"):
        scene.run()


def test_the_options_as_they_are_typed(broker: Broker, tmp_path: Path) -> None:
    keys, repo = str(tmp_path / "keys"), str(tmp_path / "repo")
    done = edge_agent("fleet", "keys", "init", "--keys", keys, "--repo", repo, cwd=broker.fleet)
    assert done.returncode == 0, done.stderr
    done = edge_agent("fleet", "rollout", "plan", "--repo", repo, cwd=broker.fleet)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("release 1: 30 devices\nring canary: 3 devices, then 1 h")
    for command in ("status", "abort"):
        where = ("--repo", repo, *(("--keys", keys) if command == "abort" else ()))
        done = edge_agent("fleet", "rollout", command, *where, cwd=broker.fleet)
        assert done.returncode == 2
        assert "no rollout was begun" in done.stderr


class Process:
    """`edge-agent fleet rollout run`, as it is typed."""

    def __init__(self, scene: Scene) -> None:
        # What a shell starts in the background ignores Ctrl-C, and so does all below it.
        command = ["env", "--default-signal=INT", sys.executable, "-u"]
        command += ["-m", "edge_agent", "fleet", "rollout", "run"]
        where = ["--keys", str(scene.keys), "--repo", str(scene.repo), "--dir", str(scene.fleet)]
        self._log = scene.keys.parent / "run.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([*command, *where], stdout=log, stderr=log)

    def told(self, part: str) -> None:
        wait_for(lambda: part in self._log.read_text(), f"it tells: {part}", 60)

    def end(self, number: signal.Signals) -> str:
        self.process.send_signal(number)
        self.process.wait(30)
        return self._log.read_text()


def test_a_process_that_is_killed_goes_on_where_it_was(scene: Scene) -> None:
    scene.change(2, MIC, (scene.fleet / MIC).read_text() + "outbox: {max_mb: 48}\n")
    run = Process(scene)
    run.told("release 2 given to 3 devices of ring canary")
    run.end(signal.SIGKILL)
    held = kept.load(scene.fleet, 2)
    assert held is not None
    assert set(held.given()) == CANARIES

    run = Process(scene)
    now_ns = SystemClock().utc_ns()
    for name in CANARIES:
        voice = Voice(name.rpartition("-")[0], name)
        config = held.members[name].config_sha256
        scene.world.broker.say(name, [voice.info(now_ns, config, release(2)), voice.health(now_ns)])
    run.told("ring canary: 3 kept")
    told = run.end(signal.SIGKILL)
    assert "release 2: for 30 devices" not in told
    assert "given to" not in told

    held = kept.load(scene.fleet, 2)
    assert held is not None
    run = Process(scene)
    run.told("listening; ")
    SystemClock().wait(3)
    told = run.end(signal.SIGINT)
    assert run.process.returncode == 1
    assert "given to 3 of 30 devices; 27 saw nothing of it" in told
    assert "next: `edge-agent fleet rollout run` goes on" in told
    after = kept.load(scene.fleet, 2)
    assert after is not None
    # The hour goes on from when it began.
    assert after.soak_since_ns == held.soak_since_ns is not None
