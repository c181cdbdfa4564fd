"""An alert while it is open, and the records that tell of it: what both kinds of rule share."""

from typing import Protocol

import msgspec

from edge_agent.config import AlertConfig
from edge_agent.records import Alert, EndReason, Phase

UPDATE_NS = 10_000_000_000


class OpenAlert(msgspec.Struct, kw_only=True):
    """An alert that has not ended."""

    id: str
    microphone: str
    start_ns: int
    last_ns: int
    synced: bool
    told_ns: int
    value: float
    n: int = 0
    labels: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


class Rule(Protocol):
    """A rule of the configuration, and its alert."""

    name: str
    settings: AlertConfig
    open: OpenAlert | None

    @property
    def limit(self) -> float:
        """What is asked."""
        ...

    @property
    def indicator(self) -> str | None:
        """As published; None for a rule of labels."""
        ...


def updated(rule: Rule, now: OpenAlert, made_ns: int) -> Alert:
    """The alert goes on."""
    now.n += 1
    now.told_ns = made_ns
    return alert_of(rule, now, made_ns, "update")


def ended_alert(rule: Rule, made_ns: int, reason: EndReason) -> Alert:
    """The alert is over; the rule may begin a new one."""
    now = rule.open
    assert now is not None, "only what is open can end"
    rule.open = None
    now.n += 1
    return alert_of(rule, now, made_ns, "end", reason)


def alert_of(
    rule: Rule, now: OpenAlert, made_ns: int, phase: Phase, reason: EndReason | None = None
) -> Alert:
    """The record of an alert as it stands."""
    return Alert(
        id=now.id,
        n=now.n,
        phase=phase,
        rule=rule.name,
        severity=rule.settings.severity,
        microphone=now.microphone,
        start_ns=now.start_ns,
        end_ns=now.last_ns if phase == "end" else None,
        made_ns=made_ns,
        synced=now.synced,
        duration_s=(now.last_ns - now.start_ns) / 1e9,
        labels=now.labels,
        indicator=rule.indicator,
        value=now.value,
        limit=rule.limit,
        events=now.events,
        levels={},
        end_reason=reason,
    )
