"""What the agent's path makes of the recordings, in a form that can be stored and compared."""

from pathlib import Path

import msgspec

from edge_agent import resources
from edge_agent.bundle import load
from edge_agent.capture.files import RecordingSource
from edge_agent.classifier import Classifier
from edge_agent.config import Config
from edge_agent.ids import Ids
from edge_agent.pipeline import Pipeline
from edge_agent.records import Event, LevelReading, Record


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """A reading of one second."""

    start_ns: int
    laeq_dbfs: float
    lafmax_dbfs: float


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An event's start or end."""

    label: str
    phase: str
    start_ns: int
    end_ns: int | None
    score_max: float


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """All of a recording that is compared."""

    sha256: str
    """Of the file: both machines heard the same."""
    seconds: tuple[Second, ...]
    events: tuple[Change, ...]


def heard(path: Path, sha256: str) -> Heard:
    """The recording through the pipeline, as `replay` does it."""
    bundle = load(resources.root() / "models" / "street")
    pipeline = Pipeline(Config(), bundle, Classifier(bundle), Ids(0, 0).new)
    source = RecordingSource("mic", path, start_ns=0)
    records: list[Record] = []
    while not source.ended:
        block = source.read(0)
        if block is not None:
            records += pipeline.feed(block)
    records += pipeline.finish()
    readings = [one for one in records if isinstance(one, LevelReading) and one.period_s == 1]
    events = [one for one in records if isinstance(one, Event) and one.phase in ("start", "end")]
    return Heard(
        sha256=sha256, seconds=tuple(map(_second, readings)), events=tuple(map(_change, events))
    )


def _second(reading: LevelReading) -> Second:
    laeq, lafmax = reading.values["LAeq_dbfs"], reading.values["LAFmax_dbfs"]
    assert laeq is not None
    assert lafmax is not None
    return Second(start_ns=reading.start_ns, laeq_dbfs=laeq, lafmax_dbfs=lafmax)


def _change(event: Event) -> Change:
    return Change(
        label=event.label,
        phase=event.phase,
        start_ns=event.start_ns,
        end_ns=event.end_ns,
        score_max=event.score_max,
    )
