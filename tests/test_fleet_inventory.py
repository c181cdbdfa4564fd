"""The inventory: what spreadsheets make of it is read, or refused at its cell."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.fleet.inventory import Inventory, read
from tests.fleets import found, small

HEADER = "device,board,mic,site"


def refused(data: str | bytes) -> list[str]:
    inventory = read(data.encode() if isinstance(data, str) else data)
    return [str(problem.error().message) for problem in inventory.problems]


def one(header: str, row: str) -> Inventory:
    return read(f"{HEADER},{header}\na,b,c,d,{row}\n".encode())


@pytest.mark.parametrize(
    "data",
    [
        b"device,board,mic,site,note\nmast-1,pi,mic,town,x y\n",
        b"\xef\xbb\xbfdevice,board,mic,site,note\nmast-1,pi,mic,town,x y\n",
        b"device,board,mic,site,note\r\nmast-1,pi,mic,town,x y\r\n",
        b"device;board;mic;site;note\nmast-1;pi;mic;town;x y\n",
        b"device;board;mic;site;note\r\nmast-1;pi;mic;town;x y",
        b'"device","board","mic","site","note"\n"mast-1","pi","mic","town","x y"\n',
        b"site,mic,note,board,device\ntown,mic,x y,pi,mast-1\n\n,,,,\n",
    ],
)
def test_what_spreadsheets_save_is_read(data: bytes) -> None:
    inventory = read(data)
    assert inventory.problems == ()
    (device,) = inventory.devices
    found = (device.name, device.board, device.mic, device.site, device.note)
    assert found == ("mast-1", "pi", "mic", "town", "x y")


def test_quotes_hold_separators_quotes_and_lines() -> None:
    data = f'{HEADER},note,ring\na,b,c,d,"x, ""y""\r\nz",one\ne,f,g,h,,Two\n'
    inventory = read(data.encode())
    assert inventory.devices[0].note == 'x, "y"\nz'
    assert inventory.devices[0].ring == "one"
    assert str(inventory.devices[0].place("ring")) == "fleet.csv:3:4"
    assert [str(problem.place) for problem in inventory.problems] == ["fleet.csv:4:10"]


# Lines and columns are counted by hand, from 1.
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "fleet.csv:1: the first line names no columns"),
        ("device,board,mic\na,b,c\n", "fleet.csv:1: the column site is missing"),
        ("device,board;mic\n", "fleet.csv:1: the header has both commas and semicolons"),
        ("device\tboard\n", "fleet.csv:1: the header has tabs"),
        ("sep=,\n" + HEADER, "fleet.csv:1:1: the column sep= is neither known nor a setting"),
        (b"\xff\xfed\x00", "fleet.csv: is UTF-16, not UTF-8"),
        (HEADER.encode() + b"\nm\xfcnster,b,c,d\n", "fleet.csv:2: is not UTF-8: found byte 0xfc"),
        (HEADER + "\na\x00,b,c,d\n", "fleet.csv:2:2: found the character U+0000"),
        (HEADER + ",ring,ring\n", "fleet.csv:1:28: the column ring is there twice"),
        (HEADER + ",\n", "fleet.csv:1:23: the column has no name"),
        (HEADER + ",mqtt.prot\n", "fleet.csv:1:23: the column mqtt.prot is neither known nor"),
        (HEADER + ",mqtt\n", "fleet.csv:1:23: the column mqtt does not hold one value"),
        (HEADER + ",levels.indicators\n", "the column levels.indicators does not hold one value"),
        (HEADER + ",site.device\n", "fleet.csv:1:23: the column site.device is not allowed"),
        (HEADER + "\na,b,c\n", "fleet.csv:2:5: the row has 3 cells, and the header 4"),
        (HEADER + "\na,b,c,d,e\n", "fleet.csv:2:9: the row has 5 cells, and the header 4"),
        (HEADER + '\na,b"x,c,d\n', "fleet.csv:2:3: found a quote inside a cell"),
        (HEADER + '\na,"b"x,c,d\n', "fleet.csv:2:6: found text behind a closing quote"),
        (HEADER + '\na,"b,c,d\ne,f,g,h\n', "fleet.csv:2:3: the quote that begins here is never"),
        (HEADER + "\na,b\rx,c,d\n", "fleet.csv:2:4: found a carriage return without a line feed"),
        (HEADER + "\n,b,c,d\n", "fleet.csv:2:1: device: device : the cell is empty"),
        (HEADER + "\na, b,c,d\n", 'fleet.csv:2:3: board: device a: found the text " b"'),
        (HEADER + "\nA,b,c,d\n", 'fleet.csv:2:1: device: device A: found the text "A"'),
        (HEADER + "\na_b,b,c,d\n", 'fleet.csv:2:1: device: device a_b: found the text "a_b"'),
        (HEADER + "\na,b,c,d\nx,b,c,d\na,b,c,d\n", "fleet.csv:4:1: device a is there twice, first"),
    ],
)
def test_a_broken_sheet_is_refused_at_its_cell(data: str | bytes, message: str) -> None:
    messages = refused(data)
    assert any(message in found for found in messages), messages


@pytest.mark.parametrize(
    ("header", "row", "message", "hint"),
    [
        ("lat,lon", "53.5,9.9,1", "the row has 7 cells, and the header 6", "decimal comma"),
        ("lat,lon", '"53,5",9.9', 'lat: device a: found the text "53,5"', "a decimal point"),
        ("lat,lon", "535413,9.9", "lat: device a: found 535413", "lat and lon exchanged"),
        ("lat,lon", "100.1,9.9", "lat: device a: found 100.1", "from -90 up to 90"),
        ("lat,lon", "53.5,", "device a: lat and lon belong together", "Write both"),
        ("lat,lon", "5.35E+01,9", "a number that a spreadsheet shortened", "as text"),
        ("lat,lon", "53.5.1,9", 'found the text "53.5.1"', "as text"),
        ("lat,lon", "nan,9", 'found the text "nan"', "plain decimal"),
        ("lat,lon", "1_0,9", 'found the text "1_0"', "plain decimal"),
        ("lat,lon", "\u0665,9", 'found the text "\u0665"', "plain decimal"),
        ("serial", "1E+15", "a number that a spreadsheet shortened", "as text"),
        ("serial", "1e5", "serial: device a: found the text", "16 of 0-9 and a-f"),
        ("serial", "10000000A1B2C3D4", "found the text", "16 of 0-9 and a-f"),
        ("serial", "a1b2c3d4", "found the text", "16 of 0-9 and a-f"),
        ("lab_offset_db,lab_date", "119.8,02.10.2026", "lab_date: device a", "like 2026-10-02"),
        ("lab_offset_db,lab_date", "119.8,46297", "lab_date: device a", "like 2026-10-02"),
        ("lab_offset_db,lab_date", "119.8,2026-02-30", "lab_date: device a", "like 2026-10-02"),
        ("lab_offset_db,lab_date", "119.8,2026-1-2", "lab_date: device a", "like 2026-10-02"),
        ("lab_offset_db,lab_date", "119.8,", "lab_offset_db and lab_date belong", "Write both"),
        ("state", "Active", "state: device a: found the text", "planned, active, retired"),
        ("groups", "x  y", "groups: device a: found the text", "a-z"),
        ("groups", "x x", "x stands there twice", "Keep one"),
        ("ring", "02. Mrz", "which a spreadsheet may have made a date", "as text"),
        ("ring", "Mar-07", "which a spreadsheet may have made a date", "as text"),
        ("mqtt.port", "8883.5", "mqtt.port: device a: found the text", "whole number from 1"),
        ("mqtt.port", "8,883", "the row has 6 cells", "decimal comma"),
        ("mqtt.port", "0", "mqtt.port: device a: found the text", "whole number from 1"),
        ("mqtt.port", "0123", "mqtt.port: device a: found the text", "whole number from 1"),
        ("mqtt.port", "1e3", "a number that a spreadsheet shortened", "as text"),
        ("mqtt.version", "3.1", "mqtt.version: device a: found the text", '"3.1.1"'),
        ("store.max_mb", '"1,5"', "store.max_mb: device a: found the text", "decimal point"),
        ("store.max_mb", "9" * 400, "store.max_mb: device a: found the text", "up to 100000"),
    ],
)
def test_a_cell_that_a_spreadsheet_changed_is_refused_with_what_to_do(
    header: str, row: str, message: str, hint: str
) -> None:
    (problem,) = one(header, row).problems
    assert message in problem.error().message
    assert hint in problem.hint
    assert problem.place.line == 2
    assert problem.place.column > 8


def test_a_setting_takes_its_type_from_the_schema() -> None:
    header = "mqtt.client_id,mqtt.port,store.max_mb,mqtt.version,site.latitude"
    inventory = one(header, "0123,8883,50,5,-3.25")
    assert inventory.problems == ()
    values = [value for _, value in inventory.devices[0].settings]
    assert values == ["0123", 8883, 50.0, "5", -3.25]
    assert [type(value) for value in values] == [str, int, float, str, float]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["a,10000000a1b2c3d4,,", "b,10000000a1b2c3d4,,"],
            (
                "fleet.csv:3:17: warning: serial: devices a and b have the same serial "
                "10000000a1b2c3d4. One board is one device. (2 devices)"
            ),
        ),
        (
            ["a,,53.541301,9.98401", "b,,53.541302,9.98401"],
            (
                "fleet.csv:3:18: warning: lat: devices a and b stand at the same place. Measure "
                "both again, or say in `note` why and part them by a metre. (2 devices)"
            ),
        ),
        (
            ["a,,0,0"],
            (
                "fleet.csv:2:18: warning: lat: device a stands at 0, 0, in the Gulf of Guinea. "
                "Leave the cells empty until they are measured. (1 device)"
            ),
        ),
        (
            ["a,,9.98,53.54"],
            (
                "fleet.csv:2:18: warning: lat: device a: lat and lon are exchanged. The other way "
                "round they are inside the bounds of town. (1 device)"
            ),
        ),
        (
            ["a,,50.1,9.98"],
            (
                "fleet.csv:2:18: warning: lat: device a stands outside the bounds of its site. "
                "sites/town.yaml has them. (1 device)"
            ),
        ),
    ],
)
def test_rows_that_look_copied_or_misplaced_are_warned_of(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    table = ["device,board,mic,site,serial,lat,lon"]
    table += [row.replace(",", ",pi,mic-1,town,", 1) for row in rows]
    files = {
        "fleet.csv": "\n".join(table) + "\n",
        "sites/town.yaml": "bounds: {south: 53, north: 54, west: 9, east: 11}\n",
    }
    assert found(small(tmp_path, files)) == [message]


def test_ten_thousand_columns_are_refused_quickly() -> None:
    header = HEADER + "".join(f",c{number}" for number in range(10_000))
    problems = read(f"{header}\n".encode()).problems
    assert len(problems) == 10_000


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    read(text.encode("utf-8", "surrogatepass"))


@given(st.lists(st.text("ab,;\"'\n\r é", max_size=8), min_size=1, max_size=4))
def test_a_cell_in_quotes_comes_back_as_it_was(notes: list[str]) -> None:
    lines = [f"d{number},b,c,d," + '"' + note.replace('"', '""') + '"' for number, note in
             enumerate(notes)]  # fmt: skip
    inventory = read("\n".join([f"{HEADER},note", *lines]).encode())
    kept = {device.name: device.note or "" for device in inventory.devices}
    for number, note in enumerate(notes):
        if f"d{number}" in kept:
            assert kept[f"d{number}"] == note.replace("\r\n", "\n")
        else:
            assert note != note.strip() or "\r" in note
