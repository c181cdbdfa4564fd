"""What happens before each start of the service: nothing bad is started twice.

It runs as root in `ExecStartPre`, takes the seed the first time, counts the starts of a trial, and
lets the link say what the state says.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.clock import Clock
from edge_agent.updating.releases import SEED, Releases
from edge_agent.updating.seed import adopt
from edge_agent.updating.state import State, boot_id, moment, rfc3339


def guard(
    releases: Releases,
    seeds: tuple[Path, ...],
    clock: Clock,
    boot: Callable[[], str] = boot_id,
) -> State:
    """Make ready for a start of the service.

    Args:
        releases: Their folder.
        seeds: Where the first configuration may stand; the first that is there is taken.
        clock: Stamps what is done.
        boot: Names the time since the kernel was started.

    Raises:
        UpdateError: The disk refuses, or there is no configuration at all.
    """
    with releases.deciding():
        state = releases.read_state()
        if state is None:
            state = _first(releases, seeds, clock)
        elif state.state == "trial" and state.starts > 0:
            state = releases.write_state(
                state.entering(
                    "reverting",
                    clock,
                    reason=f"release {state.number}: the agent had to be started a second time "
                    "while it was on trial",
                    unmet=("ready",),
                    starts=1,
                    started=moment(clock, boot),
                )
            )
        elif state.state in ("trial", "reverting"):
            now = moment(clock, boot)
            first = state.started
            if first is None or first.boot != now.boot:
                first = now
            state = releases.write_state(
                msgspec.structs.replace(state, starts=state.starts + 1, started=first)
            )
        wanted = state.number if state.state == "trial" else state.good
        if not releases.usable(wanted) and releases.usable(SEED):
            # A disk that lost the last good one: the seed is better than no agent.
            wanted = SEED
        releases.put_in_force(wanted)
    return state


def _first(releases: Releases, seeds: tuple[Path, ...], clock: Clock) -> State:
    """Take the seed; or, where the state alone was lost, what is in force."""
    there = releases.in_force()
    if there is None or not releases.usable(there):
        adopt(releases, seeds)
        there = SEED
    found = releases.release(there)
    seeded = 0 if found is None else found.release
    return releases.write_state(
        State(
            state="current",
            number=there,
            good=there,
            highest=max(there, seeded),
            since=rfc3339(clock.utc_ns()),
        )
    )
