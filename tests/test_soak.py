"""A month of a device's life, compressed: random faults, and the books balanced at the end.

A block each half minute stands for the seconds between; so a month has 86 400 of them and takes
about a minute. EARSHOT_SOAK_DAYS makes it longer, EARSHOT_SOAK_SEED another one;
`--log-cli-level=INFO` shows the books.
"""

import logging
import os
from pathlib import Path

import pytest

from tests.simulated import Killed, World

DAYS = float(os.environ.get("EARSHOT_SOAK_DAYS", "30"))
SEED = int(os.environ.get("EARSHOT_SOAK_SEED", "1"))
PERIOD_S = 30.0
STEPS_A_DAY = round(86400 / PERIOD_S)
MAX_BYTES = 1_000_000
"""Less than a day of this street, so that the longest outages meet the cap."""
YEAR_S = 365 * 86400.0

_log = logging.getLogger(__name__)


class Fate:
    """Faults that come by chance and last a while; all are over on the last day."""

    def __init__(self, world: World) -> None:
        self.jumps = 0
        self.largest_bytes = {"outbox.db": 0, "outbox.db-wal": 0}
        self.resident_bytes: list[int] = []
        self.happened = dict.fromkeys(("away", "mute", "cuts", "deaf"), 0)
        self._world = world
        self._until = dict.fromkeys(self.happened, 0)
        self._steps = 0
        self._killed_at = 0

    @property
    def steps_left(self) -> int:
        return round(DAYS * STEPS_A_DAY) - self._steps

    def step(self) -> bool:
        self._steps += 1
        chance, broker = self._world.rng.random, self._world.broker
        quiet = self.steps_left < STEPS_A_DAY
        for name, a_day, longest_h in (
            ("away", 1.0, 36.0),
            ("mute", 0.5, 2.0),
            ("cuts", 1.0, 6.0),
            ("deaf", 1.0, 4.0),
        ):
            if not quiet and chance() < a_day / STEPS_A_DAY:
                self.happened[name] += 1
                # Most are short: the square of an even distribution.
                lasts_h = longest_h * chance() ** 2
                self._until[name] = self._steps + round(lasts_h * 3600 / PERIOD_S)
        broker.up = not self._holds("away")
        broker.mute = self._holds("mute")
        broker.cut_share = 0.05 if self._holds("cuts") else 0.0
        if not quiet and chance() < 1 / STEPS_A_DAY:
            self.jumps += 1
            self._world.clock.jump((chance() - 0.5) * 20 * YEAR_S)
        self._measure()
        if not quiet and chance() < 2 / STEPS_A_DAY:
            raise Killed
        return not self._holds("deaf")

    def _holds(self, name: str) -> bool:
        return self._steps < min(self._until[name], round((DAYS - 1) * STEPS_A_DAY))

    def _measure(self) -> None:
        if self._steps % 20 == 0:
            for name, largest in self.largest_bytes.items():
                path = self._world.folder / name
                size = path.stat().st_size if path.exists() else 0
                self.largest_bytes[name] = max(largest, size)
        if self._steps % STEPS_A_DAY == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident_bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.slow
def test_a_month_of_faults_loses_no_alert_and_no_level_uncounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, SEED, max_bytes=MAX_BYTES)
    monkeypatch.setattr("edge_agent.mqtt.Connection", world.broker.connection)
    monkeypatch.setattr("edge_agent.machine._megabytes", lambda *_: None)
    fate = Fate(world)
    while fate.steps_left > 0:
        world.live(fate.steps_left, fate.step, period_s=PERIOD_S)

    told, came = world.told, world.broker.kinds
    _log.info("%g days, seed %d: told %s, arrived %s", DAYS, SEED, dict(told), dict(came))
    _log.info("dropped %s, repeated %d", world.dropped, world.broker.arrived.total() - came.total())
    _log.info("kills %d, jumps %d, others %s", world.kills, fate.jumps, fate.happened)
    _log.info("largest files %s, resident by day %s", fate.largest_bytes, fate.resident_bytes)
    # It was a hard month, and each kind of fault had its share.
    assert min(*fate.happened.values(), world.kills, fate.jumps) >= DAYS / 6
    assert world.dropped["level"] > 0

    # Alerts and events: all of them, whatever happened; each told once, and ended once.
    for kind in ("alert", "event"):
        assert (came[kind], world.dropped[kind]) == (told[kind], 0)
    for by_n in world.broker.phases.values():
        assert [by_n[n] for n in sorted(by_n)] == ["start", "end"]
    # Levels: what is missing was dropped by the cap and counted, but for a kill's last batch.
    missing = told["level"] - came["level"]
    assert missing <= world.dropped["level"] + 2 * world.kills
    # What was dropped in memory alone comes back with a kill: what one turn may drop at most.
    assert missing >= world.dropped["level"] - 50 * world.kills
    # Nothing was invented or changed on the way.
    assert world.broker.said.items() <= world.names.items()

    # The file is the cap with what surrounds the rows, the log what SQLite lets it grow to.
    assert fate.largest_bytes["outbox.db"] < 3 * MAX_BYTES
    assert fate.largest_bytes["outbox.db-wal"] < 5 * 2**20
    # The books of this test grow by some 330 bytes a message, and the agent not at all.
    third = len(fate.resident_bytes) // 3
    grown_bytes = fate.resident_bytes[-1] - fate.resident_bytes[third]
    assert grown_bytes < 400 * told.total() * 2 / 3 + 8_000_000
