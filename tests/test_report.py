"""`edge-agent report`: energies, local days, what is left out, and what is said of mistakes."""

import csv
import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from edge_agent.clock import SimulatedClock
from edge_agent.commands.report_data import Report
from edge_agent.config import StoreConfig
from edge_agent.records import Calibration, LevelReading, Tally
from edge_agent.store import Store
from tests.sample_records import event, reading, tallied

CALIBRATED = Calibration(offset_db=119.74, date="2026-05-20", source="calibrator")
CONFIG = """
site: {{site: city, device: ear-1{place}}}
state_dir: {folder}
"""


def minute(at: datetime, laeq: float, heard_s: float = 60.0, **changes: object) -> LevelReading:
    """A minute of these levels, dB where it is calibrated."""
    one = msgspec.structs.replace(
        reading(int(at.timestamp())),
        id="",
        period_s=60,
        values={},
        heard_s=heard_s,
        calibration=CALIBRATED,
        synced=True,
    )
    one = msgspec.structs.replace(one, **changes)
    offset_db = one.calibration.offset_db if one.calibration else 0.0
    names = ("LAeq", "LAFmax", "LAFmin")
    suffix = "" if one.calibration else "_dbfs"
    level = laeq - offset_db
    told = tallied(one, LAeq=level, LAFmax=level + 10, LAFmin=level - 10)
    return msgspec.structs.replace(told, values={f"{name}{suffix}": 0.0 for name in names})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fill(folder: Path, *records: LevelReading) -> None:
    store = Store(folder, SimulatedClock(), StoreConfig())
    for record in records:
        store.add(record)
    started = msgspec.structs.replace(event(), synced=True, start_ns=records[0].start_ns)
    store.add(msgspec.structs.replace(started, n=1, phase="end", end_reason="quiet"))
    store.close()


def report(
    folder: Path, *options: str, place: str = "", code: int = 0
) -> "subprocess.CompletedProcess[str]":
    config = folder / "agent.yaml"
    config.write_text(CONFIG.format(place=place, folder=folder))
    command = [sys.executable, "-m", "edge_agent", "report", "--config", str(config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def as_json(folder: Path, *options: str) -> Report:
    return msgspec.json.decode(report(folder, *options, "--format", "json").stdout, type=Report)


def test_an_hour_is_the_energy_of_its_minutes_by_the_time_that_was_heard(tmp_path: Path) -> None:
    at = utc("2026-06-01T10:00")
    later = utc("2026-06-01T10:59")
    fill(tmp_path, minute(at, 60.0), minute(later, 70.0, heard_s=20.0))
    found = as_json(tmp_path, "--from", "2026-06-01", "--to", "2026-06-01")
    (hour,) = found.hours
    expected = 10 * math.log10((60 * 1e6 + 20 * 1e7) / 80)
    assert hour.levels == {"LAeq": round(expected, 1), "LAFmax": 80.0, "LAFmin": 50.0}
    assert (hour.start_s, hour.heard_s) == (at.timestamp(), 80.0)
    assert found.whole.levels == hour.levels
    rows = list(
        csv.DictReader(
            io.StringIO(
                report(
                    tmp_path, "--from", "2026-06-01", "--to", "2026-06-01", "--format", "csv"
                ).stdout
            )
        )
    )
    assert [(row["start"], row["LAeq"], row["LCeq"]) for row in rows] == [
        ("2026-06-01T10:00:00.000Z", f"{expected:.1f}", "")
    ]


@pytest.mark.parametrize(
    ("day", "hours", "first"),
    [
        ("2026-06-01", 24, "2026-05-31T22:00"),
        ("2026-03-29", 23, "2026-03-28T23:00"),
        ("2026-10-25", 25, "2026-10-24T22:00"),
    ],
)
def test_a_date_is_a_local_day_also_where_the_clocks_change(
    tmp_path: Path, day: str, hours: int, first: str
) -> None:
    begin = utc(first)
    seconds = int(begin.timestamp())
    starts = (datetime.fromtimestamp(seconds + 3600 * n, tz=UTC) for n in range(-3, 29))
    fill(tmp_path, *(minute(start, 60.0) for start in starts))
    found = as_json(tmp_path, "--from", day, "--to", day, "--zone", "Europe/Berlin")
    assert found.from_s == seconds
    assert found.to_s - found.from_s == 3600 * hours
    assert len(found.hours) == hours


def test_what_has_no_known_time_or_another_unit_is_left_out_and_told(tmp_path: Path) -> None:
    at = [datetime.fromtimestamp(60 * n, tz=UTC) for n in range(4)]
    fill(
        tmp_path,
        minute(at[0], 60.0),
        minute(at[1], 90.0, synced=False),
        minute(at[2], -20.0, calibration=None),
        minute(at[3], 60.0, overload=True),
    )
    found = as_json(tmp_path, "--from", "1970-01-01", "--to", "1970-01-01")
    assert (found.unsynced, found.uncalibrated, found.unit) == (1, 1, "dB")
    assert found.whole.levels["LAeq"] == 60.0
    options = ("--from", "1970-01-01", "--to", "1970-01-01")
    table = report(tmp_path, *options, "--format", "csv")
    assert "1 minute was left out for the clock was not synchronised." in table.stderr
    assert len(table.stdout.splitlines()) == 2
    page = report(tmp_path, *options).stdout
    assert "1 minute was left out for the clock was not synchronised." in page
    assert "1 minute was left out without the calibration that others have." in page
    assert "In 1 second something was too loud for the microphone" in page


def test_an_uncalibrated_microphone_is_never_said_to_be_in_db(tmp_path: Path) -> None:
    fill(tmp_path, minute(utc("2026-06-01"), -20.0, calibration=None))
    options = ("--from", "2026-06-01", "--to", "2026-06-01")
    page = report(tmp_path, *options).stdout
    assert "This microphone is not calibrated" in page
    assert "-20.0 dBFS" in page
    assert "LAeq_dbfs" in report(tmp_path, *options, "--format", "csv").stdout.splitlines()[0]
    place = ", latitude: 52.5, longitude: 13.4"
    refused = report(tmp_path, *options, "--format", "fiware", place=place, code=2)
    assert refused.stdout == ""
    assert "none of the 1 minutes of mic may be given as NoiseLevelObserved" in refused.stderr


def test_the_page_stands_alone_and_its_pictures_are_whole(tmp_path: Path) -> None:
    base = int(utc("2026-06-01").timestamp())
    minutes = (
        minute(datetime.fromtimestamp(base + 60 * n, tz=UTC), 50 + n % 20)
        for n in range(1440)
        if not 600 <= n < 660
    )
    fill(tmp_path, *minutes)
    page = report(tmp_path, "--from", "2026-06-01", "--to", "2026-06-01").stdout
    for what in ("<script", "src=", "@import", "url("):
        assert what not in page
    timeline, heat = (
        ET.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")  # ours
        for part in page.split("<svg")[1:]
    )
    spot = "{http://www.w3.org/2000/svg}"
    assert len(timeline.findall(f"{spot}path")) == 2, "the line breaks where nothing was heard"
    assert "siren" in [text.text for text in timeline.iter(f"{spot}text")]
    cells = [text.text for text in heat.iter(f"{spot}text")]
    # Monday's 23 heard hours, seven days and eight hours beside them.
    assert len(cells) == 23 + 7 + 8


@pytest.mark.parametrize(
    ("first", "last", "every_h", "after"),
    [
        # An hour of the night is missing, and one is there twice.
        ("2026-03-29", "2026-03-29", 3, "30 Mar"),
        ("2026-10-25", "2026-10-25", 3, "26 Oct"),
        ("2026-10-23", "2026-10-27", 12, "28 Oct"),
    ],
)
def test_times_below_the_line_are_round_also_where_the_clocks_change(
    tmp_path: Path, first: str, last: str, every_h: int, after: str
) -> None:
    fill(tmp_path, minute(utc(f"{first}T10:00"), 60.0))
    options = ("--from", first, "--to", last, "--zone", "Europe/Berlin")
    picture = report(tmp_path, *options).stdout.partition("<svg")[2].partition("</svg>")[0]
    shown = re.findall(r">(\d\d:\d\d|\d\d [A-Z][a-z]{2})<", picture)
    days = range(int(first[-2:]), int(last[-2:]) + 1)
    hours = [f"{hour:02}:00" for hour in range(every_h, 24, every_h)]
    assert shown == [tick for day in days for tick in (f"{day} {after[-3:]}", *hours)] + [after]


def test_a_calibrated_minute_is_a_noise_level_observed(tmp_path: Path) -> None:
    unknown = minute(utc("2026-06-01T11:00"), 61.26, synced=False)
    fill(tmp_path, minute(utc("2026-06-01T10:00"), 61.26, overload=True), unknown)
    options = ("--from", "2026-06-01", "--to", "2026-06-01", "--format", "fiware")
    done = report(tmp_path, *options, place=", latitude: 52.5, longitude: 13.4")
    (line,) = done.stdout.splitlines()
    entity = json.loads(line)
    assert entity["type"] == "NoiseLevelObserved"
    assert entity["id"].endswith("city:ear-1:mic:2026-06-01T10:00:00.000Z")
    assert entity["dateObservedTo"]["value"] == "2026-06-01T10:01:00.000Z"
    assert entity["location"]["value"]["coordinates"] == [13.4, 52.5]
    assert entity["LAeq"] == {
        "type": "Property",
        "value": 61.3,
        "unitCode": "2N",
        "observedAt": "2026-06-01T10:01:00.000Z",
    }
    assert entity["LAmax"]["value"] == entity["LAFmax"]["value"] == 71.3
    assert entity["calibrationOffset"]["value"] == 119.74
    assert entity["calibrationSource"]["value"] == "calibrator"
    assert (entity["overload"]["value"], entity["underRange"]["value"]) == (True, False)
    assert not {"LAS", "sonometerClass"} & entity.keys()
    refused = report(tmp_path, *options, code=2).stderr
    assert "site.latitude and site.longitude are not set" in refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--from", "june", "--to", "2026-06-01"), "'june' is no time; write 2026-06-01"),
        (("--from", "2026-06-01T08:00", "--to", "2026-06-01"), "has no time zone; add Z"),
        (("--from", "2026-06-01", "--to", "9999-12-31"), "is not in the years 1970 to 2199"),
        (("--from", "0001-01-01T00:00Z", "--to", "2026-06-01"), "is not in the years 1970 to"),
        (("--from", "2026-06-02", "--to", "2026-06-01"), "--from 2026-06-02 is not before"),
        (
            ("--from", "2026-06-01", "--to", "2026-06-01", "--zone", "Mars"),
            "edge-agent: 'Mars' is no time zone",
        ),
        (
            ("--from", "2026-06-01", "--to", "2026-06-01", "--microphone", "yard"),
            "the store holds no microphone 'yard'\n  It holds mic.",
        ),
    ],
)
def test_a_mistake_is_told_in_words(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    fill(tmp_path, minute(utc("2026-06-01"), 60.0))
    message = report(tmp_path, *options, code=2).stderr
    assert told in message
    assert "Traceback" not in message


def test_without_a_store_or_within_an_empty_time_it_says_so(tmp_path: Path) -> None:
    options = ("--from", "2026-06-01", "--to", "2026-06-01")
    assert "store.db: is not there" in report(tmp_path, *options, code=2).stderr
    fill(tmp_path, minute(datetime.fromtimestamp(0, tz=UTC), 60.0))
    page = report(tmp_path, *options).stdout
    assert "Nothing was measured within this time." in page
    assert "<svg" not in page


def test_a_dead_microphone_is_not_heard_and_a_quiet_street_is_doubted(tmp_path: Path) -> None:
    tally = Tally(heard_us=40_000_000, silent_us=20_000_000, energies={"A": 1}, under_range_s=1)
    half_dead = msgspec.structs.replace(minute(utc("2026-06-01T10:00"), 60.0), tally=tally)
    fill(tmp_path, half_dead)
    options = ("--from", "2026-06-01", "--to", "2026-06-02")
    found = as_json(tmp_path, *options)
    assert (found.site, found.device, found.zone, found.dates) == ("city", "ear-1", "UTC", 2)
    assert (found.whole.heard_s, found.whole.silent_s, found.whole.under_range_s) == (40, 20, 1)
    page = report(tmp_path, *options).stdout
    assert "For 20 seconds all samples were equal" in page
    assert "In 1 second it was so quiet that the microphone's own noise counts" in page.replace(
        "&#x27;", "'"
    )
    assert "<td>measured on</td><td>1 of 2 dates</td>" in page


def test_lden_is_of_the_local_date_and_says_when_too_little_was_heard(tmp_path: Path) -> None:
    midnight = int(utc("2026-05-31T22:00").timestamp())
    levels = {"day": 60.0, "evening": 55.0, "night": 50.0}

    def of_hour(hour: int) -> float:
        return levels["day" if 7 <= hour < 19 else "evening" if 19 <= hour < 23 else "night"]

    minutes = [
        minute(datetime.fromtimestamp(midnight + 60 * n, tz=UTC), of_hour(n // 60 % 24))
        for n in range(2 * 1440)
        # The second day was deaf for half of its evening.
        if not 1440 + 19 * 60 <= n < 1440 + 21 * 60
    ]
    fill(tmp_path, *minutes)
    options = ("--from", "2026-06-01", "--to", "2026-06-02", "--zone", "Europe/Berlin")
    first, second = as_json(tmp_path, *options).days
    for day in (first, second):
        assert {period: part.level for period, part in day.periods.items()} == levels
    assert (first.lden, first.reason) == (60.0, None)
    assert (second.lden, second.reason) == (None, "too_little_heard:evening")
    assert [part.complete for part in first.periods.values()] == [True, True, True]
    assert [part.complete for part in second.periods.values()] == [True, False, True]
    evening = second.periods["evening"]
    assert (evening.heard_s, evening.period_s) == (2 * 3600, 4 * 3600)
    page = report(tmp_path, *options).stdout
    assert page.count("<td>55.0*</td>") == 1
    # The last night ends beyond the report, an hour of its eight is within.
    assert (first.night_after.level, first.night_after.complete) == (50.0, True)
    assert (second.night_after.heard_s, second.night_after.complete) == (3600, False)
    assert page.count("<td>50.0*</td>") == 1
    assert "Day from 7 h, evening from 19 h, night from 23 h of local time" in page
    assert "* Less than 95 % of it was heard within this report." in page
    assert "No Lden where too little of a period was heard: 2026-06-02 (evening)." in page


def test_where_the_calibration_changed_both_count_on_their_own_scale(tmp_path: Path) -> None:
    at = utc("2026-06-01T10:00")
    newer = Calibration(offset_db=117.1, date="2026-06-01", source="calibrator")
    later = minute(utc("2026-06-01T10:01"), 60.0, calibration=newer)
    fill(tmp_path, minute(at, 60.0), later)
    found = as_json(tmp_path, "--from", "2026-06-01", "--to", "2026-06-01")
    assert found.whole.levels["LAeq"] == 60.0
    assert found.whole.levels["LAFmax"] == 70.0
    assert found.calibrations == (CALIBRATED, newer)
