"""`fleet render`, `diff`, `show`, `explain`, `list`, `schema`: the commands on real folders."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from edge_agent import configfile
from edge_agent.config import Config
from edge_agent.fleet import schemas
from edge_agent.fleet.differing import difference
from edge_agent.fleet.parcels import content
from edge_agent.fleet.provenance import places
from edge_agent.fleet.rendering import Renderer, canonical
from edge_agent.release import Release
from tests.fleets import ROOT, committed, edge_agent, found, git, read, sample, small

SAMPLE = ROOT / "firmware_configs"


def bytes_below(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_a_rendered_configuration_is_what_the_agent_reads(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    done = edge_agent("fleet", "render", "--out", "../out", cwd=path)
    assert done.stdout == "3 devices written to ../out, release 1\n"
    for folder in (one for one in (tmp_path / "out").iterdir() if one.is_dir()):
        data = (folder / "config.json").read_bytes()
        loaded = configfile.load(folder / "config.json")
        assert isinstance(loaded.config, Config)
        assert loaded.config.site.device == folder.name
        # Sorted keys, and numbers that read back as they were.
        assert json.loads(data) == json.loads(json.dumps(json.loads(data), sort_keys=True))
        keys = list(json.loads(data))
        assert keys == sorted(keys)
        release = json.loads((folder / "release.json").read_bytes())
        assert release["config_sha256"] == hashlib.sha256(data).hexdigest()
        assert release["source"] is None
        checked = edge_agent("config", "check", str(folder / "config.json"), cwd=tmp_path)
        assert (checked.returncode, checked.stdout) == (0, "0 errors in 1 file\n")
    market = json.loads((tmp_path / "out" / "market-01" / "release.json").read_bytes())
    assert market["calibration"] == {"offset_db": 119.8, "date": "2026-10-02"}


def test_the_same_folder_gives_the_same_bytes_on_any_machine(tmp_path: Path) -> None:
    first = committed(sample(tmp_path / "fleet"))
    assert edge_agent("fleet", "render", cwd=first).returncode == 0
    # Another place, another order on disk, another zone, language and hash seed.
    second = tmp_path / "elsewhere"
    git("clone", "-q", str(first), str(second), cwd=tmp_path)
    for file in sorted(second.glob("*/*.yaml"), reverse=True):
        text = file.read_bytes()
        file.unlink()
        file.write_bytes(text)
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
        "TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "7",
    }  # fmt: skip
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "edge_agent", "fleet", "render", "--dir", str(second)],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )
        assert bytes_below(second / "build") == bytes_below(first / "build")
    release = json.loads((first / "build" / "depot-01" / "release.json").read_bytes())
    assert release["source"]["clean"] is True
    (first / "fleet.yaml").write_text((first / "fleet.yaml").read_text() + "\n")
    edge_agent("fleet", "render", cwd=first)
    release = json.loads((first / "build" / "depot-01" / "release.json").read_bytes())
    assert release["source"]["clean"] is False


def test_the_order_of_rows_and_keys_changes_no_configuration(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    edge_agent("fleet", "render", cwd=path)
    before = {k: v for k, v in bytes_below(path / "build").items() if "provenance" not in k}
    header, *rows = (path / "fleet.csv").read_text().splitlines()
    (path / "fleet.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    site = yaml.safe_load((path / "sites" / "example-city.yaml").read_text())
    turned = dict(reversed(site.items())) | {"mqtt": dict(reversed(site["mqtt"].items()))}
    (path / "sites" / "example-city.yaml").write_text(yaml.safe_dump(turned, sort_keys=False))
    edge_agent("fleet", "render", cwd=path)
    after = {k: v for k, v in bytes_below(path / "build").items() if "provenance" not in k}
    assert after == before


def test_what_is_rendered_of_a_device_that_is_gone_goes_too(tmp_path: Path) -> None:
    path = small(tmp_path / "fleet")
    edge_agent("fleet", "render", cwd=path)
    (path / "build" / "ear-1" / "mine.txt").write_text("kept")
    (path / "fleet.csv").write_text("device,board,mic,site\near-2,pi,mic-1,town\n")
    edge_agent("fleet", "render", cwd=path)
    assert sorted(bytes_below(path / "build")) == [
        ".earshot-render",
        "ear-1/mine.txt",
        "ear-2/config.json",
        "ear-2/provenance.json",
        "ear-2/release.json",
    ]


def test_nothing_is_rendered_from_errors_nor_into_a_strange_folder(tmp_path: Path) -> None:
    path = small(tmp_path / "fleet", {"sites/town.yaml": "mqtt: {port: 0}\n"})
    done = edge_agent("fleet", "render", cwd=path)
    assert done.returncode == 1
    assert "sites/town.yaml:1:14: error: mqtt.port" in done.stdout
    assert not (path / "build").exists()
    (path / "sites" / "town.yaml").write_text("mqtt: {port: 1}\n")
    done = edge_agent("fleet", "render", "--out", str(path), cwd=path)
    assert (done.returncode, "holds other things" in done.stderr) == (2, True)
    done = edge_agent("fleet", "render", "--dry-run", cwd=path)
    assert done.stdout == "would write 1 device to build\n"
    assert not (path / "build").exists()


def test_provenance_names_the_place_of_every_rendered_value(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    text = (path / "fleet.csv").read_text().replace("outbox.max_mb", "mqtt.tls.ca")
    (path / "fleet.csv").write_text(text)
    (path / "sites" / "example-city.yaml").write_text("about: no TLS here, so base.yaml's null\n")
    fleet = read(path)
    renderer = Renderer(fleet, None)
    for device in fleet.devices:
        rendered = renderer.render(device)
        assert json.loads(rendered.provenance) == dict(places(fleet.tree(device)))


def test_show_and_explain_say_where_a_value_comes_from(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    shown = edge_agent("fleet", "show", "market-02", cwd=path).stdout
    assert "  max_mb: 200.0  # fleet.csv:3:99\n" in shown
    assert '  host: "mq.example-city.example"  # sites/example-city.yaml:5:9\n' in shown
    plain = json.loads(edge_agent("fleet", "show", "market-02", "--json", cwd=path).stdout)
    assert yaml.safe_load(shown) == plain
    explained = edge_agent(
        "fleet", "explain", "outbox.max_mb", "--device", "market-02", cwd=path
    ).stdout
    assert explained == (
        "outbox.max_mb = 200.0\n"
        "  fleet.csv:3:99           200.0  in force\n"
        "  hardware/pi-4.yaml:3:18  128.0  overridden\n"
        "  base.yaml:116:11         64.0   overridden\n"
    )
    done = edge_agent("fleet", "explain", "mqtt.prt", "--device", "market-02", cwd=path)
    assert (done.returncode, "Did you mean mqtt.port?" in done.stderr) == (2, True)
    done = edge_agent("fleet", "show", "market-2", cwd=path)
    assert (done.returncode, "Did you mean market-" in done.stderr) == (2, True)


def test_list_takes_what_fits_every_word(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    names = ("fleet", "list", "--json", "site=example-*", "group=city-noise", "m*")
    listed = [json.loads(line) for line in edge_agent(*names, cwd=path).stdout.splitlines()]
    assert [one["device"] for one in listed] == ["market-01", "market-02"]
    assert listed[0]["layers"][-1] == "groups/uplink-lte.yaml"
    assert edge_agent("fleet", "list", "ring=gold", cwd=path).returncode == 2
    assert edge_agent("fleet", "list", "colour=red", cwd=path).returncode == 2


def test_diff_shows_what_a_change_does_to_which_devices(tmp_path: Path) -> None:
    path = committed(sample(tmp_path / "fleet"))
    git("tag", "v1", cwd=path)
    assert edge_agent("fleet", "diff", cwd=path).stdout == "3 devices unchanged\n"
    site = path / "sites" / "example-city.yaml"
    site.write_text(site.read_text().replace("mq.example", "mq2.example"))
    noise = path / "groups" / "security.yaml"
    noise.write_text(noise.read_text() + "  extra: {labels: [siren]}\n")
    rows = (path / "fleet.csv").read_text().replace("market-02", "market-03").splitlines()
    rows[1] = rows[1].replace("119.8", "120.5")
    (path / "fleet.csv").write_text("\n".join(rows) + "\n")
    done = edge_agent("fleet", "diff", "v1", "--exit-code", cwd=path)
    assert (done.returncode, done.stderr) == (1, "")
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        (
            'mqtt.host "mq.example-city.example" → "mq2.example-city.example" 2 devices '
            "sites/example-city.yaml:5:9"
        ),
        'alerts.extra (none) → {"labels": ["siren"]} 1 device groups/security.yaml:6:19',
        (
            "calibration 119.8 dB of 2026-10-02 → 120.5 dB of 2026-10-02 1 device "
            "fleet.csv:lab_offset_db"
        ),
        "+ market-03 (new)",
        "- market-02 (retired)",
        "0 devices unchanged",
        "touches connectivity: 2 devices (mqtt.*, site.*): try it on a few of them first",
    ]
    only = edge_agent("fleet", "diff", "v1", "depot-*", "--key", "alerts", "--json", cwd=path)
    told = json.loads(only.stdout)
    assert [(one["key"], one["devices"]) for one in told["changes"]] == [
        ("alerts.extra", ["depot-01"])
    ]
    assert (told["added"], told["retired"]) == ([], [])
    # Nothing in the folder was touched by looking.
    assert not (path / "build").exists()


def test_diff_needs_a_revision_without_errors(tmp_path: Path) -> None:
    path = small(tmp_path / "fleet", {"sites/town.yaml": "mqtt: {port: 0}\n"})
    done = edge_agent("fleet", "diff", cwd=path)
    assert (done.returncode, "has 1 error, the first at sites/town.yaml:1:14" in done.stderr) == (
        2,
        True,
    )
    committed(path)
    (path / "sites" / "town.yaml").write_text("mqtt: {port: 1}\n")
    done = edge_agent("fleet", "diff", cwd=path)
    assert (done.returncode, done.stderr.startswith("edge-agent: HEAD has 1 error")) == (2, True)
    done = edge_agent("fleet", "diff", "nowhere", cwd=path)
    assert (done.returncode, "git knows no such revision" in done.stderr) == (2, True)
    done = edge_agent("fleet", "diff", "--", "--output=x", cwd=path)
    assert (done.returncode, "git knows no such revision" in done.stderr) == (2, True)


def test_a_folder_within_a_repository_is_compared_with_itself(tmp_path: Path) -> None:
    sample(tmp_path / "deep" / "fleet")
    committed(tmp_path)
    path = tmp_path / "deep" / "fleet"
    assert edge_agent("fleet", "diff", cwd=path).stdout == "3 devices unchanged\n"


def test_a_fleet_does_not_differ_from_itself(tmp_path: Path) -> None:
    fleet = read(sample(tmp_path / "fleet"))
    found = difference(fleet, read(tmp_path / "fleet"), fleet.devices)
    assert (found.changes, found.unchanged, found.cut_off) == ((), 3, 0)


@pytest.mark.parametrize("name", sorted(schemas.SCHEMAS))
def test_the_committed_schemas_are_those_of_the_code(name: str, tmp_path: Path) -> None:
    committed_text = (SAMPLE / "schema" / f"{name}.schema.json").read_text("utf-8")
    assert committed_text == schemas.text(name), "scripts/schemas writes them"
    assert edge_agent("fleet", "schema", name, cwd=tmp_path).stdout == committed_text
    jsonschema.Draft202012Validator.check_schema(json.loads(committed_text))


def samples() -> list[Path]:
    return sorted([*SAMPLE.glob("*/*.yaml"), SAMPLE / "base.yaml", SAMPLE / "fleet.yaml"])


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_every_sample_names_a_schema_and_is_valid_by_it(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = json.loads((path.parent / first.partition("=")[2]).read_text("utf-8"))
    jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), schema)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("alerts: {loud: null}", True),
        ('mqtt: {port: "${port}"}', True),
        ('levels: {indicators: ["${x}"]}', True),
        ("mqtt: {port: 0}", False),
        ("mqtt: {prot: 1}", False),
        ("mqtt: null", False),
        ("alerts: {loud: {for_s: abc}}", False),
    ],
)
def test_the_schema_of_layers_takes_what_a_layer_may_say(text: str, valid: bool) -> None:
    validator = jsonschema.Draft202012Validator(schemas.layer_schema())
    assert validator.is_valid(yaml.safe_load(text)) is valid


def test_config_check_tells_all_that_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("mqtt: {prot: 1, port: 0}\nsite: {site: no}\n")
    done = edge_agent("config", "check", "site.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert [line.partition(". ")[0] for line in done.stdout.splitlines()] == [
        "site.yaml:1:8: error: mqtt.prot: is not a setting",
        "site.yaml:1:23: error: mqtt.port: found 0",
        "site.yaml:2:14: error: site.site: found `no`, which YAML may read as true or false",
        "3 errors in 1 file",
    ]
    (tmp_path / "site.yaml").write_text("alerts: {x: {labels: [sirn]}}\n")
    done = edge_agent("config", "check", "--json", "site.yaml", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (told["key"], told["line"], told["column"]) == ("alerts.x.labels", 1, 14)


def test_config_show_and_explain_tell_defaults_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("mqtt:\n  port: 1884\n")
    where = ("--config", "site.yaml")
    shown = edge_agent("config", "show", *where, cwd=tmp_path).stdout
    assert "  port: 1884  # site.yaml:2:3\n" in shown
    assert '  host: "localhost"  # default\n' in shown
    assert configfile.load(tmp_path / "site.yaml").config.mqtt.port == 1884
    plain = json.loads(edge_agent("config", "show", "--json", *where, cwd=tmp_path).stdout)
    assert yaml.safe_load(shown) == plain
    explained = edge_agent("config", "explain", "mqtt.port", *where, cwd=tmp_path).stdout
    assert explained == "mqtt.port = 1884\n  site.yaml:2:3\n"
    schema = edge_agent("config", "schema", "--layer", cwd=tmp_path).stdout
    assert schema == schemas.text("layer")


def test_each_release_holds_the_hash_of_the_bill_of_materials(tmp_path: Path) -> None:
    fleet = small(tmp_path)
    device = read(fleet).devices[0]

    def release() -> Release:
        return Renderer(read(fleet), None).release(device)[1]

    before = release()
    assert b"sbom" not in canonical(before)
    (fleet / "fleet.yaml").write_text("sbom: agent.cdx.json\n")
    assert found(fleet) == [
        (
            "fleet.yaml:1:7: error: sbom: agent.cdx.json: No such file or directory. "
            "Write it by `cyclonedx-py environment`, of what the devices have installed."
        )
    ]
    bill = fleet / "agent.cdx.json"
    bill.write_text('{"bomFormat": "SPDX"}')
    (line,) = found(fleet)
    assert "agent.cdx.json: is no CycloneDX as JSON: Invalid enum value 'SPDX'" in line
    bill.write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6"}')
    assert found(fleet) == []
    after = release()
    assert after.sbom_sha256 == hashlib.sha256(bill.read_bytes()).hexdigest()
    # It changes nothing on a device, which is not restarted for it.
    assert content(after) == content(before)
