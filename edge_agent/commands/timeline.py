"""A message as a line for a person: what `replay` prints and `demo` shows."""

from typing import assert_never

import msgspec

from edge_agent.payloads import AlertPayload, EventPayload, LevelPayload
from edge_agent.records import Message
from edge_agent.topics import payload_type

_BAR_CELLS = 24
_BAR_FROM_DBFS = -72.0
_BAR_FROM_DB = 30.0
_BAR_SPAN_DB = 72.0


def timeline_line(message: Message) -> str | None:
    """One line without its end; None for what only a broker needs (states, status, info)."""
    payload = msgspec.json.decode(message.payload, type=payload_type(message.topic))
    if isinstance(payload, LevelPayload):
        return level_line(payload)
    if isinstance(payload, EventPayload):
        return event_line(payload)
    if isinstance(payload, AlertPayload):
        return alert_line(payload)
    return None


def level_line(payload: LevelPayload) -> str:
    """An interval's levels, with a bar for the eye."""
    levels = _levels(payload)
    bar = ""
    if isinstance(payload.laeq_dbfs, float):
        bar = _bar(payload.laeq_dbfs - _BAR_FROM_DBFS)
    elif isinstance(payload.laeq, float):
        bar = _bar(payload.laeq - _BAR_FROM_DB)
    notes = [name for name in ("overload", "under_range") if getattr(payload, name)]
    if not payload.complete:
        notes.append(f"only {payload.heard_s:.3g} s heard")
    if not isinstance(payload.reasons, msgspec.UnsetType):
        notes += sorted(set(payload.reasons.values()))
    note = f"  ({', '.join(notes)})" if notes else ""
    kind = "level" if payload.period_s == 1 else f"{payload.period_s // 60:3d} min"
    return f"{_clock(payload.start)}  {kind:6} {levels}  {bar}{note}".rstrip()


def event_line(payload: EventPayload) -> str:
    """An event's start, course or end."""
    head = f"{_clock(payload.end or payload.start)}  event  {payload.label}"
    match payload.phase:
        case "start":
            return f"{head} starts, score {payload.score:.2f}"
        case "update":
            return f"{_clock(payload.time)}  event  {payload.label} goes on, {_so_far(payload)}"
        case "end":
            return f"{head} ends ({payload.end_reason}), {_so_far(payload)}, {_levels(payload)}"
    assert_never(payload.phase)


def alert_line(payload: AlertPayload) -> str:
    """An alert's start, course or end."""
    what = ", ".join(payload.labels) or str(payload.indicator)
    head = f"{_clock(payload.end or payload.start)}  ALERT  {payload.rule}"
    match payload.phase:
        case "start":
            limit = f", limit {payload.limit}" if payload.limit else ""
            return f"{head} starts ({payload.severity}): {what} {payload.value}{limit}"
        case "update":
            went = f"{payload.duration_s:.1f} s so far"
            return f"{_clock(payload.time)}  ALERT  {payload.rule} goes on: {what}, {went}"
        case "end":
            return f"{head} ends ({payload.end_reason}) after {payload.duration_s:.1f} s: {what}"
    assert_never(payload.phase)


def resting_line(rule: str) -> str:
    """Why a rule of the configuration says nothing; for stderr."""
    return f"alerts.{rule}: rests, for `above_db` needs a calibrated microphone; use `above_dbfs`"


def _so_far(payload: EventPayload) -> str:
    return f"{payload.duration_s:.1f} s, best score {payload.score_max:.2f}"


def _levels(payload: LevelPayload | EventPayload) -> str:
    named = (
        ("LAeq", payload.laeq, "dB"),
        ("LAeq", payload.laeq_dbfs, "dBFS"),
        ("LAFmax", payload.lafmax, "dB"),
        ("LAFmax", payload.lafmax_dbfs, "dBFS"),
    )
    return "  ".join(
        f"{name} {'-' if level is None else f'{level:.1f}':>5} {unit}"
        for name, level, unit in named
        if not isinstance(level, msgspec.UnsetType)
    )


def _bar(above_db: float) -> str:
    cells = round(_BAR_CELLS * min(1.0, max(0.0, above_db / _BAR_SPAN_DB)))
    return "▇" * cells


def _clock(time: str) -> str:
    """The time of day of an RFC 3339 time."""
    return time[11:-1]
