"""A laboratory's calibration that comes with a release."""

from pathlib import Path

import pytest

from edge_agent import configfile, delivered
from edge_agent.commands import doctor_calibration
from edge_agent.config import MicrophoneConfig
from edge_agent.fleet.rendering import Renderer, canonical
from edge_agent.records import Calibration
from tests.fleets import found, read, small

ONE = {"mic": MicrophoneConfig()}
BROUGHT = Calibration(offset_db=119.8, date="2026-10-02", source="laboratory")


def test_what_the_office_renders_is_what_the_device_measures_with(tmp_path: Path) -> None:
    rows = "device,board,mic,site,lab_offset_db,lab_date\near-1,pi,mic-1,town,119.8,2026-10-02\n"
    fleet = read(small(tmp_path / "fleet", {"fleet.csv": rows}))
    rendered = Renderer(fleet, None).render(fleet.devices[0])
    config = tmp_path / "config.json"
    config.write_bytes(rendered.config)
    (tmp_path / "release.json").write_bytes(rendered.release)
    loaded = configfile.load(config)
    assert delivered.calibrations(config, loaded.config.microphones) == {"mic": BROUGHT}
    (one,) = doctor_calibration.calibrations(loaded)
    assert one.found == "mic: 119.80 dB (laboratory, 2026-10-02), by its release"


def test_a_row_has_one_value_and_so_one_microphone(tmp_path: Path) -> None:
    """Then `fleet check` counts on no calibration, either."""
    rows = "device,board,mic,site,lab_offset_db,lab_date\near-1,pi,mic-1,town,119.8,2026-10-02\n"
    site = "alerts: {loud: {indicator: LAeq, above_db: 85, for_s: 60}}\n"
    fleet = small(tmp_path, {"fleet.csv": rows, "sites/town.yaml": site})
    assert found(fleet) == []
    two = "microphones: {front: {device: 'hw:CARD=A'}, mic: {device: 'hw:CARD=B'}}\n"
    (fleet / "microphones" / "mic-1.yaml").write_text(two)
    (line,) = found(fleet)
    assert "alerts.loud.above_db: the rule rests until the microphone is calibrated" in line
    device = read(fleet).devices[0]
    release = Renderer(read(fleet), None).release(device)[1]
    (tmp_path / "release.json").write_bytes(canonical(release))
    assert delivered.calibrations(tmp_path / "config.json", {**ONE, "front": ONE["mic"]}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"calibration": null}',
        '{"calibration": {"offset_db": 1e9, "date": "2026-10-02"}}',
        '{"calibration": {"offset_db": 119.8, "date": "2026-13-02"}}',
        '{"calibration": {"offset_db": "119.8", "date": "2026-10-02"}}',
    ],
)
def test_what_is_no_calibration_is_none(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.json"
    assert delivered.calibrations(config, ONE) == {}
    (tmp_path / "release.json").write_text(text)
    assert delivered.calibrations(config, ONE) == {}


@pytest.mark.parametrize(
    ("date", "wins"), [("2026-10-01", True), ("2026-10-02", False), ("2026-10-03", False)]
)
def test_the_newer_date_wins_and_the_devices_own_on_the_same_day(date: str, wins: bool) -> None:
    own = Calibration(offset_db=118.0, date=date, source="calibrator")
    held = delivered.newest({"mic": own, "other": own}, {"mic": BROUGHT})
    assert held == {"mic": BROUGHT if wins else own, "other": own}
