"""What a rollout did, in lines for people."""

from collections.abc import Iterable, Iterator
from typing import Final

from edge_agent.fleet import rings
from edge_agent.fleet.differing import count
from edge_agent.fleet.rollout import FAILED, MISSED, Member, Outcome, Rollout

_MOST_NAMES: Final = 40


def lines(rollout: Rollout) -> Iterator[str]:
    """The whole report."""
    given = rollout.given()
    reason = f": {rollout.reason}" if rollout.reason else ""
    yield f"release {rollout.release}: {rollout.state}{reason}"
    for index, (name, _) in enumerate(rollout.plan.in_turn):
        members = [one for one in rollout.members.values() if one.ring == index]
        if members:
            yield f"  ring {name}: {_of_ring(members)}"
    untouched = len(rollout.members) - len(given)
    yield f"given to {len(given)} of {count(len(rollout.members))}; {untouched} saw nothing of it"
    worth_a_line = {
        name: one for name, one in given.items() if one.outcome in FAILED or one.outcome in MISSED
    }
    for name, one in list(worth_a_line.items())[:_MOST_NAMES]:
        yield f"  {name}: {one.outcome}: {one.why}"
    if len(worth_a_line) > _MOST_NAMES:
        yield f"  and {len(worth_a_line) - _MOST_NAMES} more"
    failed = [one for one in given.values() if one.outcome in FAILED]
    if failed:
        back = sum(one.back for one in failed)
        yield f"{_all_of(back, len(failed))} that did not keep it run what they ran before"
    if rollout.abort_release is not None:
        returned = sum(one.outcome == "returned" for one in given.values())
        yield (
            f"release {rollout.abort_release} gives them what they had before: "
            f"{_all_of(returned, len(given))} run it"
        )


def next_step(rollout: Rollout) -> str | None:
    """What a person may do now; None: nothing."""
    untouched = len(rollout.members) - len(rollout.given())
    match rollout.state:
        case "stopped":
            return (
                "next: `edge-agent fleet rollout abort` gives them what they had before; "
                "`edge-agent fleet rollout run --go-on` goes on in spite of it"
            )
        case "done" if untouched:
            return f"not heard, and left out: {count(untouched)}; run it again when they are back"
        case "running":
            return "next: `edge-agent fleet rollout run` goes on"
    return None


def changes(before: Rollout, after: Rollout) -> Iterator[str]:
    """What happened between two looks."""
    given: dict[int, list[str]] = {}
    for name, one in after.members.items():
        was = before.members[name]
        if one.published_ns is not None and was.published_ns is None:
            given.setdefault(one.ring, []).append(name)
        elif one.outcome != was.outcome and one.outcome not in ("waiting", "untouched"):
            yield f"{name}: {one.outcome}{f': {one.why}' if one.why else ''}"
    for index, names in given.items():
        yield (
            f"release {after.release} given to {count(len(names))} of ring "
            f"{after.plan.in_turn[index][0]}: {_named(names)}"
        )
    if after.soak_since_ns is not None and after.soak_since_ns != before.soak_since_ns:
        name, ring = after.plan.in_turn[after.ring]
        members = [one for one in after.members.values() if one.ring == after.ring]
        yield f"ring {name}: {_of_ring(members)}; it has to work for {ring.soak_h:g} h"
    if after.state != before.state:
        yield f"release {after.release}: {after.state}{f': {after.reason}' if after.reason else ''}"


def _of_ring(members: Iterable[Member]) -> str:
    outcomes: dict[Outcome, int] = {}
    for one in members:
        outcomes[one.outcome] = outcomes.get(one.outcome, 0) + 1
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    kept = outcomes.get("kept", 0)
    if kept and not any(outcome in FAILED for outcome in outcomes):
        told += f" (so at most {100 * rings.bound(kept):.0f} % of all would not keep it, 95 % sure)"
    return told


def _all_of(number: int, of: int) -> str:
    return f"all {of}" if number == of else f"{number} of {of}"


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} …" if len(names) > _MOST_NAMES else shown
