"""`edge-agent run` under a supervisor: its datagrams, and when they stop."""

import contextlib
import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_agent.archive import Archive
from tests.real.broker import Mosquitto, free_port, program, wait_for

pytestmark = pytest.mark.real

CONFIG = """
microphones:
  mic: {{{microphone}}}
alerts:
  loud: {{indicator: LAeq, above_dbfs: -40, for_s: 1}}
mqtt: {{host: 127.0.0.1, {broker}}}
state_dir: {folder}/state
"""
PATIENCE_S = 6.0
LOCKED_S = 15.0
"""How long another holds the database: longer than levels wait for their batch."""
STDIN = "kind: stdin"
MISSING = "device: no such microphone"


class Supervised:
    """The service as systemd starts it; noise on its stdin where it reads it.

    Args:
        folder: For its files.
        microphone: Its settings.
        launcher: What starts it in turn.
        broker: Its settings; by default nobody is there.
        stderr: A descriptor for its log; by default the log is a file.
        environment: What systemd adds.
    """

    def __init__(
        self,
        folder: Path,
        microphone: str,
        launcher: Sequence[str] = (),
        *,
        broker: str | None = None,
        stderr: int | None = None,
        **environment: str,
    ) -> None:
        self.state = folder / "state"
        self.log = folder / "agent.log"
        self.told: list[tuple[float, str]] = []
        config = folder / "agent.yaml"
        broker = broker or f"port: {free_port()}"
        config.write_text(CONFIG.format(microphone=microphone, broker=broker, folder=folder))
        address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.settimeout(0.1)
        watchdog = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": f"{PATIENCE_S * 1e6:.0f}"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*launcher, sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
                stdin=subprocess.PIPE,
                stderr=log if stderr is None else stderr,
                env=os.environ | watchdog | environment,
            )
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._play)]
        for thread in self._threads:
            thread.start()

    def lines(self) -> list[str]:
        return [line for _, line in list(self.told)]

    def feeds(self, since: float = 0.0) -> list[float]:
        return [at for at, line in list(self.told) if line == "WATCHDOG=1" and at >= since]

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while self.process.poll() is None:
            with contextlib.suppress(TimeoutError):
                self._note(self._socket.recv(4096))
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._note(self._socket.recv(4096))

    def _note(self, datagram: bytes) -> None:
        self.told += [(time.monotonic(), line) for line in datagram.decode().splitlines()]

    def _play(self) -> None:
        noise = np.random.default_rng(1).normal(0, 0.1 * 2**15, 12_000).astype("<i2").tobytes()
        stdin = self.process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while self.process.poll() is None:
                stdin.write(noise)
                stdin.flush()
                time.sleep(0.25)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()


@contextmanager
def running(service: Supervised) -> Iterator[Supervised]:
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()
        service.join()


def test_it_is_ready_with_its_first_sound_lives_without_a_broker_and_tells_its_end(
    tmp_path: Path,
) -> None:
    with running(Supervised(tmp_path, STDIN)) as service:
        wait_for(lambda: "READY=1" in service.lines(), "it is ready", 60)
        wait_for(lambda: len(service.feeds()) >= 3, "it is fed without a broker", 60)
        assert "STOPPING=1" not in service.lines()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(10) == 0, service.log.read_text()
    assert service.lines().count("READY=1") == 1
    assert len(list(Archive(service.state).seconds("mic", 0, 2**62))) >= 5
    assert [line for line in service.lines() if not line.startswith("STATUS=")][-1] == "STOPPING=1"
    feeds = service.feeds()
    # Never before its time: a third of the patience, less what a datagram may lie about.
    assert all(
        later - earlier > PATIENCE_S / 3 - 0.5 for earlier, later in itertools.pairwise(feeds)
    )


def test_without_its_microphone_it_starts_says_so_and_is_not_restarted(tmp_path: Path) -> None:
    with running(Supervised(tmp_path, MISSING)) as service:
        wait_for(lambda: "READY=1" in service.lines(), "it is ready", 60)
        assert any(line.startswith("STATUS=mic_missing:mic") for line in service.lines())
        # Long enough for a wait between two attempts that is longer than the patience.
        ready = time.monotonic()
        wait_for(lambda: len(service.feeds()) >= 8, "it is fed without a microphone", 60)
        feeds = [ready, *service.feeds(ready)]
        assert max(b - a for a, b in itertools.pairwise(feeds)) < PATIENCE_S
        log = service.log.read_text()
        assert log.count("WARNING microphone mic: ") == 1
        assert "Plug the microphone in" in log
        assert "Traceback" not in log
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(10) == 0, service.log.read_text()


def test_the_capture_child_does_not_learn_of_the_supervisor(tmp_path: Path) -> None:
    with running(Supervised(tmp_path, MISSING)) as service:
        pid = service.process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children")
        wait_for(lambda: bool(listed.read_text()), "the child is started", 60)
        child = Path("/proc", listed.read_text().split()[0])
        # Until then it is a copy of the service.
        wait_for(lambda: b"capture.child" in (child / "cmdline").read_bytes(), "it is itself", 60)
        names = (child / "environ").read_bytes()
        assert b"PATH=" in names
        assert b"NOTIFY_SOCKET" not in names
        assert b"WATCHDOG" not in names


def test_a_database_that_another_holds_does_not_starve_it(tmp_path: Path) -> None:
    with running(Supervised(tmp_path, STDIN)) as service:
        wait_for(lambda: len(service.feeds()) >= 1, "it is fed", 60)
        # Who writes waits a little, and goes on from memory.
        database = sqlite3.connect(service.state / "outbox.db", isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        locked = time.monotonic()
        # Longer than levels wait for their batch, and than the patience.
        wait_for(lambda: time.monotonic() - locked > LOCKED_S, "time passes", 60)
        feeds = [locked, *service.feeds(locked)]
        database.execute("ROLLBACK")
        database.close()
        assert max(b - a for a, b in itertools.pairwise(feeds)) < PATIENCE_S
        assert time.monotonic() - feeds[-1] < PATIENCE_S


def test_a_worker_that_hangs_is_not_fed(tmp_path: Path) -> None:
    reader, writer = full_pipe()
    with (
        os.fdopen(reader, "rb", buffering=0) as log,
        os.fdopen(writer, "wb", buffering=0),
        running(Supervised(tmp_path, STDIN, stderr=writer)) as service,
    ):
        # Its first line, that no broker is there, does not get through.
        state = Path(f"/proc/{service.process.pid}/wchan")
        wait_for(lambda: "pipe_write" in state.read_text(), "it hangs on its log", 60)
        hung = time.monotonic()
        wait_for(lambda: time.monotonic() - hung > 1.5 * PATIENCE_S, "time passes", 60)
        assert service.feeds(hung) == []
        while b"broker" not in log.read(4096):
            continue
        wait_for(lambda: service.feeds(hung) != [], "it is fed again", 60)


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe; who writes into it waits until somebody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return reader, writer


def test_the_watchdogs_signal_leaves_the_place_where_it_hung_in_the_log(tmp_path: Path) -> None:
    with running(Supervised(tmp_path, STDIN)) as service:
        wait_for(lambda: "READY=1" in service.lines(), "it is ready", 60)
        service.process.send_signal(signal.SIGABRT)
        assert service.process.wait(10) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in service.log.read_text()
    assert "agent.py" in service.log.read_text()


def test_the_password_that_systemd_hands_over_opens_the_broker(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    command = [program("mosquitto_passwd"), "-b", "-c", str(passwords), "ear", "secret"]
    subprocess.run(command, check=True, capture_output=True)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt-password").write_text("secret\n")
    with Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}\n") as broker:
        broker.start()
        settings = f"port: {broker.port}, username: ear"
        service = Supervised(
            tmp_path, STDIN, broker=settings, CREDENTIALS_DIRECTORY=str(credentials)
        )
        with running(service):
            wait_for(lambda: "Received PUBLISH" in broker.log(), "it may publish", 60)
