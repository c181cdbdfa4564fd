"""What `certify` found, for people and for programs."""

import msgspec

from model_build.certify import Certification
from model_build.false_alarms import CONFIDENCE, hours_needed
from model_build.judgement import LabelJudgement

_MOST_MISTAKES = 12


def as_json(found: Certification) -> str:
    """One object on one line."""
    return msgspec.json.encode(found).decode()


def as_text(found: Certification) -> str:
    """Figures with what they rest on, a table of labels, and what was skipped."""
    parts = (_head(found), _table(found), _mistakes(found), _apart(found), _lists(found))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(found: Certification) -> list[str]:
    test, alarms = found.test, found.test.alarms
    snrs = ", ".join(
        f"{snr_db} dB {_percent(share)} %" for snr_db, share in test.recall_by_snr_db.items()
    )
    word = "proven" if alarms.proven else "NOT PROVEN"
    rate = (
        f"{alarms.count} in {alarms.hours:.2f} h without events: {alarms.per_hour:.2f} an hour "
        f"({alarms.low_per_hour:.2f} to {alarms.high_per_hour:.2f}, two-sided {CONFIDENCE:.0%})"
    )
    budget = (
        f"{found.budget_per_day:g} a day, {word}: at most {alarms.bound_per_day:.1f} a day "
        f"(one-sided {CONFIDENCE:.0%}); without one alarm it takes "
        f"{hours_needed(found.budget_per_day):.1f} h"
    )
    on_validation = sum(trial.alarms for trial in found.chosen.values())
    chosen = (
        f"{found.validation_hours:.2f} h of event-free validation sound: {on_validation} alarms "
        f"there, {found.allowed} allowed"
    )
    delay = f"p50 {_seconds(test.delay.p50_s)}, p95 {_seconds(test.delay.p95_s)}"
    return [
        f"model         {found.model}, sha256 {found.model_sha256}",
        f"streams       sha256 {found.thresholds.streams_sha256}, seed {found.seed}",
        f"scenes        {60 * test.scene_hours:.0f} min of test recordings",
        f"macro F1      {100 * test.macro_f1:.1f} %, event-based",
        f"recall        {snrs}",
        f"PSDS          {test.psds:.3f}, scores alone",
        f"delay         {delay} ({test.delay.n} events told)",
        f"false alarms  {rate}",
        f"budget        {budget}",
        f"chosen on     {chosen}",
    ]


def _table(found: Certification) -> list[str]:
    width = max(len(label) for label in found.chosen)
    header = (
        f"{'label':{width}}    on   off  n/m  recall  precision    F1   p50 s   p95 s  "
        "false  bound/day"
    )
    return [header, *(_row(found, label, width) for label in found.chosen)]


def _row(found: Certification, label: str, width: int) -> str:
    trial, row = found.chosen[label], found.test.labels[label]
    return (
        f"{label:{width}}  {trial.on:.2f}  {trial.off:.2f}  {trial.n}/{trial.m}  "
        f"{_percent(row.recall):>6}  {_percent(row.precision):>9}  {_percent(row.f1):>4}  "
        f"{_delays(row)}  {row.alarms.count:5}  {row.alarms.bound_per_day:9.1f}"
    )


def _delays(row: LabelJudgement) -> str:
    values = (row.delay.p50_s, row.delay.p95_s)
    return "  ".join(f"{'-' if value is None else f'{value:.2f}':>6}" for value in values)


def _mistakes(found: Certification) -> list[str]:
    return [
        f"{mistake.told} told, {mistake.heard or 'background alone'} heard: {mistake.n} times"
        for mistake in found.test.mistakes[:_MOST_MISTAKES]
    ]


def _apart(found: Certification) -> list[str]:
    return [
        f"counted apart: {one.recordings} recordings of {one.sound}, in which was told "
        + (", ".join(f"{label} {count} times" for label, count in one.told.items()) or "nothing")
        for one in found.apart
    ]


def _lists(found: Certification) -> list[str]:
    return [
        *(f"not counted {skip.path}: {skip.reason}" for skip in found.excluded),
        *(f"skipped {skip.path}: {skip.reason}" for skip in found.skipped),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
