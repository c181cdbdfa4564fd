"""What `doctor` hears, and whether the model computes here what it did where it was made."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_agent import bundle as bundles
from edge_agent import responsefile
from edge_agent.capture.files import RecordingSource
from edge_agent.capture.microphone import MicrophoneSource
from edge_agent.classifier import Classifier
from edge_agent.clock import SystemClock
from edge_agent.commands.finding import Finding, fault, ok, refused, warning
from edge_agent.config import Config, LevelsConfig, MicrophoneConfig
from edge_agent.configfile import LoadedConfig, find_model, placed
from edge_agent.errors import AudioError, ConfigError, DeviceBusyError, DeviceError
from edge_agent.ids import Ids
from edge_agent.levels import Levels
from edge_agent.pipeline import Pipeline
from edge_agent.records import LevelReading

_PATIENCE_S = 10.0
"""PortAudio's start takes a second or two, the meter's first whole second up to two more."""
_WHOLE_S = 0.95
_ACTIVE = "sudo systemctl stop earshot-agent"


def model(loaded: LoadedConfig | None) -> Finding:
    """The bundle with its certificate and golden vectors, and the rules that name its labels."""
    config = loaded.config if loaded else Config()
    with placed(loaded):
        bundle = bundles.load(find_model(config.model.path, loaded.path if loaded else None))
        classifier = Classifier(bundle)
        Pipeline(config, bundle, classifier, Ids(0).new)
    return ok(
        "model",
        f"{bundle.name} {bundle.version}, {len(bundle.labels)} labels, by {classifier.runtime}: "
        f"certificate and golden vectors agree; {_thresholds(bundle)}",
    )


def _thresholds(bundle: bundles.Bundle) -> str:
    chosen = bundle.thresholds
    if chosen is None:
        return "thresholds were chosen for no budget of false alarms"
    proven = "" if chosen.proven else "not "
    return (
        f"thresholds for {chosen.budget_per_day:g} false alarms a day, {proven}proven "
        f"by {chosen.hours:.2f} h"
    )


def microphones(loaded: LoadedConfig | None) -> list[Finding]:
    """Each of the configuration, opened for about a second."""
    if loaded is None:
        todo = "Name the device's configuration with --config."
        return [warning("microphone", "not opened: no configuration names one", todo)]
    folder = loaded.path.parent
    return [_one(name, mic, folder) for name, mic in loaded.config.microphones.items()]


def _one(name: str, settings: MicrophoneConfig, folder: Path) -> Finding:
    if settings.response is not None:
        try:
            responsefile.load(folder / settings.response)
        except ConfigError as error:
            return refused("microphone", error)
    match settings.kind:
        case "stdin":
            return ok("microphone", f"{name}: raw sound on stdin, which is not read here")
        case "file":
            return _recording(name, folder / (settings.path or ""))
        case "device":
            return _device(name, settings)


def _recording(name: str, path: Path) -> Finding:
    try:
        with closing(RecordingSource(name, path, start_ns=0)) as source:
            source.read(0)
    except AudioError as error:
        return refused("microphone", error)
    return ok("microphone", f"{name}: the recording {path} can be read")


def _device(name: str, settings: MicrophoneConfig) -> Finding:
    clock = SystemClock()
    words = _Words()
    with words.taken(), closing(MicrophoneSource(name, settings, clock)) as source:
        try:
            reading = _heard(source, clock)
        except DeviceBusyError as error:
            todo = f"{error.hint} If it is the service: {_ACTIVE}, then again."
            return warning("microphone", error.message, todo)
        except DeviceError as error:
            return refused("microphone", error)
        lost = source.health()
    what = f"{name}: {settings.device}"
    if reading is None:
        todo = "Look at cable and power; unplug it and plug it in again."
        return fault("microphone", f"{what} gives no sound: {words.last}", todo)
    level = reading.values.get("LAeq_dbfs")
    if level is None:
        found = f"{what} gives only silence ({', '.join(sorted(set(reading.reasons.values())))})"
        return fault("microphone", found, "Look at the plug, mute, gain (alsamixer) and `channel`.")
    found = f"{what}: LAeq {level:.1f} dBFS"
    if reading.overload:
        return warning("microphone", f"{found}, and it clips", "Lower the gain: alsamixer")
    if reading.under_range:
        return warning(
            "microphone", f"{found}, below what it can measure", "Raise the gain: alsamixer"
        )
    if lost.overflows:
        todo = "Look at the load of the machine: top"
        return warning("microphone", f"{found}, with {lost.overflows} overruns", todo)
    return ok("microphone", found)


class _Words(logging.Handler):
    """Keeps what the microphone's source logs: why it starts its child anew."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "nothing was said"

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Listen to the log for a while."""
        log = logging.getLogger("edge_agent.capture.microphone")
        log.addHandler(self)
        try:
            yield
        finally:
            log.removeHandler(self)


def _heard(source: MicrophoneSource, clock: SystemClock) -> LevelReading | None:
    """The meter's first whole second."""
    levels = Levels(LevelsConfig(), None)
    end_ns = clock.monotonic_ns() + round(_PATIENCE_S * 1e9)
    while clock.monotonic_ns() < end_ns:
        block = source.read(0.5)
        for reading in levels.feed(block) if block is not None else ():
            if reading.heard_s >= _WHOLE_S:
                return reading
    return None
