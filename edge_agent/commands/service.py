"""The agent of `edge-agent run`, put together."""

import logging
import os
import platform
import random
import secrets
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from msgspec import UNSET

from edge_agent import bundle as bundles
from edge_agent import calibrationfile, configfile, delivered, heartbeat, releasestate, responsefile
from edge_agent.acoustics.periods import PERIODS_S
from edge_agent.acoustics.response import Response
from edge_agent.archive import Archive
from edge_agent.bundle import Bundle
from edge_agent.capture.open import open_source
from edge_agent.capture.process import Child
from edge_agent.classifier import Classifier
from edge_agent.clock import Clock
from edge_agent.commands.agent import Agent
from edge_agent.commands.device import client_id, with_paths
from edge_agent.config import Config
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import StoreError
from edge_agent.health import Monitor
from edge_agent.ids import Ids
from edge_agent.machine import hardware
from edge_agent.messages import About, Encoder
from edge_agent.mqtt import MqttOutput
from edge_agent.notify import Service, Supervisor
from edge_agent.outbox import Outbox
from edge_agent.payloads import MicrophoneInfo
from edge_agent.pipeline import Classifies, Pipeline
from edge_agent.records import Calibration, LevelReading, Samples
from edge_agent.store import Store

_log = logging.getLogger(__name__)


class _Noticed:
    """A classifier that tells the monitor of each answer."""

    def __init__(self, classifier: Classifies, monitor: Monitor) -> None:
        self._classifier = classifier
        self._monitor = monitor

    @property
    def labels(self) -> tuple[str, ...]:
        return self._classifier.labels

    def scores(self, features: Samples) -> Samples:
        scores = self._classifier.scores(features)
        self._monitor.inference()
        return scores


def serve(
    loaded: LoadedConfig,
    children: Mapping[str, Child],
    clock: Clock,
    supervisor: Supervisor,
    stop: threading.Event,
) -> None:
    """Listen and deliver until `stop` is set, or until a recording's end.

    Args:
        loaded: The configuration, and where it stands.
        children: Capture processes that run already, by microphone.
        clock: Of everything.
        supervisor: Who is told how it goes.
        stop: Ends it.
    """
    with configfile.placed(loaded):
        bundle = bundles.load(configfile.find_model(loaded.config.model.path, loaded.path))
    state_dir = loaded.path.parent / loaded.config.state_dir
    max_bytes = round(loaded.config.outbox.max_mb * 1e6)
    kept = loaded.config.store
    microphones = len(loaded.config.microphones)
    with (
        closing(Outbox(state_dir, clock, max_bytes=max_bytes)) as outbox,
        closing(Store(state_dir, clock, kept, microphones=microphones)) as store,
    ):
        _agent(loaded, children, bundle, outbox, store, state_dir, clock, supervisor).run(stop)


def _calibrations(
    config: Config, state_dir: Path, path: Path
) -> tuple[dict[str, Calibration], tuple[str, ...]]:
    """The calibrations in force by microphone, and the faults that stand until the next start."""
    brought = delivered.calibrations(path, config.microphones)
    try:
        entries = calibrationfile.read(state_dir)
    except StoreError as error:
        # Levels in dBFS, and named so, are better than none.
        _log.error("%s. %s", error.message, error.hint)
        return brought, ("calibration_unreadable",)
    calibrations, unfit = calibrationfile.in_force(entries, config.microphones)
    return delivered.newest(calibrations, brought), tuple(
        f"calibration_unfit:{name}" for name in unfit
    )


def _about(
    config: Config,
    bundle: Bundle,
    config_sha256: str,
    calibrations: Mapping[str, Calibration],
    responses: Mapping[str, Response],
    started_ns: int,
) -> About:
    """What `info` tells."""
    return About(
        config_sha256=config_sha256,
        labels=tuple(label.id for label in bundle.labels),
        microphones=tuple(
            MicrophoneInfo(
                name=name,
                device=mic.path or mic.device,
                rate=mic.rate,
                response=responses[name].sha256[:8] if name in responses else UNSET,
            )
            for name, mic in config.microphones.items()
        ),
        indicators=config.levels.indicators,
        slow_indicators=config.levels.slow_indicators,
        periods_s=(1, *PERIODS_S) if config.levels.slow_indicators else (1,),
        third_octaves=config.levels.third_octaves,
        calibrations=dict(calibrations),
        hardware=hardware(),
        os=platform.platform(),
        python=platform.python_version(),
        started_ns=started_ns,
    )


def measured_before(
    state_dir: Path, microphone: str, from_ns: int, to_ns: int
) -> Iterable[LevelReading]:
    """Seconds that an earlier start left in the store; none where it cannot be read."""
    try:
        return list(Archive(state_dir).seconds(microphone, from_ns, to_ns))
    except StoreError:
        return []


def _agent(
    loaded: LoadedConfig,
    children: Mapping[str, Child],
    bundle: Bundle,
    outbox: Outbox,
    store: Store,
    state_dir: Path,
    clock: Clock,
    supervisor: Supervisor,
) -> Agent:
    config = loaded.config
    calibrations, standing = _calibrations(config, state_dir, loaded.path)
    responses = {
        name: responsefile.load(loaded.path.parent / microphone.response)
        for name, microphone in config.microphones.items()
        if microphone.response is not None
    }
    seed = secrets.randbits(64)
    ids = Ids(seed, boot=f"{seed:016x}")
    encoder = Encoder(
        config.site, config.mqtt.root, config.alerts, bundle.name, bundle.model_sha256, ids.boot
    )
    monitor = Monitor(clock, config.microphones, state_dir, bundle.model_sha256, loaded.sha256)
    output = MqttOutput(
        with_paths(config.mqtt, loaded),
        client_id(config),
        encoder.will(),
        clock,
        random.Random(secrets.randbits(64)),  # noqa: S311 # it spreads waits, it hides nothing
    )
    classifier = _Noticed(Classifier(bundle), monitor)
    with configfile.placed(loaded):
        pipelines = {
            name: Pipeline(
                config,
                bundle,
                classifier,
                ids.new,
                calibration=calibrations.get(name),
                noise_floor_dbfs=microphone.noise_floor_dbfs,
                response=responses.get(name),
                earlier=partial(measured_before, state_dir, name),
            )
            for name, microphone in config.microphones.items()
        }
    sources = {
        name: open_source(
            name, settings, clock, loaded.path.parent, child=children.get(name), patient=True
        )
        for name, settings in config.microphones.items()
    }
    return Agent(
        sources,
        pipelines,
        encoder,
        outbox,
        output,
        clock,
        monitor,
        about=_about(config, bundle, loaded.sha256, calibrations, responses, clock.utc_ns()),
        service=Service(clock, sources, supervisor),
        store=store,
        standing=standing,
        heartbeat=heartbeat.Heartbeat(heartbeat.runtime_folder(os.environ)),
        release=partial(releasestate.read, loaded.path),
    )
