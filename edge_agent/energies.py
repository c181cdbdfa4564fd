"""Whose energy it was: one second's energy split among background, labels and what has none.

One microphone cannot separate sources that sound together. What is said instead is exact by
definition: how much of the energy arrived while a label was heard. For each heard second

    E  its A-weighted energy            B  that of the background, LA90 of the ten minutes before
    X = max(0, E - B)                   p  a label's score, of the labels active in the second

    min(E, B)        goes to the background; to a label that is stationary and active alone
    X p / sum of p   goes to each active label; X to `unlabelled` where none is active

Energies are integers, so that labels, unlabelled and background add up to E exactly, and minutes
to the same hour in any order.
"""

import math
from collections.abc import Collection, Iterable, Mapping

from edge_agent.records import Energies, Share, Shares, Source

_SCORE_STEPS = 1_000_000


def attributed(
    energy: int, background: int | None, scores: Mapping[str, float], stationary: Collection[str]
) -> Energies:
    """Split the energy of one second.

    Args:
        energy: Of the second, at least 0, in whatever unit.
        background: What the background would have brought in the time heard, in the same unit;
            None while it is not known: then all is background.
        scores: Of the labels active in the second, 0 to 1; all 0 counts as all equal.
        stationary: Labels that are the background when they last.
    """
    floor = energy if background is None else min(energy, background)
    excess = energy - floor
    if not scores:
        return Energies(total=energy, background=floor, unlabelled=excess)
    alone = len(scores) == 1
    hum = floor if alone and background is not None and scores.keys() <= set(stationary) else 0
    parts = _split(excess, scores)
    return Energies(
        total=energy,
        background=floor - hum,
        sources={
            label: Source(
                part=part + hum, alone=excess if alone else 0, heard=energy, stationary=hum
            )
            for label, part in parts.items()
        },
    )


def merged(several: Iterable[Energies]) -> Energies:
    """All of them together, in whatever order and however grouped."""
    total = background = unlabelled = 0
    sources: dict[str, Source] = {}
    for one in several:
        total += one.total
        background += one.background
        unlabelled += one.unlabelled
        for label, source in one.sources.items():
            before = sources.get(label, Source())
            sources[label] = Source(
                part=before.part + source.part,
                alone=before.alone + source.alone,
                heard=before.heard + source.heard,
                stationary=before.stationary + source.stationary,
            )
    ordered = {label: sources[label] for label in sorted(sources)}
    return Energies(total=total, background=background, unlabelled=unlabelled, sources=ordered)


def scaled(energies: Energies, factor: float) -> Energies:
    """All of them times so much, each rounded; the total stays the sum of its parts."""
    background = round(energies.background * factor)
    unlabelled = round(energies.unlabelled * factor)
    sources = {
        label: Source(
            part=round(source.part * factor),
            alone=round(source.alone * factor),
            heard=round(source.heard * factor),
            stationary=round(source.stationary * factor),
        )
        for label, source in energies.sources.items()
    }
    total = background + unlabelled + sum(source.part for source in sources.values())
    return Energies(total=total, background=background, unlabelled=unlabelled, sources=sources)


def shares(energies: Energies, laeq: float | None) -> Shares | None:
    """What is published; None where there is no energy.

    Args:
        energies: Of the interval.
        laeq: Of the same interval; its scale, dB or dBFS, is that of the levels told.
    """
    if energies.total == 0 or laeq is None:
        return None
    told = [
        _share(label, source, energies.total, laeq) for label, source in energies.sources.items()
    ]
    return Shares(
        background=energies.background / energies.total,
        unlabelled=energies.unlabelled / energies.total,
        sources=tuple(sorted(told, key=lambda one: (-one.share, one.label))),
    )


def _share(label: str, source: Source, total: int, laeq: float) -> Share:
    rest = total - source.part
    return Share(
        label=label,
        share=source.part / total,
        level=laeq + 10 * math.log10(source.part / total) if source.part else None,
        min_share=source.alone / total,
        max_share=source.heard / total,
        laeq_without=laeq + 10 * math.log10(rest / total) if rest else None,
        stationary=source.stationary > 0,
    )


def _split(excess: int, scores: Mapping[str, float]) -> dict[str, int]:
    """The excess by scores, to the last unit: each gets what lies between two rounded sums."""
    weights = {label: round(_SCORE_STEPS * scores[label]) for label in sorted(scores)}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    whole = sum(weights.values())
    parts = {}
    given = passed = 0
    for label, weight in weights.items():
        passed += weight
        parts[label] = excess * passed // whole - given
        given += parts[label]
    return parts
