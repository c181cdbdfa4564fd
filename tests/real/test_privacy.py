"""No sound leaves the agent: all that it and its children write and send, as the kernel sees it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.capture import wire
from edge_agent.payloads import AlertPayload, HealthPayload, LevelPayload
from tests.real.broker import Mosquitto, Subscriber, subscribed, wait_for
from tests.real.trace import Call, Rules, calls, command, offences, written
from tests.sound_leaks import KnownSound, random_sound

pytestmark = pytest.mark.real

CONFIG = """
microphones:
  mic: {{{microphone}}}
alerts:
  loud: {{indicator: LAeq, above_dbfs: -40, for_s: 1}}
mqtt: {{host: 127.0.0.1, port: {port}}}
state_dir: {folder}/state
"""
JACK = "/dev/shm/jack_db-"
"""Names of ports, which PortAudio's Debian build opens through JACK's library at every start."""
STATE = {"lock", "ballast"} | {
    f"{database}.db{part}"
    for database in ("outbox", "store")
    for part in ("", "-wal", "-shm", "-journal")
}
SOUND_S = 20.0
CHUNK_BYTES = 24_000


class Traced:
    """`edge-agent run` under strace; killed by its own process id, for strace passes nothing on."""

    def __init__(self, folder: Path, port: int, microphone: str, sound: KnownSound | None) -> None:
        self.folder = folder
        self.log = folder / "agent.log"
        config = folder / "agent.yaml"
        config.write_text(CONFIG.format(microphone=microphone, port=port, folder=folder))
        with self.log.open("ab") as log:
            self._strace = subprocess.Popen(
                [*command(folder), sys.executable, "-m", "edge_agent", "run", "--config", config],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self._player = threading.Thread(target=self._play, args=(sound,))
        self._player.start()

    def stop(self) -> list[Call]:
        """End it as systemd would, and tell what it did."""
        self._signal(signal.SIGTERM)
        assert self._strace.wait(30) == 0, self.log.read_text()
        self._player.join()
        return calls(self.folder)

    def kill(self) -> None:
        if self._strace.poll() is None:
            self._signal(signal.SIGKILL)
            self._strace.wait()
        self._player.join()

    def _signal(self, number: signal.Signals) -> None:
        pid = self._strace.pid
        agent = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        os.kill(int(agent), number)

    def _play(self, sound: KnownSound | None) -> None:
        stdin = self._strace.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError), stdin:
            for at in range(0, 0 if sound is None else len(sound.pcm), CHUNK_BYTES):
                stdin.write(sound.pcm[at : at + CHUNK_BYTES] if sound else b"")
                stdin.flush()
                time.sleep(0.25)
                if self._strace.poll() is not None:
                    break
            while sound is None and self._strace.poll() is None:
                time.sleep(0.1)


@contextmanager
def traced(
    folder: Path, port: int, microphone: str, sound: KnownSound | None = None
) -> Iterator[Traced]:
    agent = Traced(folder, port, microphone, sound)
    try:
        yield agent
    finally:
        agent.kill()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        yield broker


def rules(folder: Path, port: int, *others: str) -> Rules:
    allowed = {str(folder / "state" / name) for name in STATE} | {str(folder / "agent.log")}

    def file(path: str) -> bool:
        # Python keeps what it compiled beside code that it may write to.
        compiled = "/edge_agent/" in path and "/__pycache__/" in path
        return path in allowed or compiled or path.startswith(("/dev/null", *others))

    return Rules(file=file, port=port)


def heard_and_told(subscriber: Subscriber) -> bool:
    """Levels, an alert (which goes through the disk) and health have arrived."""
    kinds = [type(one) for one in subscriber.payloads("/")]
    return (
        kinds.count(LevelPayload) >= 4
        and {AlertPayload, HealthPayload} <= set(kinds)
    )  # fmt: skip


def assert_no_sound(folder: Path, out: dict[str, bytes], sound: KnownSound) -> None:
    for target, data in out.items():
        assert not sound.leaks_into(data), f"{target} got sound"
    for path in [*(folder / "state").iterdir(), *Path("/dev/shm").glob("jack_db-*/*")]:
        assert not sound.leaks_into(path.read_bytes()), f"{path} holds sound"


def test_from_raw_sound_only_messages_leave(tmp_path: Path, mosquitto: Mosquitto) -> None:
    sound = random_sound(SOUND_S)
    with (
        subscribed(mosquitto) as subscriber,
        traced(tmp_path, mosquitto.port, "kind: stdin", sound) as agent,
    ):
        wait_for(lambda: heard_and_told(subscriber), "levels, alert and health arrive", 60)
        # What now waits is written to the disk at the end.
        mosquitto.stop()
        time.sleep(2)
        found = agent.stop()
    assert offences(found, rules(tmp_path, mosquitto.port)) == []
    out = written(found)
    assert_no_sound(tmp_path, out, sound)
    sent = sum(len(data) for target, data in out.items() if target.startswith("TCP:"))
    messages = sum(len(one.payload) for one in subscriber.messages())
    # What was sent is what the subscriber got: topics and frames of MQTT are the rest.
    assert messages < sent < 1.5 * messages + 2000
    assert any(target.endswith("outbox.db-wal") for target in out)


@pytest.mark.usefixtures("server")
def test_from_a_microphone_sound_goes_through_the_childs_pipe_and_nowhere_else(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PulseAudio's own library offers its server memory that both see, which no trace shows.
    client = tmp_path / "client.conf"
    client.write_text("enable-shm = no\nenable-memfd = no\n")
    monkeypatch.setenv("PULSE_CLIENTCONFIG", str(client))
    sound = random_sound(SOUND_S)
    played = tmp_path / "played"
    played.write_bytes(sound.pcm)
    with (
        subscribed(mosquitto) as subscriber,
        traced(tmp_path, mosquitto.port, "device: mic0") as agent,
    ):
        wait_for(lambda: b"/levels/" in b"".join(topics(subscriber)), "the microphone is heard", 60)
        form = ["--rate=48000", "--channels=1", "--format=s16le"]
        with subprocess.Popen(["paplay", "--raw", *form, "--device=mic", played]) as player:
            wait_for(lambda: heard_and_told(subscriber), "levels, alert and health arrive", 60)
            found = agent.stop()
            player.kill()
    broken = offences(found, rules(tmp_path, mosquitto.port, JACK))
    assert not broken, "\n".join(broken)
    out = written(found)
    pipes = {
        call.target
        for call in found
        if call.target.startswith("pipe:") and any(data[:4] == wire.MAGIC for data in call.data)
    }
    (pipe,) = pipes
    # The detector sees what it should: the child hands the very samples to its parent.
    assert sound.leaks_into(out.pop(pipe))
    assert_no_sound(tmp_path, out, sound)
    healths = [one for one in subscriber.payloads("/health") if isinstance(one, HealthPayload)]
    # A minute's memory holds from the first second on: an interpreter with PortAudio.
    assert healths[-1].system.capture_pss_mb == pytest.approx(20, abs=17)


def topics(subscriber: Subscriber) -> list[bytes]:
    return [one.topic.encode() for one in subscriber.messages()]


LEAKS = {
    "a file of its own": "open('kept.raw', 'wb').write(pcm)",
    "a file among the state": "open('state/sound.wav', 'wb').write(pcm[:16])",
    "another address": "socket.create_connection(('127.0.0.1', other)).send(pcm)",
    "a file through the memory": (
        "f = open('kept.raw', 'xb+'); f.truncate(4096); mmap.mmap(f.fileno(), 4096)[:9] = pcm[:9]"
    ),
    "a copy by the kernel": "os.sendfile(2, os.open('heard.raw', os.O_RDONLY), 0, 4096)",
    "a program": "subprocess.run(['dd', 'if=heard.raw', 'of=kept.raw'], stderr=-3)",
}
HIDDEN = {
    "the database": "open('state/outbox.db', 'wb').write(b'x' * 4096 + pcm[100:116])",
    "the log": "os.write(2, pcm[33:51])",
    "the broker": "socket.create_connection(('127.0.0.1', broker)).send(b'x' + pcm[-16:])",
    "floats to the broker": (
        "socket.create_connection(('127.0.0.1', broker)).send("
        "struct.pack('<8f', *(one / 32768 for one in struct.unpack('<8h', pcm[600:616]))))"
    ),
}
PROGRAM = """
import mmap, os, socket, struct, subprocess
broker, other = {broker}, {other}
pcm = open("heard.raw", "rb").read()
{leak}
"""


def leaking(folder: Path, leak: str, broker: int, sound: KnownSound) -> list[Call]:
    """What a program did that does what no agent may do."""
    (folder / "heard.raw").write_bytes(sound.pcm)
    (folder / "state").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server, (folder / "agent.log").open("wb") as log:
        code = PROGRAM.format(broker=broker, other=server.getsockname()[1], leak=leak)
        subprocess.run(
            [*command(folder), sys.executable, "-c", code], cwd=folder, stderr=log, check=True
        )
    return calls(folder)


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_a_program_that_writes_or_sends_elsewhere_is_caught(
    tmp_path: Path, mosquitto: Mosquitto, leak: str
) -> None:
    found = leaking(tmp_path, leak, mosquitto.port, random_sound(0.1))
    assert offences(found, rules(tmp_path, mosquitto.port))


@pytest.mark.parametrize("leak", HIDDEN.values(), ids=HIDDEN)
def test_sound_among_what_may_be_written_is_caught(
    tmp_path: Path, mosquitto: Mosquitto, leak: str
) -> None:
    sound = random_sound(0.1)
    found = leaking(tmp_path, leak, mosquitto.port, sound)
    with pytest.raises(AssertionError, match="got sound"):
        assert_no_sound(tmp_path, written(found), sound)
