"""What `replay --explain` prints: reasons, a line a stretch for people or each for programs.

Only what came near its threshold is told, and whatever an event or an alert came to. What never
came near has one line at the end, with its best score. Nothing is kept but the stretch that goes
on, so that an hour takes no more memory than a minute.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edge_agent.commands.stretches import Stretch, stretch_line
from edge_agent.reasons import AlertReason, LabelReason, Reason
from edge_agent.written import rfc3339

NEAR_SCORE = 0.1
"""A score is near from `off` on, or this far below `on` where that is lower."""
NEAR_DB = 3.0
"""A level is near from this far below its limit on."""
_APART_NS = 2_000_000_000
"""A stretch survives this long without a patch that is near."""
_ROUND = 4


class TextExplanation:
    """Lines for a person.

    Args:
        tell: Takes a line.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._far = _Far()
        self._stretches: dict[str, Stretch] = {}

    def __call__(self, reason: Reason) -> None:
        """Take a reason; it may end a stretch."""
        near = self._far.is_near(reason)
        name = _name(reason)
        stretch = self._stretches.get(name)
        if stretch is not None and reason.at_ns - stretch.last.at_ns > _APART_NS:
            self._close(name)
            stretch = None
        if not near:
            return
        if reason.step in ("started", "ended"):
            # What led to it is another line: here the held-back patches end, or the open ones.
            if stretch is not None and reason.step == "started":
                self._close(name)
                stretch = None
            self._tell(stretch_line(name, stretch, reason))
            self._stretches.pop(name, None)
            return
        if stretch is None:
            stretch = self._stretches[name] = Stretch(reason)
        stretch.add(reason)

    def finish(self, rules: Sequence[str]) -> None:
        """The recording is over; of these alert rules, those that were never near are named."""
        for name in list(self._stretches):
            self._close(name)
        far = ", ".join(f"{name} {score:.2f}" for name, score in self._far.scores())
        if far:
            self._tell(f"never near, best score: {far}")
        for rule in self._far.rules(rules):
            self._tell(f"never near: alert {rule}")

    def _close(self, name: str) -> None:
        self._tell(stretch_line(name, self._stretches.pop(name)))


class JsonExplanation:
    """An object a reason that is near, then one of what never was.

    Args:
        file: The recording.
        tell: Takes a line.
    """

    def __init__(self, file: Path, tell: Callable[[str], object]) -> None:
        self._file = str(file)
        self._tell = tell
        self._far = _Far()

    def __call__(self, reason: Reason) -> None:
        """Print a reason that is near."""
        if self._far.is_near(reason):
            self._print(_fields(reason))

    def finish(self, rules: Sequence[str]) -> None:
        """Print what never came near, of the labels and of these alert rules."""
        scores = {name: round(score, _ROUND) for name, score in self._far.scores()}
        self._print({"never_near": scores, "alerts_never_near": self._far.rules(rules)})

    def _print(self, fields: dict[str, object]) -> None:
        self._tell(json.dumps({"file": self._file, **fields}, separators=(",", ":")))


class _Far:
    """Tells what is near, and remembers what never was."""

    def __init__(self) -> None:
        self._best: dict[str, float] = {}
        self._near: set[str] = set()

    def is_near(self, reason: Reason) -> bool:
        if isinstance(reason, LabelReason):
            near = _near_label(reason)
            best = self._best.get(reason.label, 0.0)
            self._best[reason.label] = max(best, reason.score or 0.0)
        else:
            near = _near_alert(reason)
        if near:
            self._near.add(_name(reason))
        return near

    def scores(self) -> list[tuple[str, float]]:
        """Labels that never came near, the best first."""
        far = [item for item in self._best.items() if item[0] not in self._near]
        return sorted(far, key=lambda item: (-item[1], item[0]))

    def rules(self, rules: Sequence[str]) -> list[str]:
        return [rule for rule in rules if f"alert {rule}" not in self._near]


def _near_label(reason: LabelReason) -> bool:
    if reason.step != "below_on" or reason.score is None:
        return True
    return reason.score >= min(reason.off, reason.on - NEAR_SCORE)


def _near_alert(reason: AlertReason) -> bool:
    if reason.step == "no_level":
        return False
    if reason.step != "below_limit" or reason.value is None:
        return True
    return reason.value >= reason.limit - NEAR_DB


def _name(reason: Reason) -> str:
    return reason.label if isinstance(reason, LabelReason) else f"alert {reason.rule}"


def _fields(reason: Reason) -> dict[str, object]:
    """As printed: times as in every message; what says nothing is left out."""
    fields = {
        key: round(value, _ROUND) if isinstance(value, float) else value
        for key, value in msgspec.structs.asdict(reason).items()
        if value is not None and value != ()
    }
    ordered = {"time": rfc3339(reason.at_ns), **fields}
    del ordered["at_ns"]
    if "cool_until_ns" in ordered:
        del ordered["cool_until_ns"]
        assert isinstance(reason, LabelReason)
        ordered["cool_until"] = rfc3339(reason.cool_until_ns or 0)
    return ordered
