"""The configuration file: what is read, and each way of being refused."""

import contextlib
import hashlib
import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import resources
from edge_agent.config import AlertConfig, Config, MicrophoneConfig, TlsConfig
from edge_agent.configfile import find_model, load, placed
from edge_agent.errors import ConfigError

BASE = resources.root() / "firmware_configs" / "base.yaml"


def written(folder: Path, text: str, name: str = "site.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_base_yaml_holds_every_setting_with_its_default() -> None:
    shown = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    assert shown == json.loads(msgspec.json.encode(Config()))


def test_base_yaml_loads_as_the_defaults() -> None:
    assert load(BASE).config == Config()


def test_demo_yaml_raises_alerts_for_what_its_scene_plays() -> None:
    alerts = load(BASE.with_name("demo.yaml")).config.alerts
    assert alerts["emergency"].labels == ("siren",)
    assert alerts["loud"] == AlertConfig(
        indicator="LAeq", above_dbfs=-20.0, for_s=3, severity="info"
    )
    assert set(alerts) == {"emergency", "horn", "impact", "loud"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n", "{}"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text)).config == Config()


def test_a_configuration_carries_its_path_and_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, "mqtt: {port: 8883}\n")
    loaded = load(path)
    assert loaded.path == path
    assert loaded.sha256 == hashlib.sha256(b"mqtt: {port: 8883}\n").hexdigest()
    assert loaded.config.mqtt.port == 8883


def test_maps_lists_and_optional_groups_are_read(tmp_path: Path) -> None:
    text = """
microphones:
  front: {kind: file, path: "a.wav"}
events:
  labels:
    siren: {on: 0.7, off: 0.3, n: 1}
alerts:
  loud: {indicator: LAeq, above_db: 75, for_s: 10}
mqtt:
  tls: {ca: ca.pem}
  version: 3.1.1
levels:
  indicators: [LAFmax, LAeq]
"""
    config = load(written(tmp_path, text)).config
    assert config.microphones == {"front": MicrophoneConfig(kind="file", path="a.wav")}
    assert (config.events.labels["siren"].on, config.events.labels["siren"].n) == (0.7, 1)
    assert config.alerts["loud"].above_db == 75.0
    assert config.mqtt.tls == TlsConfig(ca="ca.pem")
    assert config.mqtt.version == "3.1.1"
    assert config.levels.indicators == ("LAFmax", "LAeq")


def test_json_with_tabs_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff{\n\t"mqtt": {\t"port": 1e3, "host": "a\\tb"}\n}', "site.json")
    with pytest.raises(ConfigError, match=r"site.json:2:20: mqtt.port: found 1000.0"):
        load(path)
    path.write_text('{\n\t"mqtt": {\t"port": 1884}\n}', encoding="utf-8")
    assert load(path).config.mqtt.port == 1884


# Line and column are counted by hand, from 1.
@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("mqtt:\n  prt: 1\n", "site.yaml:2:3: mqtt.prt: is not a setting", "mean `port`"),
        (
            (
                "levels: {indicators: [LAeq]}\n"
                "alerts: {a: {indicator: LAFmax, above_dbfs: 0, for_s: 1}}\n"
            ),
            "alerts.a needs the indicator LAFmax, and levels.indicators holds LAeq",
            "base.yaml",
        ),
        (
            "levels: {indicators: [LAFmax]}\nmicrophones: {a: {noise_floor_dbfs: -80}}\n",
            "microphones.a.noise_floor_dbfs needs the indicator LAeq, and levels.indicators holds",
            "base.yaml",
        ),
        (
            "microphones: {a: {device: 'usb:0d8c:13c'}}\n",
            "'usb:0d8c:13c' is no name of a sound card; write hw:CARD=<id>[,DEV=<number>] or usb:",
            "base.yaml",
        ),
        (
            "site: {timezone: Berlin}\n",
            "site.yaml:1:18: site: timezone 'Berlin' is none of the IANA database, as Europe/Paris",
            "base.yaml",
        ),
        ("site: {timezone: ../../passwd}\n", "'../../passwd' is none of the IANA database", ""),
        ("mqtt: {prot: 1}\n", "mqtt.prot: is not a setting", "mean `port`"),
        ("alerts:\n", "site.yaml:1:8: alerts: found nothing", "key: value"),
        ("mqtt: ~\n", "site.yaml:1:7: mqtt: found nothing", "key: value"),
        (f"mqtt: {{port: {'9' * 5000}}}\n", "mqtt.port: found a number of 5000 digits", "shorter"),
        (f"site: {{latitude: {'9' * 300}}}\n", "site.latitude: found 999", "from -90"),
        ("mqtt:\n  port: 0\n", "site.yaml:2:9: mqtt.port: found 0", "from 1 up to 65535"),
        ("mqtt: {port: abc}\n", 'site.yaml:1:14: mqtt.port: found the text "abc"', "whole number"),
        ("mqtt: {port: 1.5}\n", "mqtt.port: found 1.5", "whole number"),
        ("mqtt: {port: }\n", "mqtt.port: found nothing", "whole number"),
        ("mqtt: {port: true}\n", "mqtt.port: found true", "whole number"),
        ("mqtt: {version: 5}\n", "mqtt.version: found 5", 'In quotes it would be: "5"'),
        ("mqtt: {version: '4'}\n", 'mqtt.version: found the text "4"', '"3.1.1", "5", "auto"'),
        ("mqtt:\n  port: 1\n  port: 2\n", "site.yaml:3:3: mqtt.port: is given twice", "Keep one"),
        ("site: {site: no}\n", "site.site: found `no`", "true or false"),
        ("site: {site: Off}\n", "site.site: found `Off`", "quotes"),
        ("site: {site: True}\n", "site.site: found `True`", "quotes"),
        ("site: {device: 12:30}\n", "site.device: found `12:30`", "quotes"),
        ("site: {device: 2024-01-01}\n", "site.device: found `2024-01-01`", "quotes"),
        ("site: {device: 0123}\n", "site.device: found `0123`", "quotes"),
        ("site: {device: 0x1F}\n", "site.device: found `0x1F`", "quotes"),
        ("site: {latitude: .nan}\n", "site.latitude: found `.nan`", "decimal"),
        ("site: {latitude: 1e999}\n", "site.latitude: found `1e999`", "decimal"),
        ("site: {latitude: 90.5}\n", "site.latitude: found 90.5", "from -90 up to 90 or null"),
        ("site: {site: Town}\n", 'site.site: found the text "Town"', "a-z"),
        ("site: &a {site: x}\n", "site.yaml:1:7: found an anchor", "Write the value"),
        ("site: {site: *a}\n", "site.yaml:1:14: found an alias", "Write the value"),
        ("site: {site: !!str 5}\n", "site.yaml:1:14: found a tag", "Write the value"),
        ("site: {<<: {}}\n", "not a plain name", "plain names"),
        ("? [a]\n: b\n", "site.yaml:1:3: this key is not a plain name", "plain names"),
        ("- a\n", "site.yaml:1:1: found a list", "key: value"),
        ("hello\n", "site.yaml:1:1: found `hello`", "key: value"),
        ("a: 1\n---\nb: 2\n", "site.yaml:2:1: but found another document", "indentation"),
        ("mqtt:\n\tport: 1\n", "site.yaml:2:1: ", "no tabs"),
        ("mqtt: [1, 2\n", "site.yaml:2:1: ", "brackets"),
        ("site: \x01\n", "site.yaml:1:7: is not YAML", "base.yaml"),
        ("mqtt: {host: {a: 1}}\n", "mqtt.host: found settings", "one value"),
        ("levels: {indicators: LAeq}\n", 'found the text "LAeq"', "a list of at least 1"),
        ("levels: {indicators: []}\n", "levels.indicators: found a list", "at least 1"),
        (
            "levels:\n  indicators: [LAeq, L10]\n",
            'site.yaml:2:22: levels.indicators[2]: found the text "L10"',
            '"LAFmax", "LAFmin", "LASmax"',
        ),
        (
            "microphones:\n  Front: {}\n",
            'site.yaml:2:3: microphones.Front: found the text "Front"',
            "a-z",
        ),
        (
            "microphones:\n  a: {}\n  b:\n    rate: 7999\n",
            "site.yaml:4:11: microphones.b.rate: found 7999",
            "from 8000 up to 192000",
        ),
        (
            "microphones:\n  b:\n    channel: 2\n",
            "site.yaml:3:14: microphones.b: channel 2 of 1 channels",
            "base.yaml",
        ),
        ("microphones: {}\n", "at least one microphone", "base.yaml"),
        ("alerts:\n  x: {for_s: 3}\n", "site.yaml:2:6: alerts.x: a rule has either", "base.yaml"),
        ("mqtt:\n  tls:\n    key: k\n", "site.yaml:3:5: mqtt.tls: `certificate`", "base.yaml"),
        ("events: {labels: {a: {on: 1}}}\n", "events.labels.a.on: found 1", "above 0 below 1"),
    ],
)
def test_a_refusal_names_place_key_and_what_is_allowed(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot be read: No such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"# a\nsite: {site: caf\xe9}\n")
    with pytest.raises(ConfigError, match=r"latin.yaml:2: is not UTF-8: found byte 0xe9"):
        load(latin)
    with pytest.raises(ConfigError, match=r"bad.json:1:2: is not JSON"):
        load(written(tmp_path, "{a: 1}", "bad.json"))


@pytest.mark.parametrize("name", ["site.json", "site.yaml"])
@pytest.mark.parametrize("depth", [300, 450, 480, 490, 2000])
def test_what_is_nested_too_deeply_is_refused(tmp_path: Path, name: str, depth: int) -> None:
    text = '{"site": {"site": ' + "[" * depth + "]" * depth + "}}"
    with pytest.raises(ConfigError, match=f"{name}: is nested too deeply|found a list"):
        load(written(tmp_path, text, name))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_but_never_breaks_the_loader(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigError):
        load(path)


@given(
    st.builds(
        MicrophoneConfig,
        kind=st.just("file"),
        path=st.text(min_size=1),
        device=st.text(min_size=1),
        channels=st.integers(1, 32),
        rate=st.integers(8000, 192000),
    )
)
def test_what_json_holds_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, mic: MicrophoneConfig
) -> None:
    path = tmp_path_factory.getbasetemp() / "mic.json"
    path.write_text(json.dumps({"microphones": {"m": msgspec.to_builtins(mic)}}), "utf-8")
    assert load(path).config.microphones == {"m": mic}


def test_a_path_is_looked_for_beside_the_file_and_then_among_what_is_shipped(
    tmp_path: Path,
) -> None:
    shipped = resources.root() / "firmware_configs"
    assert find_model("firmware_configs", tmp_path / "site.yaml") == shipped
    own = tmp_path / "firmware_configs"
    own.mkdir()
    assert find_model("firmware_configs", tmp_path / "site.yaml") == own
    assert find_model("firmware_configs", tmp_path) == own
    assert find_model("firmware_configs", None) == shipped
    assert find_model(str(own), None) == own
    with pytest.raises(ConfigError, match=r"nowhere: there is no .*nowhere nor .*nowhere"):
        find_model("nowhere", tmp_path)


def yaml_examples(page: Path) -> list[str]:
    return [part.split("```")[0] for part in page.read_text("utf-8").split("```yaml\n")[1:]]


def test_the_examples_of_the_manual_load(tmp_path: Path) -> None:
    examples = yaml_examples(Path(__file__).parent.parent / "docs" / "configuration.md")
    assert examples
    for text in examples:
        assert load(written(tmp_path, text)).config != Config()


def test_every_group_of_settings_is_in_the_sample_under_its_own_name() -> None:
    names = set(yaml.safe_load(BASE.read_text("utf-8")))
    assert names == {field.name for field in msgspec.structs.fields(Config)}


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("events: {max_duration_s: 86401}\n", "events.max_duration_s", "above 0 up to 86400"),
        (
            "events: {labels: {siren: {min_duration_s: 1.0e300}}}\n",
            "events.labels.siren.min_duration_s",
            "from 0 up to 86400 or null",
        ),
        (
            "events: {labels: {siren: {cooldown_s: 1.0e300}}}\n",
            "events.labels.siren.cooldown_s",
            "from 0 up to 86400 or null",
        ),
        (
            "alerts: {a: {labels: [siren], min_duration_s: 1.0e300}}\n",
            "alerts.a.min_duration_s",
            "from 0 up to 86400 or null",
        ),
        (
            "alerts: {a: {indicator: LAeq, above_dbfs: 0, for_s: 86401}}\n",
            "alerts.a.for_s",
            "from 1 up to 86400 or null",
        ),
    ],
)
def test_nothing_lasts_longer_than_a_day(tmp_path: Path, text: str, key: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f": {re.escape(key)}: found ") as caught:
        load(written(tmp_path, text))
    assert allowed in caught.value.hint


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("alerts.loud.labels", "site.yaml:3:5"),
        ("alerts.loud.severity", "site.yaml:2:3"),
        ("site.device", "site.yaml"),
        (None, None),
    ],
)
def test_what_is_refused_later_is_told_with_its_place(
    tmp_path: Path, key: str | None, place: str | None
) -> None:
    loaded = load(written(tmp_path, "alerts:\n  loud:\n    labels: [siren]\n"))
    with pytest.raises(ConfigError) as refused, placed(loaded):
        raise ConfigError("it is wrong", hint="Mend it.", key=key)
    expected = "it is wrong" if place is None else f"{tmp_path}/{place}: it is wrong"
    assert (refused.value.message, refused.value.hint) == (expected, "Mend it.")
