"""Who is in which ring, and what a ring without a failure proves."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from edge_agent.errors import ConfigError
from edge_agent.fleet.inventory import Device, selected
from edge_agent.fleet.rolloutplan import Plan

CONFIDENCE: Final = 0.95


def assigned(devices: Sequence[Device], plan: Plan, release: int) -> dict[str, int]:
    """The ring of each device, by its place in the plan.

    Rings by percent are chosen by a hash of name and release: not always the same ones are first.

    Args:
        devices: Those that the release is for.
        plan: The rings.
        release: Its number.

    Raises:
        ConfigError: A ring's selection fits none of them.
    """
    found: dict[str, int] = {}
    in_turn = sorted(devices, key=lambda one: turn(one.name, release))
    for index, (name, ring) in enumerate(plan.in_turn):
        if ring.select is not None:
            try:
                chosen = [one.name for one in selected(devices, ring.select.split())]
            except ConfigError as error:
                raise ConfigError(
                    f"ring {name}: {error.message}, of those that release {release} is for",
                    hint="Change rollouts/plan.yaml, or the column `ring` of fleet.csv.",
                ) from error
        else:
            assert ring.percent is not None, "one of the two"
            # Rounded up: a tenth of nine is one.
            until = -int(-len(devices) * ring.percent // 100)
            chosen = [one.name for one in in_turn if one.name not in found]
            chosen = chosen[: max(0, until - len(found))]
        for device in chosen:
            found.setdefault(device, index)
    return found


def turn(device: str, release: int) -> str:
    """What the order within a ring goes by."""
    return hashlib.sha256(f"{device}:{release}".encode()).hexdigest()


def lacking(first: Iterable[Device], devices: Iterable[Device]) -> list[str]:
    """The boards and microphones that the first ring would prove nothing about."""
    ring, everybody = list(first), list(devices)
    boards = {one.board for one in everybody} - {one.board for one in ring}
    mics = {one.mic for one in everybody} - {one.mic for one in ring}
    return [f"board {name}" for name in sorted(boards)] + [f"mic {name}" for name in sorted(mics)]


def bound(kept: int) -> float:
    """The highest rate of failure, 0 to 1, that fits so many devices without one, at 95 %."""
    return 1.0 if kept == 0 else float(1 - (1 - CONFIDENCE) ** (1 / kept))
