"""From a staged release to one that is in force, or back to the one before it.

Each step is announced in `state.json`, on the disk, before it is done, and each can be done again.
So whatever broke off is finished by the next run, or taken back by the guard, which runs before
each start of the service: a release that was started and did not show that it works is not started
a second time.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.errors import UpdateError
from edge_agent.heartbeat import Beat
from edge_agent.updating import criteria
from edge_agent.updating.releases import SEED, Releases
from edge_agent.updating.state import Moment, State, boot_id, moment

POLL_S: Final = 2.0
RETRIES_H: Final = (1, 4, 12)
"""After how long an undecided release is tried again; then it waits for a person."""


class Service(Protocol):
    """The agent's service on this device."""

    def restart(self) -> None:
        """Have it started anew, without waiting for it.

        Raises:
            UpdateError: It cannot be asked for.
        """
        ...

    def beat(self) -> Beat | None:
        """The agent's last heartbeat."""
        ...

    def problems(self, releases: Releases, number: int) -> str | None:
        """What the installed agent says against a release's configuration."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long is watched, in seconds."""

    trial_s: float = criteria.TRIAL_S
    settle_s: float = criteria.SETTLE_S
    poll_s: float = POLL_S


class Trial:
    """Tries releases on this device.

    Args:
        releases: Their folder; this is the only writer, with the guard.
        service: The agent's.
        clock: Of everything.
        tell: Gets each step in a sentence.
        limits: How long is watched.
        boot: Names the time since the kernel was started.
    """

    def __init__(
        self,
        releases: Releases,
        service: Service,
        clock: Clock,
        tell: Callable[[str], None],
        limits: Limits | None = None,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._releases = releases
        self._service = service
        self._clock = clock
        self._tell = tell
        self._limits = limits or Limits()
        self._boot = boot

    def resume(self) -> State:
        """Finish what an earlier run left, if anything.

        Raises:
            UpdateError: Nothing was ever in force here, or the disk refuses.
        """
        state = self._known()
        match state.state:
            case "staged":
                return self._take_turn(state)
            case "trial":
                self._tell(f"release {state.number}: its trial goes on")
                return self._watch()
            case "reverting":
                return self._return(state)
            case "undecided" if self._is_due(state):
                if self._releases.whole(state.number):
                    return self._switch(state)
        self._tidy(state)
        return state

    def take(self, number: int, delay_s: float) -> State:
        """Try a release that was staged.

        Args:
            number: Higher than any before.
            delay_s: How long this device waits for its turn.

        Raises:
            UpdateError: The disk refuses.
        """
        state = self._known()
        turn_ns = self._clock.utc_ns() + round(delay_s * 1e9)
        state = self._enter(
            state,
            "staged",
            number=number,
            highest=number,
            not_before_ns=turn_ns,
            tries=0,
            reason="",
        )
        return self._take_turn(state)

    def _take_turn(self, state: State) -> State:
        left_s = (state.not_before_ns - self._clock.utc_ns()) / 1e9
        if left_s > 0:
            self._tell(f"release {state.number}: its turn comes in {left_s:.0f} s")
            self._clock.wait(left_s)
        if not self._releases.whole(state.number):
            # Lost between two runs: to be fetched again.
            return self._enter(
                state, "current", number=state.good, highest=state.number - 1,
                reason=f"release {state.number} was damaged on the disk",
            )  # fmt: skip
        said = self._service.problems(self._releases, state.number)
        if said is not None:
            state = self._enter(
                state, "refused", agent=__version__, reason=f"release {state.number}: {said}"
            )
            self._tidy(state)
            return state
        return self._switch(state)

    def _switch(self, state: State) -> State:
        beat, now = self._service.beat(), self._now()
        if beat is not None:
            # One that was started just now has not noticed its standing faults yet, and the release
            # would be blamed for them.
            young_s = self._limits.settle_s - (now.monotonic_ns - beat.started_ns) / 1e9
            if young_s > 0:
                self._clock.wait(young_s)
        earlier = criteria.before(self._service.beat(), self._now())
        self._enter(state, "trial", before=earlier, reason="", unmet=(), new_faults=())
        self._tell(f"release {state.number}: on trial")
        self._releases.put_in_force(state.number)
        self._restart()
        return self._watch()

    def _watch(self) -> State:
        begun_ns = self._clock.monotonic_ns()
        state = self._known()
        if state.state == "trial" and state.starts == 0:
            # Broken off before the restart, or in it: asking again does no harm.
            self._releases.put_in_force(state.number)
            self._restart()
        while True:
            state = self._known()
            if state.state != "trial":
                # The guard was first, or a person.
                return self._return(state) if state.state == "reverting" else state
            now, beat = self._now(), self._service.beat()
            sha256 = self._releases.config_sha256(state.number)
            found = criteria.unmet(beat, state.started, now, sha256)
            must = not self._releases.same_connection(state.good, state.number)
            against = criteria.condemning(found, state.before, acknowledged=must)
            faults = criteria.new_faults(beat, state.before)
            watched_s = _since_s(state.started, now, begun_ns)
            if not against and not faults and watched_s >= self._limits.settle_s:
                return self._commit(state)
            if watched_s >= self._limits.trial_s:
                said = criteria.in_words(against, faults, self._releases.broker(state.number))
                reason = f"release {state.number}: within {self._limits.trial_s:.0f} s {said}"
                state = self._give_up(state, reason=reason, unmet=against, new_faults=faults)
                return self._return(state)
            self._clock.wait(self._limits.poll_s)

    def _commit(self, state: State) -> State:
        with self._releases.deciding():
            state = self._known()
            if state.state != "trial":
                return state
            state = self._enter(
                state, "current", good=state.number, previous=state.good, tries=0, reason=""
            )
        self._tell(f"release {state.number}: works, and is kept")
        self._tidy(state)
        return state

    def _give_up(self, state: State, **why: object) -> State:
        with self._releases.deciding():
            latest = self._known()
            if latest.state != "trial":
                return latest
            return self._enter(state, "reverting", good=self._last_good(state), **why)

    def _return(self, state: State) -> State:
        if state.state != "reverting":
            return state
        self._tell(f"{state.reason}: back to {self._called(state.good)}")
        self._releases.put_in_force(state.good)
        if state.starts == 0:
            self._restart()
        begun_ns = self._clock.monotonic_ns()
        sha256 = self._releases.config_sha256(state.good)
        while True:
            state = self._known()
            if state.state != "reverting":
                return state
            now, beat = self._now(), self._service.beat()
            missing = set(criteria.unmet(beat, state.started, now, sha256))
            against = missing & {*state.unmet, "ready", "heartbeat"}
            faults = set(beat.faults if beat is not None else ()) & set(state.new_faults)
            watched_s = _since_s(state.started, now, begun_ns)
            if not against and not faults and watched_s >= self._limits.settle_s:
                state = self._enter(state, "rolled_back")
                break
            if watched_s >= self._limits.trial_s:
                retry_h = RETRIES_H[min(state.tries, len(RETRIES_H) - 1)]
                state = self._enter(
                    state, "undecided", tries=state.tries + 1,
                    not_before_ns=self._clock.utc_ns() + retry_h * 3_600_000_000_000,
                    reason=f"{state.reason}; so it is under {self._called(state.good)}, too",
                )  # fmt: skip
                break
            self._clock.wait(self._limits.poll_s)
        self._tidy(state)
        return state

    def _is_due(self, state: State) -> bool:
        waits = state.tries <= len(RETRIES_H)
        return waits and self._clock.utc_ns() >= state.not_before_ns

    def _last_good(self, state: State) -> int:
        """What to return to: the release before, or an older one where the disk lost that."""
        for number in (state.good, state.previous, SEED):
            if number is not None and self._releases.usable(number):
                return number
        return state.good

    def _called(self, number: int) -> str:
        """As the office counts: the seed was a release there."""
        if number != SEED:
            return f"release {number}"
        found = self._releases.release(number)
        return "the seed" if found is None else f"the seed, release {found.release}"

    def _tidy(self, state: State) -> None:
        """Nothing is under way: the link says what the state says, and nothing else lies about."""
        if self._releases.usable(state.good):
            self._releases.put_in_force(state.good)
        keep = {state.good, state.previous or SEED}
        if state.state == "undecided":
            keep.add(state.number)
        self._releases.prune(keep)

    def _enter(self, state: State, name: object, **changes: object) -> State:
        entered = state.entering(name, self._clock, **changes)  # type: ignore[arg-type]
        return self._releases.write_state(entered)

    def _known(self) -> State:
        state = self._releases.read_state()
        if state is None:
            raise UpdateError(
                f"{self._releases.path}: nothing was ever in force here, or state.json is damaged",
                hint="Start the service once: `sudo systemctl restart earshot-agent`.",
            )
        return state

    def _restart(self) -> None:
        try:
            self._service.restart()
        except UpdateError as error:
            # Then it shows no sign of life, which is judged.
            self._tell(f"{error.message}. {error.hint}")

    def _now(self) -> Moment:
        return moment(self._clock, self._boot)


def _since_s(started: Moment | None, now: Moment, begun_ns: int) -> float:
    """How long has been watched: from the service's start, or for want of it from our own."""
    if started is None:
        return (now.monotonic_ns - begun_ns) / 1e9
    if started.boot != now.boot:
        return float("inf")
    return (now.monotonic_ns - started.monotonic_ns) / 1e9
