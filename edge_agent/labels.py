"""A model's labels, the event rules that a configuration makes of them, and what does not fit."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from edge_agent.config import Config, EventsConfig, LabelConfig, LabelId, Score, Wait
from edge_agent.errors import ConfigError


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sound that the network scores, and when its scores make an event."""

    id: LabelId
    title: Annotated[str, Meta(min_length=1, max_length=100)]
    """For people."""
    impulsive: bool
    """One strong patch is enough: a shot, breaking glass."""
    stationary: bool
    """It may last for hours: an air conditioner, an idling engine."""
    on: Score
    off: Score
    n: Annotated[int, Meta(ge=1, le=100)]
    """Patches above `on`, of the last `m`, that start an event."""
    m: Annotated[int, Meta(ge=1, le=100)]
    min_duration_s: Wait
    cooldown_s: Wait

    def __post_init__(self) -> None:
        """Refuse what only shows when two fields are seen together."""
        if self.off > self.on:
            raise ValueError(f"label {self.id}: off {self.off} is above on {self.on}")
        if self.n > self.m:
            raise ValueError(f"label {self.id}: n {self.n} is above m {self.m}")


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an event of one label."""

    label: str
    on: float
    off: float
    n: int
    m: int
    min_duration_s: float
    cooldown_s: float


def event_rules(labels: Sequence[Label], settings: EventsConfig) -> tuple[EventRule, ...]:
    """The model's rules with the configuration's overrides, in the order of the scores."""
    return tuple(_event_rule(label, settings.labels.get(label.id)) for label in labels)


def problems(config: Config, labels: Sequence[Label], model: str) -> Iterator[ConfigError]:
    """All that a configuration asks of a model's labels and cannot have.

    Args:
        config: With alerts and overrides.
        labels: The model's.
        model: Its name.
    """
    known = {label.id: label for label in labels}
    for place, named in _named(config):
        for name in named:
            if name not in known:
                yield ConfigError(
                    f"{place}: the model {model} has no label {name!r}",
                    hint=f"Its labels are {', '.join(sorted(known))}.",
                    key=place,
                )
    for name, override in config.events.labels.items():
        if name in known:
            yield from _out_of_order(_event_rule(known[name], override))


def _named(config: Config) -> Iterator[tuple[str, Sequence[str]]]:
    yield "events.labels", tuple(config.events.labels)
    for name, rule in config.alerts.items():
        yield f"alerts.{name}.labels", rule.labels or ()


def _event_rule(label: Label, override: LabelConfig | None) -> EventRule:
    given = override or LabelConfig()
    return EventRule(
        label=label.id,
        on=label.on if given.on is None else given.on,
        off=label.off if given.off is None else given.off,
        n=given.n or label.n,
        m=given.m or label.m,
        min_duration_s=(
            label.min_duration_s if given.min_duration_s is None else given.min_duration_s
        ),
        cooldown_s=label.cooldown_s if given.cooldown_s is None else given.cooldown_s,
    )


def _out_of_order(rule: EventRule) -> Iterator[ConfigError]:
    key = f"events.labels.{rule.label}"
    if rule.off > rule.on:
        yield ConfigError(
            f"{key}: off {rule.off} is above on {rule.on}",
            hint="Set `off` to at most `on`; what you leave out is taken from the model.",
            key=key,
        )
    if rule.n > rule.m:
        yield ConfigError(
            f"{key}: n {rule.n} is above m {rule.m}",
            hint="Set `n` to at most `m`; what you leave out is taken from the model.",
            key=key,
        )
