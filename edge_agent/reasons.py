"""Why something was told, or was not: what `events` and `alerts` say of each decision they make.

A reason is made by the code that decides, at the place where it decides, and only while somebody
listens. `replay --explain` prints them.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from edge_agent.records import EndReason

LabelStep: TypeAlias = Literal[
    "below_on", "n_of_m", "cooldown", "min_duration", "started", "goes_on", "ended", "dropped"
]
"""What a patch came to: the rule that held it back, or what became of the label's event.

`dropped` is an event that ended before it had lasted long enough to be told, or patches that
counted towards one when a gap came.
"""

AlertStep: TypeAlias = Literal[
    "min_score",
    "min_duration",
    "no_level",
    "below_limit",
    "for_s",
    "started",
    "goes_on",
    "ended",
    "dropped",
]
"""What a rule still lacked, or what became of its alert.

`dropped` are the loud seconds that counted towards an alert when a gap came.
"""


class LabelReason(msgspec.Struct, frozen=True, kw_only=True):
    """What one patch, a gap or the end of the stream came to for one label."""

    label: str
    at_ns: int
    """The middle of the patch; of a gap its end."""
    step: LabelStep
    score: float | None
    """None where no patch decided."""
    on: float
    off: float
    n: int
    m: int
    counted: int | None
    """Of the last `m` patches, those at or above `on` outside the cooldown; None: not asked."""
    min_duration_s: float
    duration_s: float
    """Of the event so far, told or not; 0 where there is none."""
    cool_until_ns: int | None
    end_reason: EndReason | None


class AlertReason(msgspec.Struct, frozen=True, kw_only=True):
    """What one patch or one second came to for one rule of the configuration."""

    rule: str
    at_ns: int
    """The end of the patch or the second."""
    step: AlertStep
    value: float | None
    """Best score, or the level; None where there is none."""
    limit: float
    indicator: str | None
    """None for a rule of labels."""
    labels: tuple[str, ...]
    """Of the events that fed it."""
    duration_s: float
    needed_s: float
    end_reason: EndReason | None


Reason: TypeAlias = LabelReason | AlertReason
Observe: TypeAlias = Callable[[Reason], None]
"""Who listens; called while the decision is being made, so it must be quick and touch nothing."""
