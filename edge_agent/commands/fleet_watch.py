"""`edge-agent fleet status --watch`: where each device stands, and each change of that."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.commands.fleet_status import asked, said, standings, told
from edge_agent.commands.reading import listening
from edge_agent.errors import BrokerError
from edge_agent.fleet import reports, standing
from edge_agent.fleet.listening import Listener, unreachable, wait_until_told
from edge_agent.fleet.reports import Reports
from edge_agent.fleet.standing import Standing

_TURN_S: Final = 1.0


def watch(
    path: Path | None,
    repo: Path | None,
    chosen: Sequence[str],
    clock: Clock,
    *,
    reader: str,
    wait_s: float,
    as_json: bool,
) -> int:
    """Print what `status` does, and then each change, until Ctrl-C.

    Args:
        path: The fleet's folder, which is read once.
        repo: As for `status`; what is published meanwhile is wanted from then on.
        chosen: Words that choose devices.
        clock: The office's.
        reader: Under whose name we listen.
        wait_s: For what the brokers keep, at first.
        as_json: A line of JSON for each device, and for each change.

    Returns:
        The exit code of `status`, as it stood at the end.

    Raises:
        EarshotError: As `status`.
    """
    question = asked(path, repo, chosen, clock)
    sites = {device.name: device.site for device in question.devices}
    found: Reports = {}
    away: list[BrokerError] = []
    lines: list[Standing] = []
    with (
        suppress(KeyboardInterrupt),
        listening(
            question.fleet, question.devices, reader, clock, question.also, away
        ) as listeners,
    ):
        wait_until_told(
            listeners,
            clock,
            lambda one: reports.take(found, sites, one),
            lambda: question.answered(found),
            wait_s,
        )
        lines = standings(question, found, clock)
        told(lines, away, repo, clock, as_json=as_json)
        stamp, complained = _stamp(repo), dict.fromkeys(listeners, "")
        while True:
            clock.wait(_TURN_S)
            _complain(complained)
            for listener in listeners:
                for one in listener.heard():
                    reports.take(found, sites, one)
            if _stamp(repo) != stamp:
                stamp, question = _stamp(repo), asked(path, repo, chosen, clock)
            now = standings(question, found, clock)
            _changes(lines, now, clock, as_json=as_json)
            lines = now
    return 0 if lines and all(line.fine for line in lines) else 1


def _changes(
    before: Sequence[Standing], now: Sequence[Standing], clock: Clock, *, as_json: bool
) -> None:
    known = {line.device: (line.wanted, line.reported, said(line)) for line in before}
    time = standing.utc(clock.utc_ns()).strftime("%H:%M:%SZ")
    for line in now:
        if known.get(line.device) == (line.wanted, line.reported, said(line)):
            continue
        if as_json:
            print(json.dumps(msgspec.to_builtins(line), ensure_ascii=False), flush=True)
            continue
        runs = "" if line.reported is None else f" runs {line.reported},"
        print(f"{time} {line.device}{runs} {said(line)}", flush=True)


def _complain(complained: dict[Listener, str]) -> None:
    """Each broker that was lost, once; the connection comes back by itself."""
    for listener, last in complained.items():
        error = listener.error or ""
        if error and error != last:
            print(f"warning: {unreachable(listener).message}", file=sys.stderr, flush=True)
        complained[listener] = error


def _stamp(repo: Path | None) -> bytes:
    """Differs where something was published."""
    if repo is None:
        return b""
    with suppress(OSError):
        return (repo / "metadata" / "timestamp.json").read_bytes()
    return b""
