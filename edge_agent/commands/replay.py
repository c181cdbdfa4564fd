"""`edge-agent replay`: recordings through the agent's own path on a simulated clock."""

import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent import messages, written
from edge_agent.bundle import Bundle
from edge_agent.bundle import load as load_bundle
from edge_agent.capture.files import RecordingSource
from edge_agent.classifier import Classifier
from edge_agent.clock import SimulatedClock
from edge_agent.commands.explain import JsonExplanation, TextExplanation
from edge_agent.commands.timeline import resting_line, timeline_line
from edge_agent.config import Config
from edge_agent.configfile import find_model, placed
from edge_agent.configfile import load as load_config
from edge_agent.errors import AudioError
from edge_agent.ids import Ids
from edge_agent.pipeline import Pipeline
from edge_agent.records import Message, Record, Stamp


def replay(
    files: tuple[Path, ...],
    config_path: Path | None,
    *,
    start_ns: int,
    seed: int,
    as_json: bool,
    explain: bool,
) -> int:
    """Print what `run` would publish for each file, or why; the exit code.

    Args:
        files: Recordings, each through a fresh pipeline.
        config_path: None means the defaults.
        start_ns: Time of each file's first sample, nanoseconds UTC.
        seed: Makes the ids; with the same files, the same bytes.
        as_json: One message a line instead of a timeline.
        explain: Reasons instead of messages.

    Raises:
        EarshotError: The configuration or the model cannot be used.
    """
    loaded = load_config(config_path) if config_path else None
    config = loaded.config if loaded else Config()
    with placed(loaded):
        bundle = load_bundle(find_model(config.model.path, config_path))
    classifier = Classifier(bundle)
    failures: list[AudioError] = []
    for position, path in enumerate(files):
        if not as_json:
            print(path)
        ids = Ids(seed, position)
        explanation = _explanation(path, as_json=as_json) if explain else None
        with placed(loaded):
            pipeline = Pipeline(
                config,
                bundle,
                classifier,
                ids.new,
                noise_floor_dbfs=next(iter(config.microphones.values())).noise_floor_dbfs,
                observe=explanation,
            )
        if position == 0:
            for rule in pipeline.resting:
                print(resting_line(rule), file=sys.stderr)
        try:
            if explanation is not None:
                _explain(path, config, pipeline, start_ns, explanation)
                continue
            for message in _published(path, config, bundle, pipeline, ids, start_ns):
                line = written.json_line(message) if as_json else timeline_line(message)
                if line:
                    print(line)
        except AudioError as error:
            failures.append(error)
    sys.stdout.flush()
    for failure in failures:
        print(f"edge-agent: {failure.message}\n  {failure.hint}", file=sys.stderr)
    return 2 if failures else 0


def _explanation(path: Path, *, as_json: bool) -> JsonExplanation | TextExplanation:
    return JsonExplanation(path, print) if as_json else TextExplanation(print)


def _explain(
    path: Path,
    config: Config,
    pipeline: Pipeline,
    start_ns: int,
    explanation: JsonExplanation | TextExplanation,
) -> None:
    """Play it for its reasons alone, which are told as they come."""
    try:
        for _ in _records(path, config, pipeline, start_ns):
            pass
    finally:
        explanation.finish([rule for rule in config.alerts if rule not in pipeline.resting])


def _published(
    path: Path, config: Config, bundle: Bundle, pipeline: Pipeline, ids: Ids, start_ns: int
) -> Iterator[Message]:
    """The messages of one recording, in the order in which `run` would publish them."""
    clock = SimulatedClock(start_ns)
    encoder = messages.Encoder(
        config.site, config.mqtt.root, config.alerts, bundle.name, bundle.model_sha256, ids.boot
    )
    for record in _records(path, config, pipeline, start_ns):
        clock.advance_to(record.made_ns)
        stamp = Stamp(utc_ns=clock.utc_ns(), synced=False, up_ms=clock.monotonic_ns() // 1_000_000)
        yield from encoder.encode(record, stamp)


def _records(path: Path, config: Config, pipeline: Pipeline, start_ns: int) -> Iterator[Record]:
    """A file that breaks off half-way still gives what was heard, and the ends of what was open."""
    source = RecordingSource(next(iter(config.microphones)), path, start_ns=start_ns)
    failure: AudioError | None = None
    try:
        while not source.ended:
            block = source.read(0)
            if block is not None:
                yield from pipeline.feed(block)
    except AudioError as error:
        failure = error
    finally:
        source.close()
    yield from pipeline.finish()
    if failure is not None:
        raise failure
