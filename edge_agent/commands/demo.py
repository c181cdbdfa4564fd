"""`edge-agent demo`: a street, or the microphone, through agent and broker to a subscriber.

Everything but the street is the real thing: the agent of `run` with its outbox and MQTT client and
the shipped model, a broker on loopback, a subscriber that knows only what the broker tells.
"""

import importlib
import logging
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent import bundle as bundles
from edge_agent import configfile, resources
from edge_agent.bundle import Bundle
from edge_agent.capture.open import Source, open_source
from edge_agent.classifier import Classifier
from edge_agent.clock import SystemClock
from edge_agent.commands.agent import Agent
from edge_agent.commands.device import client_id
from edge_agent.commands.loopback import HOST, LoopbackBroker, Subscriber
from edge_agent.commands.scene import LAP_S, SceneSound, SceneSource, sounds
from edge_agent.commands.timeline import resting_line
from edge_agent.commands.verdict import Heard, judge
from edge_agent.config import Config, MqttConfig
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import EarshotError
from edge_agent.health import Monitor
from edge_agent.ids import Ids
from edge_agent.messages import Encoder
from edge_agent.mqtt import MqttOutput
from edge_agent.outbox import Outbox
from edge_agent.payloads import EventPayload, LevelPayload
from edge_agent.pipeline import Pipeline
from edge_agent.records import Message

if TYPE_CHECKING:
    from edge_agent.commands.show import Show

_TURN_S = 0.1
_FAREWELL_S = 5.0
_NS = 1_000_000_000


def demo(
    *, seconds: float | None, mic: bool, as_json: bool, seed: int, config_path: Path | None
) -> int:
    """Play or listen, show what comes back through the broker, and judge it.

    Args:
        seconds: How long; None: the scene once, the microphone until it is interrupted.
        mic: Listen to the configuration's first microphone instead of the scene. Then nobody
            knows what sounds, and nothing is judged.
        as_json: Each message as `replay --json` prints it, then an object with the summary.
        seed: Makes the scene's random parts and the ids.
        config_path: None means `firmware_configs/demo.yaml`. Broker and state folder in it are
            not used.

    Returns:
        The exit code: 1 if the scene's siren, its horn, or both of its percussive sounds were
        missed.

    Raises:
        EarshotError: The extra is missing, or configuration, model or microphone cannot be used.
    """
    _require_extra()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    loaded = configfile.load(config_path or resources.root() / "firmware_configs" / "demo.yaml")
    with configfile.placed(loaded):
        bundle = bundles.load(configfile.find_model(loaded.config.model.path, loaded.path))
    with ExitStack() as stack:
        broker = stack.enter_context(LoopbackBroker())
        config = _on_loopback(loaded.config, broker.port)
        subscriber = stack.enter_context(Subscriber(broker.port, _prefix(config)))
        source = _source(config, loaded.path.parent, seed, seconds, mic=mic)
        show = _show(config, broker.port, bundle, as_json=as_json, mic=mic)
        worker = _Worker(config, loaded, bundle, source, seed)
        # To be told to stop is no failure: what is open ends, and the verdict follows.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        events = _watch(worker, subscriber, source, show, seconds if mic else None)
    if not isinstance(source, SceneSource):
        show.unjudged([_heard(event, 0) for event in events])
        return 0
    verdict = judge(sounds(source.played_s), [_heard(event, source.start_ns) for event in events])
    show.verdict(verdict)
    return 0 if verdict.passed else 1


class _Worker:
    """The agent on a thread of its own, in a state folder that vanishes with it."""

    def __init__(
        self, config: Config, loaded: LoadedConfig, bundle: Bundle, source: Source, seed: int
    ) -> None:
        self._config = config
        self._loaded = loaded
        self._bundle = bundle
        self._classifier = Classifier(bundle)
        self._source = source
        self._seed = seed
        self._stop = threading.Event()

    def stop(self) -> None:
        """End what is open, deliver it, take leave."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped, or until the source ended and all was delivered."""
        clock = SystemClock()
        max_bytes = round(self._config.outbox.max_mb * 1e6)
        with (
            tempfile.TemporaryDirectory(prefix="earshot-demo-") as folder,
            # Made here: a database belongs to the thread that uses it.
            closing(Outbox(Path(folder), clock, max_bytes=max_bytes)) as outbox,
        ):
            self._agent(outbox, clock, Path(folder)).run(self._stop)

    def _agent(self, outbox: Outbox, clock: SystemClock, folder: Path) -> Agent:
        config, bundle = self._config, self._bundle
        name = next(iter(config.microphones))
        ids = Ids(self._seed)
        encoder = Encoder(
            config.site, config.mqtt.root, config.alerts, bundle.name, bundle.model_sha256, ids.boot
        )
        rng = random.Random(self._seed)  # noqa: S311 # it spreads waits, it hides nothing
        output = MqttOutput(config.mqtt, client_id(config), encoder.will(), clock, rng)
        with configfile.placed(self._loaded):
            pipeline = Pipeline(config, bundle, self._classifier, ids.new)
        for rule in pipeline.resting:
            print(resting_line(rule), file=sys.stderr)
        return Agent(
            {name: self._source},
            {name: pipeline},
            encoder,
            outbox,
            output,
            clock,
            Monitor(
                clock,
                {name: config.microphones[name]},
                folder,
                bundle.model_sha256,
                self._loaded.sha256,
            ),
        )


def _watch(
    worker: _Worker,
    subscriber: Subscriber,
    source: Source,
    show: "Show",
    seconds: float | None,
) -> list[EventPayload]:
    """Let the agent work and show what arrives; the events, as each began.

    Args:
        worker: The agent.
        subscriber: What arrives.
        source: What the agent listens to.
        show: Told of each message.
        seconds: Stop the agent after this; None: when the source ends, or on an interrupt.
    """
    events: list[EventPayload] = []
    with ThreadPoolExecutor(1, thread_name_prefix="agent") as pool:
        work = pool.submit(worker.run)
        for message in _messages(work, worker, subscriber, seconds):
            show.message(message, _playing(message, source))
            if message.kind == "event":
                event = msgspec.json.decode(message.payload, type=EventPayload)
                events += [event] if event.phase == "start" else []
        work.result()
    return events


def _messages(
    work: "Future[None]", worker: _Worker, subscriber: Subscriber, seconds: float | None
) -> Iterator[Message]:
    """What arrives, until the agent has ended and its farewell was seen."""
    clock = SystemClock()
    stop_ns = None if seconds is None else clock.monotonic_ns() + round(seconds * _NS)
    give_up_ns: int | None = None
    while True:
        now_ns = clock.monotonic_ns()
        if stop_ns is not None and now_ns >= stop_ns:
            worker.stop()
        if work.done() and give_up_ns is None:
            give_up_ns = now_ns + round(_FAREWELL_S * _NS)
        message = subscriber.next(_TURN_S)
        if message is not None:
            yield message
        elif give_up_ns is not None and (subscriber.farewell.is_set() or now_ns > give_up_ns):
            return


def _playing(message: Message, source: Source) -> Sequence[SceneSound]:
    """The sounds of the scene within the second that a level tells of."""
    if message.kind != "level" or not isinstance(source, SceneSource):
        return ()
    level = msgspec.json.decode(message.payload, type=LevelPayload)
    if level.period_s > 1:
        return ()
    from_s = (_utc_ns(level.start) - source.start_ns) / _NS
    until_s = from_s + level.period_s
    return [
        sound
        for sound in sounds(until_s + LAP_S)
        if sound.start_s < until_s and from_s < sound.end_s
    ]


def _require_extra() -> None:
    for name in ("amqtt", "rich"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise EarshotError(
                f"the demo needs {name}, which is not installed",
                hint='Install the extra: pip install "earshot[demo]"',
            ) from error


def _show(config: Config, port: int, bundle: Bundle, *, as_json: bool, mic: bool) -> "Show":
    from edge_agent.commands.show import JsonShow, TextShow

    if as_json:
        return JsonShow()
    what = "the microphone" if mic else "a synthesised street"
    return TextShow(f"{what} with the model {bundle.name}", (HOST, port), _prefix(config))


def _source(config: Config, folder: Path, seed: int, seconds: float | None, *, mic: bool) -> Source:
    name, settings = next(iter(config.microphones.items()))
    if mic:
        return open_source(name, settings, SystemClock(), folder)
    return SceneSource(name, SystemClock(), seed=seed, seconds=seconds or LAP_S)


def _on_loopback(config: Config, port: int) -> Config:
    """The configuration with the demo's broker, which speaks 3.1.1 only."""
    mqtt = MqttConfig(host=HOST, port=port, root=config.mqtt.root, version="3.1.1")
    return msgspec.structs.replace(config, mqtt=mqtt)


def _prefix(config: Config) -> str:
    return f"{config.mqtt.root}/{config.site.site}/{config.site.device}"


def _heard(event: EventPayload, origin_ns: int) -> Heard:
    start_s = (_utc_ns(event.start) - origin_ns) / _NS
    return Heard(label=event.label, start_s=start_s, score=event.score)


def _utc_ns(time: str) -> int:
    # The wire's milliseconds survive a float of seconds, whose step is a quarter microsecond.
    return round(datetime.fromisoformat(time).timestamp() * 1000) * 1_000_000
