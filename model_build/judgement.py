"""What a bundle's thresholds give on streams with a known truth: found, missed, late, false."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import msgspec

from edge_agent.labels import Label
from model_build import false_alarms
from model_build.detection import Heard, Span
from model_build.event_metrics import Counts, delays_s, matched, percentile, summed
from model_build.false_alarms import Alarms
from model_build.psds import PARAMETERS, Parameters, psds
from model_build.streams import TrueEvent
from model_build.street import TEST_SNRS_DB


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """From a true onset to the telling of its event, in seconds; None where none was told."""

    n: int
    """Events that were told, of all."""
    p50_s: float | None
    p95_s: float | None


class LabelJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """One label's figures; None where nothing can be said."""

    events: int
    told: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None
    recall_by_snr_db: dict[str, float | None]
    psds: float
    delay: Delay
    alarms: Alarms
    alarm_s: float
    """Seconds that false events lasted on event-free sound."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a label that were told in the scenes and not true."""

    told: str
    heard: str | None
    """The label that was there the longest meanwhile; None for background alone."""
    n: int


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of the test streams."""

    labels: dict[str, LabelJudgement]
    macro_f1: float
    """Mean over the labels."""
    recall_by_snr_db: dict[str, float | None]
    psds: float
    psds_parameters: Parameters
    delay: Delay
    alarms: Alarms
    """Of all labels together."""
    scene_hours: float
    mistakes: tuple[Mistake, ...]
    """The most frequent first."""


class Apart(msgspec.Struct, frozen=True, kw_only=True):
    """What was told where a sound was played that is like an event, and none."""

    sound: str
    recordings: int
    told: dict[str, int]
    """How often, by label."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one true event."""

    snr_db: float
    right: bool
    delay_s: float | None


def judge(
    labels: Sequence[Label],
    scenes: Sequence[Heard],
    free: Sequence[Heard],
    budget_per_day: float,
) -> Judgement:
    """Count what the agent told.

    Args:
        labels: With the thresholds that the streams were heard with.
        scenes: Street scenes.
        free: Event-free streams.
        budget_per_day: False alarms that are allowed, all labels together.
    """
    hours = sum(stream.seconds for stream in free) / 3600
    areas = psds(scenes, [label.id for label in labels])
    told_free = [span for stream in free for span in stream.spans]
    by_label: dict[str, LabelJudgement] = {}
    outcomes: list[Outcome] = []
    for label in labels:
        counts, of_label = compared(label, scenes)
        false = [span for span in told_free if span.label == label.id]
        outcomes += of_label
        by_label[label.id] = LabelJudgement(
            events=counts.true,
            told=counts.told,
            right=counts.right,
            precision=counts.precision,
            recall=counts.recall,
            f1=counts.f1,
            recall_by_snr_db=_by_snr(of_label),
            psds=areas[1][label.id],
            delay=_delay(of_label),
            alarms=false_alarms.counted(len(false), hours, budget_per_day / len(labels)),
            alarm_s=sum(span.offset_s - span.onset_s for span in false),
        )
    return Judgement(
        labels=by_label,
        macro_f1=fmean(row.f1 for row in by_label.values() if row.f1 is not None),
        recall_by_snr_db=_by_snr(outcomes),
        psds=areas[0],
        psds_parameters=PARAMETERS,
        delay=_delay(outcomes),
        alarms=false_alarms.counted(len(told_free), hours, budget_per_day),
        scene_hours=sum(scene.seconds for scene in scenes) / 3600,
        mistakes=mistakes(labels, scenes),
    )


def compared(label: Label, scenes: Sequence[Heard]) -> tuple[Counts, list[Outcome]]:
    """What became of a label's events: counted, and one by one in the order of the scenes."""
    counts: list[Counts] = []
    outcomes: list[Outcome] = []
    for scene in scenes:
        truth = [event for event in scene.truth if event.label == label.id]
        told = [span for span in scene.spans if span.label == label.id]
        right = {true for true, _ in matched(truth, told, impulsive=label.impulsive)}
        counts.append(Counts(true=len(truth), told=len(told), right=len(right)))
        outcomes += _outcomes(truth, told, right)
    return summed(counts), outcomes


def mistakes(labels: Sequence[Label], scenes: Sequence[Heard]) -> tuple[Mistake, ...]:
    """Told events that are not right, by what they were told as and what was heard."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for scene in scenes:
        for label in labels:
            truth = [event for event in scene.truth if event.label == label.id]
            told = [span for span in scene.spans if span.label == label.id]
            right = {at for _, at in matched(truth, told, impulsive=label.impulsive)}
            wrong = (span for at, span in enumerate(told) if at not in right)
            counts.update((label.id, _heard_in(span, scene.truth)) for span in wrong)
    return tuple(Mistake(told=told, heard=heard, n=n) for (told, heard), n in counts.most_common())


def _heard_in(span: Span, truth: Sequence[TrueEvent]) -> str | None:
    """The label of the event that a span shares most time with."""
    shared_s, label = max(
        (
            (min(span.offset_s, event.offset_s) - max(span.onset_s, event.onset_s), event.label)
            for event in truth
        ),
        default=(-1.0, ""),
    )
    return label if shared_s >= 0 else None


def _outcomes(truth: Sequence[TrueEvent], told: Sequence[Span], right: set[int]) -> list[Outcome]:
    return [
        Outcome(snr_db=event.snr_db, right=at in right, delay_s=delay)
        for at, (event, delay) in enumerate(zip(truth, delays_s(truth, told), strict=True))
    ]


def _by_snr(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    shares: dict[str, float | None] = {}
    for snr_db in TEST_SNRS_DB:
        right = [outcome.right for outcome in outcomes if outcome.snr_db == snr_db]
        shares[f"{snr_db:g}"] = fmean(right) if right else None
    return shares


def _delay(outcomes: Sequence[Outcome]) -> Delay:
    delays = [outcome.delay_s for outcome in outcomes if outcome.delay_s is not None]
    return Delay(n=len(delays), p50_s=percentile(delays, 50), p95_s=percentile(delays, 95))
