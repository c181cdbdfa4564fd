"""Where a device stands: what the office wants of it against what it says of itself."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from edge_agent.fleet.reports import Report

Verdict: TypeAlias = Literal[
    "as wanted", "waiting", "on trial", "rolled back", "refused", "undecided",
    "drift", "ahead", "silent", "never heard", "unwanted",
]  # fmt: skip
RENEW_DAYS: Final = 30
"""A certificate that ends sooner is a finding."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a device should run."""

    release: int
    config_sha256: str
    model_sha256: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A device's line."""

    device: str
    site: str
    ring: str | None
    wanted: int | None
    """The release; None: nothing was published for it."""
    reported: int | None
    """The release in force; None: it says nothing of releases."""
    verdict: Verdict
    why: str
    """What a person should know; empty where there is nothing to say."""
    online: bool | None
    seen_s: float | None
    """Age of the last sign of life."""
    certificate_days: int | None
    """Until the newest certificate that was issued to it ends; None: the folder knows of none."""
    faults: tuple[str, ...]
    queued: int | None = None
    """Messages that wait on it for the broker."""

    @property
    def fine(self) -> bool:
        """Nobody has to do anything."""
        ends = self.certificate_days
        return self.verdict == "as wanted" and (ends is None or ends >= RENEW_DAYS)


def judged(wanted: Wanted | None, report: Report, now_ns: int) -> tuple[Verdict, str]:
    """Where a device stands, and why.

    Args:
        wanted: None: nothing was published for it.
        report: What it said last.
        now_ns: UTC.
    """
    if report.info is None:
        return "never heard", "the broker keeps nothing of it"
    verdict, why = _of_release(wanted, report)
    if verdict in ("rolled back", "refused", "undecided"):
        return verdict, why
    if report.seen_ns is None and report.online:
        unknown = "its clock is not synchronised, so nobody knows how old its last word is"
        return verdict, "; ".join(one for one in (why, unknown) if one)
    if report.silent(now_ns) or report.online is False:
        left = "its connection is lost" if report.online is False else "but its connection stands"
        return "silent", left
    return verdict, why


def _of_release(wanted: Wanted | None, report: Report) -> tuple[Verdict, str]:
    assert report.info is not None, "asked before"
    release = report.release
    if wanted is None:
        return "unwanted", "nothing was published for it"
    same = (report.info.config_sha256, report.info.model.sha256) == (
        wanted.config_sha256,
        wanted.model_sha256,
    )
    if release is None:
        if same:
            return "as wanted", "takes no updates"
        return "drift", "takes no updates, and runs another configuration"
    if release.number >= wanted.release or release.state in ("staged", "trial", "reverting"):
        match release.state:
            case "rolled_back":
                return "rolled back", release.reason
            case "refused":
                return "refused", release.reason
            case "undecided":
                return "undecided", release.reason
            case "trial" | "reverting":
                return "on trial", f"release {release.number}"
            case "staged":
                return "waiting", f"has release {release.number}, and waits for its turn"
    if same:
        return "as wanted", ""
    if release.number == wanted.release:
        return "drift", "config.json or the model was changed by hand"
    if release.number > wanted.release:
        return "ahead", f"has release {release.number}, which is not from here"
    return "waiting", f"has not taken release {wanted.release} yet"


def certificate_ends(identities: Path) -> dict[str, datetime]:
    """When the newest certificate of each name ends, by openssl's own list of what was issued.

    Args:
        identities: The fleet's folder of them.
    """
    try:
        lines = (identities / "index.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found: dict[str, datetime] = {}
    for line in lines:
        # https://pki-tutorial.readthedocs.io/en/latest/cadb.html
        fields = line.split("\t")
        if len(fields) == 6 and fields[0] in ("V", "E"):
            name = fields[5].rpartition("/CN=")[2]
            form = "%y%m%d%H%M%SZ" if len(fields[1]) == 13 else "%Y%m%d%H%M%SZ"
            ends = datetime.strptime(fields[1], form).replace(tzinfo=UTC)
            found[name] = max(ends, found.get(name, ends))
    return found


def utc(ns: int) -> datetime:
    """A clock's reading."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)


def tallied(standings: Iterable[Standing]) -> dict[Verdict, int]:
    """How many stand how; the most first."""
    counts: dict[Verdict, int] = {}
    for one in standings:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
