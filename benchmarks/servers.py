"""What the running agent is measured with: a broker, and a microphone that is fed in real time."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from edge_agent.capture.alsa import ADDED, SYSTEM

_CHUNK_S = 0.25
_CHUNK_BYTES = 24_000
_INSTALL = "apt-get install mosquitto pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A mosquitto; its port on loopback."""
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        port: int = link.getsockname()[1]
    config = folder / "mosquitto.conf"
    # Started as root it would change to a user that cannot read this folder.
    user = "user root\n" if os.getuid() == 0 else ""
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{user}")
    with _running([_program("mosquitto"), "-c", str(config)]):
        yield port


@contextmanager
def microphone(folder: Path, alsa: str, source: str = "pipe") -> Iterator[dict[str, str]]:
    """PulseAudio and a microphone of its own; the environment in which it is called `street`.

    Args:
        folder: For its files; it is made.
        alsa: Plugins as the `system` configures them, or `plain`, without.
        source: A `pipe` gives its packets of 250 ms, a `null-sink` packets of 25 ms, each of which
            wakes the capture process.
    """
    folder.mkdir()
    socket_path, pipe = folder / "native", folder / "pipe"
    text = SYSTEM.read_text()
    if alsa == "plain":
        # Without what PortAudio would then open.
        text = ADDED.sub("", text)
    device = "street.monitor" if source == "null-sink" else "street"
    (folder / "alsa.conf").write_text(f'{text}pcm.street {{ type pulse device "{device}" }}\n')
    environment = os.environ | {
        "XDG_RUNTIME_DIR": str(folder),
        "HOME": str(folder),
        "PULSE_SERVER": f"unix:{socket_path}",
        "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
    }
    command = [_program("pulseaudio"), "-n", "--daemonize=no", "--use-pid-file=no"]
    command += ["--exit-idle-time=-1", "--disable-shm=yes", "--realtime=no", "--high-priority=no"]
    command += ["-L", f"module-native-protocol-unix socket={socket_path} auth-anonymous=1"]
    form = "rate=48000 channels=1 format=s16le"
    if source == "null-sink":
        # Without the last argument it delivers in lumps of seconds.
        command += ["-L", f"module-null-sink sink_name=street {form} norewinds=1"]
    else:
        command += ["-L", f"module-pipe-source file={pipe} source_name=street {form}"]
    ended = threading.Event()
    with ExitStack() as servers:
        servers.enter_context(_running(command, environment))
        wait_for(socket_path.exists, "PulseAudio starts")
        if source == "null-sink":
            os.mkfifo(pipe)
            play = [_program("paplay"), "--raw", "--rate=48000", "--channels=1", "--format=s16le"]
            play += ["--device=street", "--latency-msec=25", str(pipe)]
            servers.enter_context(_running(play, environment))
        # Nobody waits for it: once nobody records, nobody reads what it writes.
        threading.Thread(target=_feed, args=(pipe, ended), daemon=True).start()
        try:
            yield environment
        finally:
            ended.set()


def _feed(pipe: Path, ended: threading.Event) -> None:
    """Noise whose loudness wanders, a chunk at a time."""
    noise = np.random.default_rng(0).standard_normal(_CHUNK_BYTES // 2)
    due_s = time.monotonic()
    number = 0
    with pipe.open("wb", buffering=0) as file, suppress(BrokenPipeError):
        while not ended.is_set():
            loudness = 0.02 * (1.5 + np.sin(number / 28))
            file.write((noise * loudness * 32767).astype("<i2").tobytes())
            number += 1
            due_s += _CHUNK_S
            ended.wait(max(0.0, due_s - time.monotonic()))


@contextmanager
def _running(command: list[str], environment: dict[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        sys.exit(f"{name} is missing: {_INSTALL}")
    return found


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Return as soon as it holds; end the benchmark after twenty seconds."""
    end_s = time.monotonic() + 20
    while not true():
        if time.monotonic() > end_s:
            sys.exit(f"not within 20 s: {what}")
        time.sleep(0.05)
