"""`credential:NAME` in a configuration: what the service, and whoever looks at it, makes of it."""

import sys
from pathlib import Path

import pytest

from edge_agent import configfile
from edge_agent.commands import doctor_service
from edge_agent.commands.device import with_paths
from edge_agent.commands.install import credentials
from edge_agent.fleet.credentials import KNOWN
from tests.test_install import CONFIG, DROP_IN, PUT, agent, files, put

TEXT = """
mqtt:
  password_file: own.password
  tls:
    ca: credential:mqtt-ca
    certificate: credential:mqtt-certificate
    key: credential:mqtt-key
"""
FOLDER = "etc/earshot/credentials"


@pytest.mark.parametrize("given", ["/run/credentials/earshot-agent.service", None])
def test_the_service_reads_what_it_was_given_and_others_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if given is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", given)
    (tmp_path / "agent.yaml").write_text(TEXT)
    loaded = configfile.load(tmp_path / "agent.yaml")
    mqtt = with_paths(loaded.config.mqtt, loaded)
    where = given or f"/{FOLDER}"
    assert mqtt.tls is not None
    assert mqtt.tls.ca == f"{where}/mqtt-ca"
    assert mqtt.tls.certificate == f"{where}/mqtt-certificate"
    assert mqtt.tls.key == f"{where}/mqtt-key"
    assert mqtt.password_file == str(tmp_path / "own.password")


def test_each_credential_that_is_there_is_handed_over_and_no_other(tmp_path: Path) -> None:
    put(tmp_path, str(Path(sys.executable).parent / "edge-agent").lstrip("/"), "")
    put(tmp_path, f"{FOLDER}/mqtt-key", "secret")
    put(tmp_path, f"{FOLDER}/other", "not ours")
    agent("install", "--root", str(tmp_path))
    lines = files(tmp_path)[DROP_IN].splitlines()
    assert [line for line in lines if line.startswith("Load")] == [
        "LoadCredential=mqtt-key:/etc/earshot/credentials/mqtt-key"
    ]
    (fine,) = doctor_service.service(tmp_path)
    assert fine.status == "ok"
    put(tmp_path, f"{FOLDER}/mqtt-ca", "more")
    (tmp_path / FOLDER / "mqtt-key").unlink()
    missing, unheard = sorted(doctor_service.service(tmp_path), key=lambda one: one.found[-3:])
    told = {missing.found, unheard.found}
    assert told == {
        f"there is no {tmp_path / FOLDER / 'mqtt-key'}, without which the service cannot start",
        f"the service is not given {tmp_path / FOLDER / 'mqtt-ca'}",
    }
    assert {missing.status, unheard.status} == {"fault"}
    agent("install", "--root", str(tmp_path))
    assert [one.status for one in doctor_service.service(tmp_path)] == ["ok"]
    (tmp_path / FOLDER / "mqtt-ca").unlink()
    agent("install", "--root", str(tmp_path))
    assert DROP_IN not in files(tmp_path)


def test_the_office_and_the_unit_know_the_same_credentials() -> None:
    assert [f"/{FOLDER}/{name}" for name in sorted(KNOWN)] == sorted(credentials())


def test_a_configuration_in_json_stays_one(tmp_path: Path) -> None:
    given = tmp_path / "given.json"
    given.write_text('{"alerts": {}, "mqtt": {"ack_timeout_s": 1e1}}\n')
    root = tmp_path / "root"
    root.mkdir()
    agent("install", "--root", str(root), "--config", str(given))
    as_json = CONFIG.replace(".yaml", ".json")
    assert sorted(files(root)) == sorted([as_json, *(one for one in PUT if one != CONFIG)])
    assert (root / as_json).read_text() == given.read_text()
    unit = "etc/systemd/system/earshot-agent.service"
    assert files(root)[unit].count("/etc/earshot/agent.json") == 1
    assert "agent.yaml" not in files(root)[unit]
