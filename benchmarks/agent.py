"""What the running agent costs: CPU and memory with its capture process, start to first decision.

    python -m benchmarks.agent [--seconds N] [--quick] [--alsa plain|system]
                               [--source pipe|null-sink] [--json]

The whole of it, in real time: PulseAudio's pipe-source, fed in chunks of 250 ms, the capture
process, levels, classifier, outbox, and a mosquitto. Neither PulseAudio nor the broker nor what
feeds them is counted. The `null-sink` gives small packets instead: each wakes the capture process,
more often than a sound card does. Starts are always measured over it, since a card's sound does not
come in lumps of 250 ms. All run on one core, from
modules that are compiled already. ALSA's configuration is `plain`, as the capture process gives it
to itself for a card, plus the one PCM that leads to PulseAudio; `system` adds what packages add.
Goals are printed beside the figures; a busy machine misses them, and that is no failure.
"""

import argparse
import compileall
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec

import edge_agent
from benchmarks.common import Conditions, Timing, conditions, dump, pin, timing
from benchmarks.servers import broker, microphone, wait_for

GOAL_CPU_MS = 8.0
GOAL_PSS_MB = 65.0
GOAL_FIRST_S = 0.5
_STARTS = 5
_WARM_UP_S = 5
_PATCH_S = 1.004
"""What the first decision has to wait for, however quick the agent is."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# `edge-agent run`, which notes when it first decided and how often.
_AGENT = """
import sys, time
from pathlib import Path
from edge_agent import cli
from edge_agent.classifier import Classifier
scores, times = Classifier.scores, []
def noted(self, features):
    found = scores(self, features)
    times.append(time.clock_gettime(time.CLOCK_BOOTTIME))
    if len(times) == 1:
        Path("first").write_text(f"{times[0]}")
    return found
Classifier.scores = noted
try:
    cli.main()
finally:
    Path("decisions").write_text(f"{times[0]} {times[-1]} {len(times)}")
"""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What this benchmark prints."""

    conditions: Conditions
    alsa: str
    source: str
    seconds: int
    cpu: dict[str, Timing]
    """Of agent, capture process and both, over windows of the run."""
    pss_mb: dict[str, float]
    """Medians over the windows."""
    decisions_per_s: float
    first_decision_s: list[float]
    """From the start of the process, at each start."""
    beyond_sound_s: float
    """The median of that, less the sound of the first patch."""


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--alsa", choices=("plain", "system"), default="plain")
    parser.add_argument("--source", choices=("pipe", "null-sink"), default="pipe")
    parser.add_argument("--quick", action="store_true", help="twenty seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = 20 if options.quick else options.seconds
    pin()
    compileall.compile_dir(Path(edge_agent.__file__).parent, quiet=2)
    before = conditions(
        **{name: version(name) for name in ("ai-edge-litert", "soxr", "sounddevice", "paho-mqtt")}
    )
    with tempfile.TemporaryDirectory() as name:
        result = _measure(Path(name), before, options, seconds)
    if options.json:
        dump(result)
    else:
        _print(result)
    return 0


def _measure(folder: Path, before: Conditions, options: argparse.Namespace, seconds: int) -> Result:
    (folder / "agent.py").write_text(_AGENT)
    with broker(folder) as port:
        config = folder / "agent.yaml"
        config.write_text(
            "microphones: {mic: {device: street}}\n"
            "alerts: {loud: {indicator: LAeq, above_dbfs: -30, for_s: 3}}\n"
            f"mqtt: {{host: 127.0.0.1, port: {port}}}\nstate_dir: {folder}/state\n"
        )
        starts = []
        with microphone(folder / "card", options.alsa, "null-sink") as environment:
            for _ in range(_STARTS):
                with _agent(folder, config, environment) as agent:
                    starts.append(_first_s(folder) - _started_s(agent.pid))
        with (
            microphone(folder / "source", options.alsa, options.source) as environment,
            _agent(folder, config, environment) as agent,
        ):
            _first_s(folder)
            time.sleep(_WARM_UP_S)
            windows = _windows(agent.pid, seconds)
    first_s, last_s, count = map(float, (folder / "decisions").read_text().split())
    both = [agent + child for agent, child in zip(windows.agent_ms, windows.child_ms, strict=True)]
    pss = {
        "agent": statistics.median(windows.agent_mb),
        "capture": statistics.median(windows.child_mb),
    }
    return Result(
        conditions=before,
        alsa=options.alsa,
        source=options.source,
        seconds=seconds,
        cpu={
            "agent": timing(windows.agent_ms),
            "capture": timing(windows.child_ms),
            "both": timing(both),
        },
        pss_mb={name: round(value, 1) for name, value in pss.items()},
        decisions_per_s=round((count - 1) / (last_s - first_s), 2),
        first_decision_s=[round(start, 2) for start in sorted(starts)],
        beyond_sound_s=round(statistics.median(starts) - _PATCH_S, 2),
    )


@contextmanager
def _agent(
    folder: Path, config: Path, environment: dict[str, str]
) -> "Iterator[subprocess.Popen[bytes]]":
    """The agent, stopped in the end as systemd would."""
    (folder / "first").unlink(missing_ok=True)
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, str(folder / "agent.py"), "run", "--config", str(config)],
            cwd=folder,
            env=environment,
            stderr=log,
        )
    try:
        yield agent
    finally:
        agent.send_signal(signal.SIGTERM)
        if agent.wait(15):
            sys.exit((folder / "agent.log").read_text())


def _first_s(folder: Path) -> float:
    """When it decided first."""
    path = folder / "first"
    wait_for(lambda: path.exists() and path.stat().st_size > 0, "the agent decides")
    return float(path.read_text())


class _Windows(msgspec.Struct):
    """What each window of the run gave."""

    agent_ms: list[float] = []
    child_ms: list[float] = []
    agent_mb: list[float] = []
    child_mb: list[float] = []


def _windows(agent: int, seconds: int) -> _Windows:
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    if len(children) != 1:
        sys.exit("no capture process runs: is the microphone there?")
    child = int(children[0])
    found = _Windows()
    count = max(3, seconds // 10)
    for _ in range(count):
        before = time.monotonic(), _cpu_ms(agent), _cpu_ms(child)
        time.sleep(seconds / count)
        passed_s = time.monotonic() - before[0]
        found.agent_ms.append((_cpu_ms(agent) - before[1]) / passed_s)
        found.child_ms.append((_cpu_ms(child) - before[2]) / passed_s)
        found.agent_mb.append(_pss_mb(agent))
        found.child_mb.append(_pss_mb(child))
    return found


def _cpu_ms(process: int) -> float:
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def _pss_mb(process: int) -> float:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    kilobytes = re.search(r"^Pss:\s+(\d+)", text, re.M)
    return 0.0 if kilobytes is None else int(kilobytes[1]) * 1024 / 1e6


def _started_s(process: int) -> float:
    stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(stat[19]) / _TICKS_PER_S


def _print(result: Result) -> None:
    where = result.conditions
    print(
        f"{where.cpu}, core {where.pinned_to}, load {where.load_1min}, Python {where.python}, "
        f"numpy {where.numpy}, {result.seconds} s of a {result.source}, {result.alsa} ALSA "
        "configuration"
    )
    print(f"CPU ms per second of sound: median (range); goal {GOAL_CPU_MS:g}")
    for name, cost in result.cpu.items():
        print(f"  {name:8} {cost}")
    parts = ", ".join(f"{name} {value}" for name, value in result.pss_mb.items())
    print(f"PSS {sum(result.pss_mb.values()):.1f} MB ({parts}); goal {GOAL_PSS_MB:g}")
    print(f"{result.decisions_per_s} decisions a second")
    starts = result.first_decision_s
    print(
        f"first decision {statistics.median(starts):g} s ({starts[0]:g}-{starts[-1]:g}) after the "
        f"start, {result.beyond_sound_s:g} s beyond the {_PATCH_S:g} s of sound that it needs; "
        f"goal {GOAL_FIRST_S:g} beyond them"
    )


if __name__ == "__main__":
    sys.exit(main())
