"""The model card: what people should know of a bundle, told from the bundle's own files.

Nothing in it is written by hand, so a figure without its split and command cannot get in.
"""

from collections.abc import Iterable, Sequence

from edge_agent.config import FrontendSettings
from edge_agent.labels import Label
from edge_agent.modelfile import REQUIRED_CHECKS, Certificate, Metric, ModelFile


def card(record: ModelFile, certificate: Certificate) -> str:
    """The text of `MODEL_CARD.md`."""
    sections = (
        _head(record),
        _hears(record),
        _thresholds(record),
        _figures(record.metrics),
        _checks(certificate),
        _data(record),
        _training(record),
    )
    return "\n".join(line for section in sections for line in [*section, ""])


def _head(record: ModelFile) -> list[str]:
    settings = record.frontend
    span_s = (settings.n_fft + (settings.patch - 1) * settings.hop) / settings.rate
    every_s = settings.patch_hop * settings.hop / settings.rate
    return [
        f"# {record.name} {record.version}",
        "",
        (
            f"An int8 network of {record.model_bytes} bytes that scores {len(record.labels)} "
            f"sounds in {span_s:.3f} s of sound, every {every_s:.3g} s. "
            f"It sees {_features(settings)}."
        ),
        "",
        f"- weights: {record.weights_licence}",
        f"- model: sha256 `{record.model_sha256}`",
        f"- front end: sha256 `{record.frontend_sha256}`",
    ]


def _features(settings: FrontendSettings) -> str:
    what = {
        "logmel": f"{settings.patch} frames of {settings.n_mels} log-mel bands",
        "mfcc": f"{settings.patch} frames of {settings.n_mfcc} MFCCs",
        "mfcc_stats": f"means, deviations and dynamics of {settings.n_mfcc} MFCCs",
        "mfcc_mean": f"means of {settings.n_mfcc} MFCCs",
    }[settings.kind]
    return f"{what}, {settings.fmin:g} to {settings.fmax:g} Hz, {settings.rate} Hz sample rate"


def _hears(record: ModelFile) -> list[str]:
    if record.multilabel:
        relation = "Scores do not add up to 1: several sounds may be there at once, or none."
    else:
        relation = "Scores add up to 1: it always names a sound, even where none of them is there."
    return [
        "## What it hears, and what it does not",
        "",
        *_table(("label", "sound", "kind"), [_label_row(label) for label in record.labels]),
        "",
        (
            f"{relation} A sound that is not listed has no score of its own; it may still raise "
            "that of one it resembles. The network does not understand speech, does not tell "
            "people apart, and says nothing of distance or direction. Recordings reached it as "
            "lossy 16 kHz copies: other microphones, wind, rain on the housing and sounds from far "
            "away are not covered by the figures below."
        ),
    ]


def _label_row(label: Label) -> tuple[str, str, str]:
    kinds = [name for name in ("impulsive", "stationary") if getattr(label, name)]
    return f"`{label.id}`", label.title, ", ".join(kinds) or "lasting"


def _thresholds(record: ModelFile) -> list[str]:
    lines = ["## Thresholds", ""]
    certified = record.thresholds
    if certified is None:
        lines.append(
            "**Not certified.** These are starting values; no rate of false alarms is claimed."
        )
    else:
        word = "proven" if certified.proven else "**not proven**"
        lines.append(
            f"For at most {certified.budget_per_day:g} false alarms a day, all labels together: "
            f"{word}. On {certified.hours:g} hours of test sound without events the one-sided 95 % "
            f"bound is {certified.bound_per_day:g} a day (streams sha256 "
            f"`{certified.streams_sha256}`). Chosen on validation recordings by "
            "`model-build certify`; docs/certify.md says what the figures mean."
        )
    header = ("label", "on", "off", "patches", "least duration", "cooldown")
    return [*lines, "", *_table(header, [_threshold_row(label) for label in record.labels])]


def _threshold_row(label: Label) -> tuple[str, ...]:
    return (
        f"`{label.id}`",
        f"{label.on:g}",
        f"{label.off:g}",
        f"{label.n} of {label.m}",
        f"{label.min_duration_s:g} s",
        f"{label.cooldown_s:g} s",
    )


def _figures(metrics: Sequence[Metric]) -> list[str]:
    lines = ["## Figures", ""]
    if not metrics:
        return [*lines, "None were measured."]
    lines += [
        (
            "Where a split is random, clips cut from one recording stand on both its sides, and "
            "the figure flatters. Only figures whose split keeps recordings apart tell what to "
            "expect."
        ),
        "",
    ]
    for task in dict.fromkeys(metric.task for metric in metrics):
        of_task = [metric for metric in metrics if metric.task == task]
        lines += [f"### {task[0].upper()}{task[1:]}", "", *_side_by_side(of_task), ""]
        lines += [*_commands(of_task), ""]
    return lines[:-1]


def _side_by_side(metrics: Sequence[Metric]) -> list[str]:
    splits = {metric.split for metric in metrics}
    header = ["figure", "split", "value", "spread", "n", "seeds"]
    rows = [_metric_row(metric) for metric in metrics]
    if len(splits) > 1:
        return _table(header, rows)
    # Said once, not in each of many rows.
    at = header.index("split")
    alone = [[*row[:at], *row[at + 1 :]] for row in (header, *rows)]
    return [f"Split: {splits.pop()}.", "", *_table(alone[0], alone[1:])]


def _metric_row(metric: Metric) -> list[str]:
    spread = "one run" if metric.spread is None else f"{metric.spread:.4g}"
    seeds = ", ".join(map(str, metric.seeds))
    value = f"**{metric.value:.4g}**"
    return [metric.metric, metric.split, value, spread, str(metric.n), seeds]


def _commands(metrics: Sequence[Metric]) -> list[str]:
    return [f"- `{command}`" for command in dict.fromkeys(metric.command for metric in metrics)]


def _checks(certificate: Certificate) -> list[str]:
    rows = []
    for check in certificate.checks:
        holds = REQUIRED_CHECKS[check.name].holds.replace("_", " ")
        limit = f"{holds} {check.limit:g}"
        rows.append((f"`{check.name}`", f"{check.value:g}", limit, str(check.n)))
    made_by = ", ".join(f"{name} {at}" for name, at in sorted(certificate.made_by.items()))
    return [
        "## Checks",
        "",
        (
            f"On {len(certificate.clips)} recordings that training has not seen, with {made_by}. "
            "Evidence, not a signature."
        ),
        "",
        *_table(("check", "found", "allowed", "n"), rows),
    ]


def _data(record: ModelFile) -> list[str]:
    rows = [(row.set, row.use, str(row.clips), row.licence, row.url) for row in record.data]
    return [
        "## Recordings and their terms",
        "",
        *_table(("set", "use", "clips", "licence", "source"), rows),
        "",
        (
            f"The weights inherit the strictest of these terms: {record.weights_licence}. "
            "Where that excludes commercial use, train on recordings that allow it; the code is "
            "under its own licence."
        ),
    ]


def _training(record: ModelFile) -> list[str]:
    training = record.training
    versions = ", ".join(f"{name} {at}" for name, at in sorted(training.versions.items()))
    return [
        "## How it was made",
        "",
        f"- command: `{training.command}`, commit {training.commit}",
        (
            f"- seed {training.seed}, {training.epochs} epochs, {training.threads} threads, "
            f"{training.cpu}"
        ),
        f"- {versions}",
        *[f"- manifest {name}: `{sha}`" for name, sha in sorted(training.manifests.items())],
        *[f"- recordings, {name}: `{sha}`" for name, sha in sorted(training.audio_lists.items())],
        f"- teacher: {_teacher(training.teacher_sha256)}",
    ]


def _teacher(sha256: str | None) -> str:
    return "none" if sha256 is None else f"`{sha256}`"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *[f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows],
    ]
