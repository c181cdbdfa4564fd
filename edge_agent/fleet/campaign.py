"""The next step of a rollout: decided here from what is known, and done by who asked.

Nothing is given to a device that is not heard. Within a ring, a site gets no more at once than its
share; the next ones follow when those before have answered. It stops by itself when too many do
not keep the release, or are not heard any more.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from edge_agent.fleet import rings
from edge_agent.fleet.reports import Report
from edge_agent.fleet.rollout import FAILED, MISSED, Member, Outcome, Rollout

MISSED_S: Final = 600.0
"""A device on trial may be away for three minutes, and for three more on its way back."""
LISTEN_S: Final = 90.0
"""Who lives is heard within this: `health` comes each minute."""


def step(
    rollout: Rollout, found: Mapping[str, Report], now_ns: int, listened_s: float
) -> tuple[Rollout, tuple[str, ...]]:
    """What holds now, and which devices are to be given the release.

    Args:
        rollout: As it was.
        found: What devices said last.
        now_ns: UTC.
        listened_s: For how long all brokers have been listened to without a break.

    Returns:
        The rollout, in which these devices count as given: to be saved before it is done.
    """
    rollout = noted(rollout, found, now_ns, listened_s)
    while rollout.state == "running":
        why = _crossed(rollout)
        if why is not None:
            return msgspec.structs.replace(rollout, state="stopped", reason=why), ()
        due = _due(rollout, found, now_ns)
        if due:
            return _given(rollout, due, now_ns), due
        if rollout.under_way():
            break
        held_back = _eligible(rollout, found, now_ns)
        if held_back:
            site = rollout.members[held_back[0]].site
            why = f"site {site}: too many are not heard since they were given it"
            return msgspec.structs.replace(rollout, state="stopped", reason=why), ()
        if listened_s < LISTEN_S and _unheard(rollout, found, now_ns):
            break
        name, given = _of_ring(rollout)
        if rollout.ring == 0 and not given:
            why = f"ring {name}: none of its devices is heard"
            return msgspec.structs.replace(rollout, state="stopped", reason=why), ()
        if given and rollout.soak_since_ns is None:
            rollout = msgspec.structs.replace(rollout, soak_since_ns=now_ns)
        since_ns = rollout.soak_since_ns or now_ns
        soak_h = rollout.plan.in_turn[rollout.ring][1].soak_h if given else 0
        if now_ns - since_ns < soak_h * 3600e9:
            break
        if rollout.ring + 1 == len(rollout.plan.rings):
            rollout = msgspec.structs.replace(rollout, state="done")
        else:
            rollout = msgspec.structs.replace(rollout, ring=rollout.ring + 1, soak_since_ns=None)
    return rollout, ()


def noted(rollout: Rollout, found: Mapping[str, Report], now_ns: int, listened_s: float) -> Rollout:
    """With what became of each device that was given it."""
    members = dict(rollout.members)
    for name, member in rollout.given().items():
        report = found.get(name)
        if report is None and listened_s < LISTEN_S:
            continue
        outcome, why = _outcome(rollout, member, report or Report(), now_ns, listened_s)
        back = _is_back(rollout, member, report, before=member.back)
        members[name] = msgspec.structs.replace(member, outcome=outcome, why=why, back=back)
    return msgspec.structs.replace(rollout, members=members)


def limit(rollout: Rollout, site: str) -> int:
    """How many of a site may be under way at once."""
    return max(1, int(rollout.sites[site] * rollout.plan.spread.at_once_percent // 100))


def _outcome(
    rollout: Rollout, member: Member, report: Report, now_ns: int, listened_s: float
) -> tuple[Outcome, str]:
    assert member.published_ns is not None, "asked of those that were given it"
    answer, why = _answer(rollout, member, report)
    if answer in FAILED:
        return answer, why
    if listened_s >= LISTEN_S and report.silent(now_ns, MISSED_S):
        return "silent", "not heard any more"
    if answer == "waiting" and now_ns - member.published_ns > rollout.plan.patience_h * 3600e9:
        return "late", f"no answer within {rollout.plan.patience_h:g} h"
    return answer, why


def _answer(rollout: Rollout, member: Member, report: Report) -> tuple[Outcome, str]:
    """What the device itself says."""
    wanted, sha256 = rollout.release, member.config_sha256
    kept: Outcome = "kept"
    if rollout.abort_release is not None and member.before is not None:
        wanted, sha256, kept = rollout.abort_release, member.before.config_sha256, "returned"
    release = report.release
    if release is None or report.info is None or release.number < wanted:
        return "waiting", ""
    if release.number > wanted:
        return "superseded", f"has release {release.number}, which is not of this rollout"
    match release.state:
        case "rolled_back":
            return "rolled back", release.reason
        case "refused":
            return "refused", release.reason
        case "undecided":
            return "undecided", release.reason
        case "current":
            if report.info.config_sha256 == sha256:
                return kept, ""
            return "drift", "its config.json was changed by hand"
    return "waiting", ""


def _is_back(rollout: Rollout, member: Member, report: Report | None, *, before: bool) -> bool:
    if report is None or report.info is None or report.release is None:
        return before
    if report.release.state in ("trial", "reverting"):
        return False
    if member.before is not None:
        return report.info.config_sha256 == member.before.config_sha256
    return report.release.in_force < rollout.release


def _due(rollout: Rollout, found: Mapping[str, Report], now_ns: int) -> tuple[str, ...]:
    """Who is given it now: of the rings so far, heard, and within its site's share."""
    busy: dict[str, int] = {}
    for name, member in rollout.given().items():
        missed = member.outcome in MISSED and name not in rollout.forgiven
        if member.outcome == "waiting" or missed:
            busy[member.site] = busy.get(member.site, 0) + 1
    due: list[str] = []
    for name in _eligible(rollout, found, now_ns):
        site = rollout.members[name].site
        if busy.get(site, 0) < limit(rollout, site):
            busy[site] = busy.get(site, 0) + 1
            due.append(name)
    return tuple(due)


def _eligible(rollout: Rollout, found: Mapping[str, Report], now_ns: int) -> list[str]:
    names = [name for name in _left(rollout) if _is_heard(found.get(name), now_ns)]
    return sorted(
        names, key=lambda name: (rollout.members[name].ring, rings.turn(name, rollout.release))
    )


def _left(rollout: Rollout) -> Iterable[str]:
    """Those of the rings so far that it was not published for."""
    for name, member in rollout.members.items():
        if member.published_ns is None and member.ring <= rollout.ring:
            yield name


def _is_heard(report: Report | None, now_ns: int) -> bool:
    return report is not None and report.online is not False and not report.silent(now_ns)


def _unheard(rollout: Rollout, found: Mapping[str, Report], now_ns: int) -> bool:
    return any(not _is_heard(found.get(name), now_ns) for name in _left(rollout))


def _given(rollout: Rollout, due: Iterable[str], now_ns: int) -> Rollout:
    members = dict(rollout.members)
    for name in due:
        members[name] = msgspec.structs.replace(
            members[name], published_ns=now_ns, outcome="waiting"
        )
    return msgspec.structs.replace(rollout, members=members)


def _of_ring(rollout: Rollout) -> tuple[str, int]:
    """The name of the ring in progress, and how many of it were given the release."""
    given = [one for one in rollout.given().values() if one.ring == rollout.ring]
    return rollout.plan.in_turn[rollout.ring][0], len(given)


def _crossed(rollout: Rollout) -> str | None:
    """Which threshold was crossed; None: none."""
    given = rollout.given()
    counted = {name: one for name, one in given.items() if name not in rollout.forgiven}
    failed = {name: one for name, one in counted.items() if one.outcome in FAILED}
    missed = {name: one for name, one in counted.items() if one.outcome in MISSED}
    first = [name for name, one in failed.items() if one.ring == 0]
    when = rollout.plan.stop_when
    if len(first) >= when.canary_failed:
        name, of = rollout.plan.in_turn[0][0], sum(one.ring == 0 for one in given.values())
        return f"ring {name}: {len(first)} of {of} did not keep it"
    if len(failed) * 100 > when.failed_percent * len(given):
        return f"{len(failed)} of {len(given)} did not keep it, more than {when.failed_percent:g} %"
    if len(missed) * 100 > when.silent_percent * len(given):
        return (
            f"{len(missed)} of {len(given)} are not heard any more or gave no answer, more than "
            f"{when.silent_percent:g} %"
        )
    return None
