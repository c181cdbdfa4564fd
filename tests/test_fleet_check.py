"""`fleet check`: all findings at once, each at its line, with the devices that it hits."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.configtree import Problem
from edge_agent.errors import EarshotError
from tests.fleets import ROOT, edge_agent, found, report, sample, small

PLAIN = "mqtt: {host: mq.example.org}\n"


def test_the_sample_folder_is_valid_as_it_is(tmp_path: Path) -> None:
    made = edge_agent("fleet", "init", "my-fleet", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = edge_agent("fleet", "check", cwd=tmp_path / "my-fleet")
    expected = "0 errors, 0 warnings; 3 devices checked, 0 affected\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    again = edge_agent("fleet", "init", "my-fleet", cwd=tmp_path)
    assert (again.returncode, "is not an empty folder" in again.stderr) == (2, True)


def test_everything_wrong_is_told_in_one_pass_in_the_order_of_files(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    (path / "fleet.csv").write_text(
        "device,board,mic,site,groups\n"
        "a,pi-4,umik-1,example-city,city-noise\n"
        "b,pi-4,umik-1,example-cty,\n"
        "c,pi-5,usb-generic,example-city,city-noise nobody\n"
        "C,pi-5,usb-generic,example-city,\n"
    )
    (path / "groups" / "city-noise.yaml").write_text("alerts:\n  sirn: null\nmqtt: {prot: 1}\n")
    (path / "microphones" / "umik-1.yaml").write_text("microphones:\n  mic: {rate: 48k}\n")
    (path / "sites" / "unused.yaml").write_text("mqtt: {port: 0}\n")
    done = edge_agent("fleet", "check", "--dir", "fleet", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        (
            'fleet/fleet.csv:3:15: error: site: device b: "example-cty": there is no '
            "sites/example-cty.yaml. Did you mean example-city? (1 device)"
        ),
        (
            'fleet/fleet.csv:4:33: error: groups: device c: "nobody": there is no '
            "groups/nobody.yaml. Write that file. (1 device)"
        ),
        (
            'fleet/fleet.csv:5:1: error: device: device C: found the text "C". Allowed: up to 63 '
            "of a-z, 0-9 and -, beginning with a letter or digit."
        ),
        (
            "fleet/groups/city-noise.yaml:2:9: error: alerts.sirn: null removes nothing: no lower "
            "layer has it. No lower layer has an entry there. (2 devices)"
        ),
        (
            "fleet/groups/city-noise.yaml:3:8: error: mqtt.prot: is not a setting. Did you mean "
            "`port`? Allowed here: host, port, version, root, client_id, username, password_file, "
            "tls, keepalive_s, ack_timeout_s, window, drain_per_s. (2 devices)"
        ),
        (
            "fleet/microphones/umik-1.yaml:2:15: error: microphones.mic.rate: found the text "
            '"48k". Allowed: a whole number from 8000 up to 192000. (2 devices)'
        ),
        (
            "fleet/sites/unused.yaml:1:14: error: mqtt.port: found 0. Allowed: a whole number from "
            "1 up to 65535."
        ),
        "7 errors, 0 warnings; 3 devices checked, 3 affected",
    ]


def test_programs_and_github_get_the_same_findings(tmp_path: Path) -> None:
    path = small(tmp_path, {"sites/town.yaml": "mqtt:\n  prot: 1\n"})
    done = edge_agent("fleet", "check", "--json", cwd=path)
    told = json.loads(done.stdout)
    assert (told["file"], told["line"], told["column"]) == ("sites/town.yaml", 2, 3)
    assert (told["severity"], told["key"], told["devices"]) == ("error", "mqtt.prot", 1)
    annotated = edge_agent("fleet", "check", "--github", cwd=path).stdout
    assert annotated.startswith("::error file=sites/town.yaml,line=2,col=3::mqtt.prot: is not a")


# Lines and columns are counted by hand, from 1.
@pytest.mark.parametrize(
    ("town", "expected"),
    [
        ("mqtt: {host: localhost}\n", []),
        (
            PLAIN,
            ["sites/town.yaml:1:14: error: mqtt.host: mq.example.org is spoken to without TLS. "],
        ),
        (
            "alerts: {x: {labels: [sirene]}}\n",
            ["sites/town.yaml:1:22: error: alerts.x.labels: the model street has no label 'siren"],
        ),
        (
            "events: {labels: {sirene: {on: 0.5}}}\n",
            ["sites/town.yaml:1:18: error: events.labels: the model street has no label 'sirene'"],
        ),
        (
            "events: {labels: {siren: {on: 0.3, off: 0.4}}}\n",
            ["sites/town.yaml:1:26: error: events.labels.siren: off 0.4 is above on 0.3. "],
        ),
        (
            "events: {labels: {siren: {n: 5, m: 4}}}\n",
            ["sites/town.yaml:1:26: error: events.labels.siren: n 5 is above m 4. Set `n` to at "],
        ),
        (
            "alerts: {x: {indicator: LAeq, above_db: 70, for_s: 1}}\n",
            ["sites/town.yaml:1:41: warning: alerts.x.above_db: the rule rests until the micro"],
        ),
        (
            "alerts: {x: {labels: [siren], min_duration_s: 700}}\n",
            ["sites/town.yaml:1:47: error: alerts.x.min_duration_s: 700 s is longer than any ev"],
        ),
        (
            (
                "alerts: {x: {labels: [siren], min_duration_s: 0.1}}\n"
                "events: {labels: {siren: {n: 2, m: 3}}}\n"
            ),
            ["sites/town.yaml:1:47: warning: alerts.x.min_duration_s: 0.1 s asks for nothing: a"],
        ),
        (
            "events: {labels: {siren: {cooldown_s: 900}}}\n",
            ["sites/town.yaml:1:39: warning: events.labels.siren.cooldown_s: 900 s of silence f"],
        ),
        (
            "model: {path: models/elsewhere}\n",
            ["sites/town.yaml:1:15: error: model.path: models/elsewhere: there is no "],
        ),
        (
            "microphones: {mic: {rate: 44100, channels: 2}}\n",
            [
                "sites/town.yaml:1:27: error: microphones.mic.rate: the microphone has no 44100 Hz",
                "sites/town.yaml:1:44: error: microphones.mic.channels: the microphone has no 2 ch",
            ],
        ),
        (
            "alerts: {x: {for_s: 3}}\n",
            ["sites/town.yaml:1:13: error: alerts.x: a rule has either `labels` or `indicator`"],
        ),
        (
            "bounds: {south: 3, north: 2, west: 0, east: 1}\n",
            ["sites/town.yaml:1:9: error: bounds: `south` is at most `north`, and `west` at mos"],
        ),
        (
            (
                "levels: {indicators: [LAFmax]}\nalerts: {x: {indicator: LAeq, above_dbfs: -9, "
                "for_s: 3}}\n"
            ),
            ["sites/town.yaml:2:13: error: alerts.x needs the indicator LAeq, and levels.indica"],
        ),
    ],
)
def test_what_no_schema_says_is_told_at_the_setting(
    tmp_path: Path, town: str, expected: list[str]
) -> None:
    files = {
        "sites/town.yaml": town,
        "microphones/mic-1.yaml": "offers: {rates: [48000], channels: 1}\n",
    }
    lines = found(small(tmp_path, files))
    assert len(lines) == len(expected), lines
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(beginning)


def test_a_broker_without_tls_must_be_named_in_so_many_words(tmp_path: Path) -> None:
    files = {"sites/town.yaml": PLAIN, "fleet.yaml": "allow_plaintext: [mq.example.org]\n"}
    assert found(small(tmp_path, files)) == []


def test_a_laboratory_calibration_wakes_a_rule_in_decibels(tmp_path: Path) -> None:
    files = {
        "sites/town.yaml": "alerts: {x: {indicator: LAeq, above_db: 70, for_s: 1}}\n",
        "fleet.csv": "device,board,mic,site,lab_offset_db,lab_date\n"
        "ear-1,pi,mic-1,town,119.8,2026-10-02\n",
    }
    assert found(small(tmp_path, files)) == []


def test_devices_that_would_throw_each_other_out_or_flood_a_broker_are_told(
    tmp_path: Path,
) -> None:
    rows = "".join(f"ear-{number},pi,mic-1,town\n" for number in range(30))
    files = {
        "fleet.csv": f"device,board,mic,site\n{rows}",
        "sites/town.yaml": "mqtt:\n  client_id: same\n  drain_per_s: 1000\n",
    }
    lines = found(small(tmp_path, files))
    assert [line.partition(". ")[0] for line in lines] == [
        (
            "sites/town.yaml:2:14: error: mqtt.client_id: several devices have the same at one "
            "broker and would throw each other out"
        ),
        (
            "sites/town.yaml:3:16: warning: mqtt.drain_per_s: after an outage 30 devices would "
            "send 30000 messages a second to localhost"
        ),
    ]
    assert all(line.endswith("(30 devices)") for line in lines)


def test_a_retired_device_keeps_its_name_and_needs_no_files(tmp_path: Path) -> None:
    files = {
        "fleet.csv": "device,board,mic,site,state\nold,gone,gone,gone,retired\n"
        "ear-1,pi,mic-1,town,planned\n"
    }
    assert found(small(tmp_path, files)) == []


def test_files_that_nobody_reads_are_told(tmp_path: Path) -> None:
    files = {"sites/Town.yaml": "", "groups/a.yml": "", "devices/ear-2.yaml": "{}\n"}
    lines = found(small(tmp_path, files))
    assert [line.split(". ")[0] for line in lines] == [
        "devices/ear-2.yaml:1:1: error: no device is called ear-2",
        "groups/a.yml: error: is no layer",
        "sites/Town.yaml: error: is no layer",
    ]


def test_a_column_changes_an_entry_and_never_makes_one(tmp_path: Path) -> None:
    files = {"fleet.csv": "device,board,mic,site,microphones.mc.rate\near-1,pi,mic-1,town,44100\n"}
    (line,) = found(small(tmp_path, files))
    assert line == (
        "fleet.csv:1:23: error: microphones.mc.rate: no layer has microphones.mc. Did you mean "
        "`mic`? (1 device)"
    )


def test_folders_that_are_none_are_refused_in_two_lines(tmp_path: Path) -> None:
    done = edge_agent("fleet", "check", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    (tmp_path / "fleet.yaml").write_text("{}")
    done = edge_agent("fleet", "check", cwd=tmp_path)
    assert done.returncode == 2
    assert "fleet.csv: cannot be read" in done.stderr


def sample_files() -> list[str]:
    root = ROOT / "firmware_configs"
    kinds = ("*.yaml", "*.csv", "*/*.yaml")
    files = [path for kind in kinds for path in root.glob(kind)]
    return sorted(
        path.relative_to(root).as_posix()
        for path in files
        if path.name not in ("agent.yaml", "demo.yaml")
    )


CHARACTERS = "a0-_.:,;#{}[]\"'&*!|>%@`$\t \n\\~?=\u00e9\x00"


def mutated(text: str, at: int, how: str, character: str) -> str:
    """The text with one character changed, taken away or put in."""
    match how:
        case "changed":
            return text[:at] + character + text[at + 1 :]
        case "gone":
            return text[:at] + text[at + 1 :]
        case _:
            return text[:at] + character + text[at:]


@pytest.mark.parametrize("name", sample_files())
@settings(max_examples=25)
@given(data=st.data())
def test_one_character_is_accepted_or_named_in_its_file(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"mutations-{name.replace('/', '-')}-{os.getpid()}"
    if not path.exists():
        sample(path)
    original = (path / name).read_text("utf-8")
    at = data.draw(st.integers(0, len(original) - 1))
    how = data.draw(st.sampled_from(("changed", "gone", "added")))
    character = data.draw(st.sampled_from(CHARACTERS))
    (path / name).write_text(mutated(original, at, how, character), "utf-8", newline="")
    try:
        findings = report(path).findings
    finally:
        (path / name).write_text(original, "utf-8", newline="")
    if not findings:
        return
    line = original.count("\n", 0, at) + 1
    told = [one.problem for one in findings if names(one.problem, name, line, original)]
    elsewhere = [one for one in findings if (name, one.problem.place.file) in ASKED_ELSEWHERE]
    assert told or elsewhere, (findings[0], line, how, character)


ASKED_ELSEWHERE = {
    ("fleet.yaml", "base.yaml"),  # a lock's owner may be another one
    ("fleet.yaml", "sites/example-city.yaml"),
    ("groups/city-noise.yaml", "groups/security.yaml"),  # which takes its alert away
    ("microphones/umik-1.yaml", "groups/city-noise.yaml"),  # whose alert asks for a calibration
    ("sites/example-city.yaml", "fleet.csv"),  # whose positions are within its bounds
}


def names(problem: Problem, name: str, line: int, text: str) -> bool:
    """Whether a finding leads to a line: at it or the next, or within its block of settings.

    A comment that loses its end swallows the setting below it, so that the one after that is told.

    An error of YAML's grammar shows where it can no longer be overlooked: the line lies between
    there and the beginning that the message names.
    """
    if problem.place.file != name:
        return False
    lines = text.splitlines()
    last = line + 1
    if line <= len(lines) and lines[line - 1].lstrip().startswith("#"):
        settings_below = [
            n
            for n, one in enumerate(lines, 1)
            if n > line and one.strip() and one.strip()[0] != "#"
        ]
        last = max([last, *settings_below[:2]])
    if problem.place.line == 0 or line <= problem.place.line <= last:
        return True
    if not problem.key:
        begins = re.search(r"begins in line (\d+)", problem.found)
        return begins is not None and int(begins[1]) - 1 <= line <= problem.place.line
    tops = [n for n, one in enumerate(text.splitlines(), 1) if one[:1] not in ("", " ", "#")]
    block = max((top for top in tops if top <= line), default=1)
    after = min((top for top in tops if top > line), default=10_000)
    return block - 1 <= problem.place.line <= after


def test_the_finding_about_a_folder_does_not_depend_on_its_order(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    rows = (path / "fleet.csv").read_text().splitlines()
    text = (path / "sites" / "example-city.yaml").read_text().replace("port", "prt")
    (path / "sites" / "example-city.yaml").write_text(text)
    before = found(path)
    body = rows[1:]
    random.Random(1).shuffle(body)
    (path / "fleet.csv").write_text("\n".join([rows[0], *body]) + "\n")
    assert found(path) == before


def test_the_running_agent_loads_nothing_of_the_fleet() -> None:
    code = "import sys, edge_agent.cli, edge_agent.commands.service\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {name for name in loaded if name.startswith(("edge_agent.fleet", "jsonschema"))}
    assert "edge_agent.cli_office" not in loaded


def test_errors_of_a_folder_are_no_tracebacks(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "fleet.csv").unlink()
    with pytest.raises(EarshotError, match=r"fleet.csv: cannot be read"):
        report(tmp_path)
