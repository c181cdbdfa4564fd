"""`edge-agent demo`: a street, or the microphone, through agent and broker to a subscriber.

Everything but the street is the real thing: the agent of `run` with the shipped model, its outbox
and its MQTT client, a broker on loopback, and a subscriber that knows only what the broker tells.
"""

import json
import logging
import random
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path

import msgspec

from edge_agent import bundle as bundles
from edge_agent import configfile, resources
from edge_agent.bundle import Bundle
from edge_agent.capture.open import Source, open_source
from edge_agent.classifier import Classifier
from edge_agent.clock import Clock, SystemClock
from edge_agent.commands import scene
from edge_agent.commands.agent import Agent
from edge_agent.commands.loopback import HOST, LoopbackBroker, Subscriber
from edge_agent.commands.run import client_id
from edge_agent.commands.scene import SceneSound, SceneSource
from edge_agent.commands.show import Show
from edge_agent.config import Config, MqttConfig
from edge_agent.configfile import LoadedConfig
from edge_agent.health import Monitor
from edge_agent.ids import Ids
from edge_agent.messages import Encoder, json_line
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from edge_agent.payloads import EventPayload
from edge_agent.pipeline import Pipeline
from edge_agent.records import Message

EARLY_S = 0.5
LATE_S = 1.0
"""An event may start this much before its sound, or after the sound's end (echo and patch)."""

_TURN_S = 0.1
_FAREWELL_S = 5.0


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the subscriber saw it start; `start_s` counts from the scene's first sample."""

    label: str
    start_s: float
    score: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a scene's sounds."""

    heard: tuple[tuple[SceneSound, Heard], ...]
    """Each sound with the first event that names it."""
    missed: tuple[SceneSound, ...]
    false: tuple[Heard, ...]
    """Events that fit no sound."""

    @property
    def passed(self) -> bool:
        """Whether of each required group a sound was heard."""
        labels = {sound.label for sound, _ in self.heard}
        return all(labels.intersection(group) for group in scene.REQUIRED)


def demo(
    *, seconds: float | None, mic: bool, as_json: bool, seed: int, config_path: Path | None
) -> int:
    """Play or listen, show what comes back through the broker, and judge it.

    Args:
        seconds: How long; None: the scene once, the microphone until it is interrupted.
        mic: Listen to the first microphone of the configuration instead of the scene; then nothing
            is known of what sounds, and nothing is judged.
        as_json: The messages a line each as `replay` prints them, then a summary of labels.
        seed: Makes the scene's random parts and the ids.
        config_path: None means `firmware_configs/demo.yaml`. Its broker is not used.

    Returns:
        0 if siren, horn and one percussive sound of the scene were heard, or with `mic`; else 1.

    Raises:
        EarshotError: The extra is missing, or configuration, model or microphone cannot be used.
    """
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    # Either signal ends the demo in good order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = config_path or resources.root() / "firmware_configs" / "demo.yaml"
    loaded = configfile.load(path)
    bundle = bundles.load(configfile.find(loaded.config.model.path, path.parent))
    clock = SystemClock()
    name = next(iter(loaded.config.microphones))
    with ExitStack() as stack:
        broker = stack.enter_context(LoopbackBroker())
        config = _on_loopback(loaded.config, name, broker.port)
        source = _source(name, config, clock, path.parent, seed, seconds, mic)
        subscriber = stack.enter_context(Subscriber(broker.port, _prefix(config)))
        show = None if as_json else Show(config.levels, () if mic else scene.sounds(_span(seconds)))
        if show is not None:
            show.opening(HOST, broker.port, _prefix(config), bundle.name, mic=mic)
        job = _Job(LoadedConfig(config=config, path=path, sha256=loaded.sha256), bundle, clock)
        events = _watch(job, source, seed, seconds if mic else None, subscriber, show)
    origin_ns = source.start_ns if isinstance(source, SceneSource) else 0
    heard = [_heard(event, origin_ns) for event in events]
    if not isinstance(source, SceneSource):
        return _close_unjudged(heard, show)
    verdict = judge(heard, scene.sounds(_span(seconds)))
    if show is None:
        _print_summary(
            [sound.label for sound, _ in verdict.heard],
            [sound.label for sound in verdict.missed],
            [event.label for event in verdict.false],
        )
    else:
        show.verdict(verdict)
    return 0 if verdict.passed else 1
