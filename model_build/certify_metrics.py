"""What `certify` found on the test's streams, as figures for the model card."""

from collections.abc import Sequence

from edge_agent.modelfile import Metric
from model_build.judgement import Apart, Judgement

_STREAMS = "street scenes and event-free streams through the agent, with the thresholds above"
_ERRORS = "what it told wrongly in these scenes, most frequent first"
_MOST_ERRORS = 12


def renewed(
    metrics: Sequence[Metric],
    judged: Judgement,
    apart: Sequence[Apart],
    seed: int,
    command: str,
) -> list[Metric]:
    """A bundle's figures with those of its streams in the place of earlier ones.

    Args:
        metrics: What the bundle has.
        judged: On the test's streams.
        apart: What was told where a sound like an event was played.
        seed: Of the streams.
        command: What the user typed.
    """
    others = [metric for metric in metrics if metric.task not in (_STREAMS, _ERRORS)]
    errors = [*_errors(judged, seed, command), *_lookalikes(apart, seed, command)]
    return [*others, *_figures(judged, seed, command), *errors]


def _figures(judged: Judgement, seed: int, command: str) -> list[Metric]:
    events = sum(row.events for row in judged.labels.values())
    split = (
        f"held-out recordings: {events} events in {60 * judged.scene_hours:.0f} min, every label "
        f"equally often at each SNR; {judged.alarms.hours:.2f} h without events"
    )
    shares: dict[str, float | None] = {"event-based macro F1, %": judged.macro_f1}
    shares |= {
        f"recall at {snr_db} dB, %": share for snr_db, share in judged.recall_by_snr_db.items()
    }
    for label, row in judged.labels.items():
        shares |= {f"recall, %, {label}": row.recall, f"precision, %, {label}": row.precision}
    figures = {name: 100 * share for name, share in shares.items() if share is not None}
    figures |= {"PSDS, scores alone": judged.psds}
    if judged.delay.p50_s is not None and judged.delay.p95_s is not None:
        figures |= {
            "onset to event, s, half of those told": judged.delay.p50_s,
            "onset to event, s, 95 % of those told": judged.delay.p95_s,
        }
    figures |= {"false alarms an hour, all labels": judged.alarms.per_hour}
    return [
        Metric(
            task=_STREAMS,
            split=split,
            metric=name,
            value=round(value, 3),
            spread=None,
            n=events,
            seeds=(seed,),
            command=command,
        )
        for name, value in figures.items()
    ]


def _errors(judged: Judgement, seed: int, command: str) -> list[Metric]:
    told = sum(row.told for row in judged.labels.values())
    return [
        Metric(
            task=_ERRORS,
            split=f"of {told} events that were told",
            metric=f"{mistake.told} told, {mistake.heard or 'background alone'} heard",
            value=float(mistake.n),
            spread=None,
            n=told,
            seeds=(seed,),
            command=command,
        )
        for mistake in judged.mistakes[:_MOST_ERRORS]
    ]


def _lookalikes(apart: Sequence[Apart], seed: int, command: str) -> list[Metric]:
    return [
        Metric(
            task=_ERRORS,
            split=f"in {one.recordings} held-out recordings of {one.sound}, which are not among "
            "the false alarms above",
            metric=f"{label} told",
            value=float(count),
            spread=None,
            n=one.recordings,
            seeds=(seed,),
            command=command,
        )
        for one in apart
        for label, count in one.told.items()
    ]
