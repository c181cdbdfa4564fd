"""A sound server for the tests: PulseAudio whose null sinks are microphones through ALSA."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.capture.alsa import ADDED, SYSTEM
from edge_agent.clock import SystemClock

CLOCK = SystemClock()
# Without norewinds=1 the sink delivers in lumps of seconds.
SINK = "rate=48000 format=s16le norewinds=1"
MONO = f"module-null-sink sink_name=mic channels=1 {SINK}"
STEREO = f"module-null-sink sink_name=pair channels=2 {SINK}"
INSTALL = "apt-get install pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"


def wait_until(true: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
    end_ns = CLOCK.monotonic_ns() + round(deadline_s * 1e9)
    while not true():
        assert CLOCK.monotonic_ns() < end_ns, f"not within {deadline_s} s: {what}"
        CLOCK.wait(0.05)


def pactl(*words: str) -> str:
    run = subprocess.run(["pactl", *words], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def server_answers() -> bool:
    return subprocess.run(["pactl", "info"], capture_output=True).returncode == 0


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """PulseAudio with two sinks; `mic0` and `mic1` are what plays on them."""
    folder.chmod(0o700)
    socket = folder / "native"
    without_hooks = ADDED.sub("", SYSTEM.read_text())
    devices = "".join(
        f'pcm.{pcm} {{ type pulse device "{sink}.monitor" }}\n'
        for pcm, sink in (("mic0", "mic"), ("mic1", "pair"))
    )
    (folder / "alsa.conf").write_text(without_hooks + devices)
    command = ["pulseaudio", "-n", "--daemonize=no", "--fail", "--use-pid-file=no"]
    command += ["--exit-idle-time=-1", "--disable-shm=yes", "--realtime=no"]
    command += ["--high-priority=no", f"--log-target=file:{folder / 'pulse.log'}"]
    command += ["-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    command += ["-L", MONO, "-L", STEREO]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("HOME", str(folder))
        patch.setenv("PULSE_SERVER", f"unix:{socket}")
        patch.setenv("ALSA_CONFIG_PATH", str(folder / "alsa.conf"))
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            pytest.fail(f"PulseAudio is missing: {INSTALL}")
        wait_until(server_answers, "PulseAudio answers")
        yield
        process.terminate()
        process.wait(timeout=10)
