"""The whole path of one microphone, with a table of scores or the shipped model behind it."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle import Bundle
from edge_agent.classifier import Classifier
from edge_agent.config import AlertConfig, Config, EventsConfig, LabelConfig, LevelsConfig
from edge_agent.errors import ConfigError
from edge_agent.frontend import Patches
from edge_agent.ids import Ids
from edge_agent.levels import Levels
from edge_agent.pipeline import Pipeline, Sensing
from edge_agent.records import Alert, Block, Event, LevelReading, Record, Samples
from tests.bundled import uncertified

RATE = 48000
SECONDS = 6
RULES = {
    "siren": AlertConfig(labels=("siren",), min_score=0.6),
    "loud": AlertConfig(indicator="LAeq", above_dbfs=-40.0, for_s=2),
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return uncertified()


class LoudIsSiren:
    """Scores by the level of the patch alone, so that a test can say what is heard when."""

    def __init__(self, bundle: Bundle) -> None:
        self.labels = tuple(label.id for label in bundle.labels)

    def scores(self, features: Samples) -> Samples:
        # The first statistic of MFCCs is the mean of c0, which is the level.
        level = features.mean() if features.ndim == 2 else features[0]
        scores = np.zeros(len(self.labels), np.float32)
        scores[self.labels.index("siren")] = 0.9 if level > -1.0 else 0.1
        return scores


def street() -> Samples:
    """Two seconds of near silence, two of loud noise, two of near silence."""
    noise = np.random.default_rng(3).standard_normal(SECONDS * RATE)
    loudness = np.repeat([1e-4, 0.2, 1e-4], 2 * RATE)
    samples: Samples = (noise * loudness).astype(np.float32)
    return samples


def played(pipeline: Pipeline, samples: Samples, cuts: list[int]) -> list[Record]:
    records: list[Record] = []
    for begin, end in pairwise([0, *cuts, len(samples)]):
        records += pipeline.feed(
            Block(
                microphone="mic",
                samples=samples[begin:end],
                rate=RATE,
                bandwidth_hz=24000.0,
                first=begin,
                start_ns=round(begin * 1e9 / RATE),
                synced=False,
            )
        )
    return records + pipeline.finish()


def pipeline_of(bundle: Bundle, config: Config | None = None) -> Pipeline:
    config = config or Config(alerts=RULES)
    return Pipeline(config, bundle, LoudIsSiren(bundle), Ids(7).new)


def test_readings_events_and_alerts_come_in_the_order_of_their_time(bundle: Bundle) -> None:
    records = played(pipeline_of(bundle), street(), [])
    made = [record.made_ns for record in records]
    assert made == sorted(made)
    readings = [record for record in records if isinstance(record, LevelReading)]
    assert [reading.start_ns // 1_000_000_000 for reading in readings] == list(range(SECONDS))
    assert len({reading.id for reading in readings}) == SECONDS
    events = [record for record in records if isinstance(record, Event)]
    assert [(event.label, event.phase) for event in events] == [
        ("siren", "start"),
        ("siren", "end"),
    ]
    alerts = [record for record in records if isinstance(record, Alert)]
    assert sorted((alert.rule, alert.phase) for alert in alerts) == [
        ("loud", "end"),
        ("loud", "start"),
        ("siren", "end"),
        ("siren", "start"),
    ]


def test_an_event_starts_and_ends_near_its_sound_and_carries_its_level(bundle: Bundle) -> None:
    records = played(pipeline_of(bundle), street(), [])
    start, end = (record for record in records if isinstance(record, Event))
    # A patch is a second long and counts as soon as a part of it is loud: half a second each way.
    assert abs(start.start_ns / 1e9 - 2.0) <= 0.6
    assert end.end_ns is not None
    assert abs(end.end_ns / 1e9 - 4.0) <= 0.6
    assert all(level is None for level in start.levels.values()) or start.levels["LAeq_dbfs"]
    loudest = max(
        record.values["LAFmax_dbfs"] or -200
        for record in records
        if isinstance(record, LevelReading)
    )
    assert end.levels["LAFmax_dbfs"] == loudest


def test_a_minute_follows_its_last_second_under_an_id_of_its_own(bundle: Bundle) -> None:
    samples = (0.01 * np.random.default_rng(4).standard_normal(62 * RATE)).astype(np.float32)
    records = played(
        pipeline_of(bundle, Config(levels=LevelsConfig(third_octaves=True))), samples, []
    )
    readings = [record for record in records if isinstance(record, LevelReading)]
    assert sorted(reading.period_s for reading in readings) == [1] * 62 + [60]
    (minute,) = (reading for reading in readings if reading.period_s == 60)
    assert (minute.start_ns, minute.heard_s) == (0, 60.0)
    # It waits for the patches that its last second is part of.
    assert 60 <= minute.made_ns / 1e9 <= 62
    assert set(minute.values) == {f"{name}_dbfs" for name in LevelsConfig().slow_indicators}
    assert None not in minute.values.values()
    assert minute.bands is not None
    assert len(minute.bands.levels) == 31
    assert len({reading.id for reading in readings}) == len(readings)
    made = [record.made_ns for record in records]
    assert made == sorted(made)


def test_events_tell_the_two_levels_of_the_contract_whatever_seconds_carry(bundle: Bundle) -> None:
    config = Config(levels=LevelsConfig(indicators=("LAeq", "LAFmax", "LAFmin", "LAE")))
    records = played(pipeline_of(bundle, config), street(), [])
    events = [record for record in records if isinstance(record, Event)]
    assert events
    assert all(set(event.levels) == {"LAeq_dbfs", "LAFmax_dbfs"} for event in events)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(1, SECONDS * RATE - 1), max_size=40, unique=True).map(sorted),
)
def test_records_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    shipped = uncertified()
    whole = played(pipeline_of(shipped), street(), [])
    parted = played(pipeline_of(shipped), street(), cuts)
    assert msgspec.to_builtins(parted) == msgspec.to_builtins(whole)


def test_the_shipped_model_gives_the_same_records_however_the_sound_is_cut(
    bundle: Bundle,
) -> None:
    config = Config(alerts=RULES)
    first, second = (
        played(Pipeline(config, bundle, Classifier(bundle), Ids(7).new), street(), cuts)
        for cuts in ([], list(range(5000, SECONDS * RATE, 5000)))
    )
    assert first == second


@given(cuts=st.lists(st.integers(1, 130 * RATE - 1), max_size=4, unique=True).map(sorted))
@settings(max_examples=3, deadline=None)
def test_a_minute_says_whose_its_energy_was(cuts: list[int]) -> None:
    noise = np.random.default_rng(3).standard_normal(130 * RATE)
    loudness = np.full(130, 1e-4)
    # Ten seconds far above the background, in the second minute.
    loudness[80:90] = 0.2
    samples: Samples = (noise * np.repeat(loudness, RATE)).astype(np.float32)
    records = played(pipeline_of(uncertified()), samples, cuts)
    made = [record.made_ns for record in records]
    assert made == sorted(made)
    minutes = [one for one in records if isinstance(one, LevelReading) and one.period_s == 60]
    assert [one.start_ns // 60_000_000_000 for one in minutes] == [0, 1]
    for one in minutes:
        assert one.shares is not None
        # Told when the patches that cover its last second are known, and no later.
        assert 0 < one.made_ns - (one.start_ns + 60_000_000_000) < 1_500_000_000
        told = one.shares.background + one.shares.unlabelled
        assert told + sum(source.share for source in one.shares.sources) == pytest.approx(1)
        assert one.tally.heard.total == one.tally.energies["A"]
    quiet, loud = (one.shares for one in minutes)
    assert quiet is not None
    assert loud is not None
    assert (quiet.background, quiet.sources) == (1.0, ())
    (siren,) = loud.sources
    assert siren.label == "siren"
    # Its event begins and ends half a patch beside the sound: a second may be missed.
    assert siren.min_share == siren.share > 0.85
    assert siren.laeq_without is not None


def test_a_rule_with_a_label_that_the_model_lacks_is_refused(bundle: Bundle) -> None:
    config = Config(alerts={"boom": AlertConfig(labels=("explosion",))})
    with pytest.raises(ConfigError, match=r"alerts\.boom\.labels: .* no label 'explosion'"):
        pipeline_of(bundle, config)


def test_an_override_that_crosses_the_models_thresholds_is_refused(bundle: Bundle) -> None:
    config = Config(events=EventsConfig(labels={"siren": LabelConfig(on=0.2)}))
    with pytest.raises(ConfigError, match=r"events\.labels\.siren: off 0\.35 is above on 0\.2"):
        pipeline_of(bundle, config)


def test_the_longest_waits_that_are_allowed_can_be_run(bundle: Bundle) -> None:
    config = Config(
        alerts={"a": AlertConfig(labels=("siren",), min_duration_s=86400.0)},
        events=EventsConfig(
            max_duration_s=86400.0,
            labels={"siren": LabelConfig(min_duration_s=86400.0, cooldown_s=86400.0)},
        ),
    )
    records = played(pipeline_of(bundle, config), street(), [])
    assert {type(record) for record in records} == {LevelReading}


@given(
    lengths=st.lists(st.integers(1, 30_000), min_size=1, max_size=20),
    start_ns=st.integers(0, 2 * 10**9),
    moved_ns=st.sampled_from([0, 300_000_000, -700_000_000, -3600 * 10**9]),
    missed=st.sampled_from([0, 1, 20_000]),
)
@settings(max_examples=50, deadline=None)
def test_no_second_is_told_later_for_being_measured_at_once(
    bundle: Bundle, lengths: list[int], start_ns: int, moved_ns: int, missed: int
) -> None:
    """In the middle sound is lost, or the clock is set."""
    sensing = Sensing(
        Levels(LevelsConfig()), Patches(bundle.frontend), bundle.frontend.rate, LoudIsSiren(bundle)
    )
    meter = Levels(LevelsConfig())
    noise = np.random.default_rng(4).standard_normal(30_000).astype(np.float32)
    told: list[LevelReading] = []
    wanted: list[LevelReading] = []
    first, now_ns = 0, 10**18 + start_ns
    for number, length in enumerate(lengths):
        in_the_middle = number == len(lengths) // 2
        now_ns += moved_ns if in_the_middle else 0
        block = Block(
            microphone="mic",
            samples=noise[:length],
            rate=RATE,
            bandwidth_hz=RATE / 2,
            first=first,
            start_ns=now_ns,
            synced=False,
            missed=missed if in_the_middle else 0,
        )
        first, now_ns = first + length, now_ns + length * 10**9 // RATE
        sensing.feed(block)
        told += [sensing.readings.popleft() for _ in range(len(sensing.readings))]
        wanted += meter.feed(block)
        # Around a step of the clock one may wait for the next second.
        assert told == wanted or moved_ns != 0
    sensing.finish()
    assert [*told, *sensing.readings] == wanted + meter.finish()
