"""A week that nobody measured, as a store: python -m tests.made_up_week FOLDER.

Two rush hours on weekdays, quieter weekends, four hours without power, and some events, whose share
of the energy grows with how long they last.
"""

import math
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.acoustics import tallies
from edge_agent.acoustics.percentiles import histogram
from edge_agent.clock import SimulatedClock
from edge_agent.config import StoreConfig
from edge_agent.energies import attributed
from edge_agent.ids import Ids
from edge_agent.records import Calibration, Event, LevelReading
from edge_agent.store import Store
from tests.sample_records import event, reading

# Midnight of Monday in Berlin.
START_S = int(datetime(2026, 5, 31, 22, tzinfo=UTC).timestamp())
MINUTES = 7 * 1440
CALIBRATION = Calibration(offset_db=119.7, date="2026-05-20", source="calibrator")
LABELS = ("siren", "dog_bark", "jackhammer", "car_horn", "street_music")
_NS = 1_000_000_000
_WITHOUT_POWER = range(3 * 1440 + 600, 3 * 1440 + 840)


def fill(folder: Path) -> None:
    """Write the store."""
    rng = np.random.default_rng(1)
    ids = Ids(1)
    store = Store(folder, SimulatedClock(), StoreConfig())
    for minute in range(MINUTES):
        level_db = _street_db(minute) + rng.normal(0, 1.5)
        happens = rng.random() < (0.006 if 420 <= minute % 1440 < 1380 else 0.002)
        label, lasts_s = str(rng.choice(LABELS)), min(60.0, rng.exponential(40))
        if minute in _WITHOUT_POWER:
            continue
        if happens:
            level_db += 6
            store.add(_event(ids, minute, label, lasts_s, rng))
        store.add(_minute(minute, level_db, label if happens else None, rng))
    store.close()


def _street_db(minute: int) -> float:
    day, hour = minute // 1440, minute / 60 % 24
    rush = 14 * math.exp(-(((hour - 8) / 3) ** 2)) + 13 * math.exp(-(((hour - 17.5) / 3.5) ** 2))
    return 48 + rush + (2 if day < 5 else -3)


def _minute(
    minute: int, level_db: float, label: str | None, rng: np.random.Generator
) -> LevelReading:
    level_dbfs = level_db - CALIBRATION.offset_db
    tally = tallies.of_second(
        {
            "LAeq": level_dbfs,
            "LCeq": level_dbfs + 6,
            "LAFmax": level_dbfs + 9 + rng.exponential(3),
            "LAFmin": level_dbfs - 8,
        },
        60_000_000,
        histogram(rng.normal(level_dbfs - 1, 3, 480)),
        (),
        overload=False,
        under_range=False,
    )
    background = tallies.energy(level_dbfs - 7, 60_000_000)
    heard = attributed(tally.energies["A"], background, {label: 0.8} if label else {}, ())
    return msgspec.structs.replace(
        reading(START_S + 60 * minute),
        id="",
        microphone="mast",
        period_s=60,
        values={"LAeq": None},
        heard_s=60.0,
        calibration=CALIBRATION,
        synced=True,
        tally=msgspec.structs.replace(tally, heard=heard),
    )


def _event(ids: Ids, minute: int, label: str, lasts_s: float, rng: np.random.Generator) -> Event:
    start_ns = (START_S + 60 * minute) * _NS
    return msgspec.structs.replace(
        event(ids.new(start_ns)),
        microphone="mast",
        label=label,
        phase="end",
        start_ns=start_ns,
        duration_s=lasts_s,
        score_max=float(rng.uniform(0.6, 0.99)),
        end_reason="quiet",
        synced=True,
    )


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
