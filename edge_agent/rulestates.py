"""Which alert rules are on: what subscribers that only want to know that read as ON and OFF."""

from collections.abc import Iterable

from msgspec import Struct

from edge_agent.records import Alert


class RuleState(Struct, frozen=True, kw_only=True):
    """Of a rule; all but `on` are of the last change."""

    on: bool = False
    since_ns: int | None = None
    """UTC."""
    id: str | None = None
    microphone: str | None = None


class RuleStates:
    """A rule is on while any of its alerts is open.

    Args:
        rules: Their names; all are off at first.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self._open: dict[str, set[str]] = {}
        self._states = {rule: RuleState() for rule in rules}

    @property
    def rules(self) -> tuple[str, ...]:
        """All that have a state."""
        return tuple(self._states)

    def of(self, rule: str) -> RuleState:
        """The state of a rule."""
        return self._states[rule]

    def take(self, record: Alert, utc_ns: int) -> bool:
        """Take in an alert.

        Returns:
            Whether its rule's state is to be told.
        """
        still_open = self._open.setdefault(record.rule, set())
        before = self._states.get(record.rule, RuleState()).on
        if record.phase == "end":
            still_open.discard(record.id)
        else:
            still_open.add(record.id)
        on = bool(still_open)
        # An end always says OFF: after a restart the broker may still hold the ON of a crash.
        if on == before and not (record.phase == "end" and not on):
            return False
        self._states[record.rule] = RuleState(
            on=on, since_ns=utc_ns, id=record.id, microphone=record.microphone
        )
        return True
