"""What stands on the wire, byte for byte, and that it is what docs/mqtt.md promises."""

import json
import math
import re
from typing import get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import Indicator, SlowIndicator
from edge_agent.health import FAULTS
from edge_agent.messages import (
    MAX_PAYLOAD_BYTES,
    About,
    in_order,
)
from edge_agent.payloads import PAYLOADS, AlertPayload, LevelPayload, MicrophoneInfo, StatePayload
from edge_agent.records import (
    Bands,
    Calibration,
    CaptureHealth,
    ClockHealth,
    Health,
    Message,
    MqttHealth,
    OutboxHealth,
    SystemHealth,
)
from edge_agent.topics import expiry_s, payload_type
from edge_agent.written import json_line
from tests.conftest import ROOT
from tests.sample_records import SHA256, alert, encoder, ended, event, reading, stamp

_HEALTH = Health(
    made_ns=0,
    faults=("mqtt_away",),
    last_block_s=0.0123456,
    last_inference_s=None,
    last_ack_s=1.0,
    capture=(CaptureHealth(microphone="mic", overflows=0, gaps_s=0.0, bad_samples=0, restarts=0),),
    outbox=OutboxHealth(
        rows=3,
        waiting={"alert": 1, "event": 0, "level": 2},
        bytes=1840,
        oldest_s=0.8,
        dropped={"alert": 0, "event": 0, "level": 0},
        set_aside=0,
    ),
    mqtt=MqttHealth(version="5", connects=2, last_error=None, window=20, unheard=0),
    clock=ClockHealth(steps=1, last_step_s=3600.2, last_step_age_s=86100.0),
    system=SystemHealth(
        cpu_c=54.2,
        throttled=False,
        throttled_since_boot=False,
        undervoltage=False,
        undervoltage_since_boot=True,
        pss_mb=47.3,
        capture_pss_mb=12.7,
        mem_available_mb=612.4,
        disk_free_mb=20480.0,
        disk_read_only=None,
    ),
    model_sha256=SHA256,
    config_sha256="a1b2c3d4" + "0" * 56,
)


def payload(record_messages: list[Message]) -> dict[str, object]:
    """The first message's payload as plain JSON."""
    message = record_messages[0]
    found: dict[str, object] = json.loads(message.payload)
    return found


def test_an_uncalibrated_reading_is_written_as_the_contract_shows() -> None:
    (message,) = encoder().encode(
        reading(reading_id="00000000-0000-7a39-97cd-d0fc68475751"), stamp(1)
    )
    # The line of MQTT's contract for `--seed 7`.
    assert json_line(message) == (
        '{"topic":"earshot/default/local/levels/1s","qos":1,"retain":false,"payload":{"v":1,'
        '"id":"00000000-0000-7a39-97cd-d0fc68475751","boot":"dda5906b84a43200","seq":1,'
        '"site":"default","device":"local","microphone":"mic",'
        '"time":"1970-01-01T00:00:01.000Z","time_synced":false,"up_ms":1000,'
        '"start":"1970-01-01T00:00:00.000Z","period_s":1,"heard_s":1.0,"complete":true,'
        '"overload":false,"under_range":false,"calibration":{"offset_db":null,"date":null,'
        '"source":"none","dbfs_ref":"fs_sine_rms"},"LAeq_dbfs":-38.2,"LAFmax_dbfs":-35.9,'
        '"replayed":false}}'
    )


def test_an_event_is_written_as_the_contract_shows() -> None:
    (message,) = encoder().encode(event(), stamp(3.44))
    assert message.payload == (
        b'{"v":1,"id":"00000000-09b0-7f1a-807e-9bb54c5722ce","boot":"dda5906b84a43200","seq":1,'
        b'"site":"default","device":"local","microphone":"mic","time":"1970-01-01T00:00:03.440Z",'
        b'"time_synced":false,"up_ms":3440,"n":0,"phase":"start","label":"siren",'
        b'"start":"1970-01-01T00:00:02.480Z","end":null,"duration_s":0.96,"score":0.91,'
        b'"score_max":0.91,"LAeq_dbfs":-33.1,"LAFmax_dbfs":-30.4,'
        b'"model":{"name":"street","sha256":"3f9c1b7a"},"end_reason":null,"replayed":false}'
    )
    assert message.id == "00000000-09b0-7f1a-807e-9bb54c5722ce/0"


def test_an_alert_is_followed_by_its_state_as_the_contract_shows() -> None:
    first, state = encoder().encode(alert(), stamp(3.44))
    assert first.topic == "earshot/default/local/alerts/emergency"
    assert first.payload == (
        b'{"v":1,"id":"00000000-09b0-7fd0-8a33-a538eca7e905","boot":"dda5906b84a43200","seq":1,'
        b'"site":"default","device":"local","microphone":"mic","time":"1970-01-01T00:00:03.440Z",'
        b'"time_synced":false,"up_ms":3440,"n":0,"phase":"start","rule":"emergency",'
        b'"severity":"warning","kind":"label","start":"1970-01-01T00:00:02.480Z","end":null,'
        b'"duration_s":0.96,"labels":["siren"],"value":0.91,"limit":0.6,'
        b'"events":["00000000-09b0-7f1a-807e-9bb54c5722ce"],"LAeq_dbfs":-33.1,'
        b'"LAFmax_dbfs":-30.4,"end_reason":null,"replayed":false}'
    )
    assert json_line(state) == (
        '{"topic":"earshot/default/local/alerts/emergency/state","qos":1,"retain":true,'
        '"payload":{"v":1,"id":"00000000-09b0-7fd0-8a33-a538eca7e905","site":"default",'
        '"device":"local","microphone":"mic","time":"1970-01-01T00:00:03.440Z",'
        '"time_synced":false,"up_ms":3440,"rule":"emergency","state":"ON",'
        '"since":"1970-01-01T00:00:03.440Z","replayed":false}}'
    )


def test_a_calibrated_reading_carries_its_calibration_and_plain_names() -> None:
    calibrated = msgspec.structs.replace(
        reading(),
        values={"LAeq": 63.449, "LAFmax": 66.05},
        calibration=Calibration(offset_db=119.618, date="2026-05-02", source="calibrator"),
        synced=True,
    )
    found = payload([*encoder().encode(calibrated, stamp(synced=True))])
    # round() to one decimal is half to even on the binary value: 66.05 lies just below.
    assert (found["LAeq"], found["LAFmax"]) == (63.4, 66.0)
    assert found["calibration"] == {
        "offset_db": 119.62,
        "date": "2026-05-02",
        "source": "calibrator",
        "dbfs_ref": "fs_sine_rms",
    }
    assert "LAeq_dbfs" not in found
    assert "up_ms" not in found


def test_a_message_is_synchronised_only_if_its_sound_was() -> None:
    found = payload([*encoder().encode(reading(), stamp(synced=True))])
    assert (found["time_synced"], found["up_ms"]) == (False, 1000)


@given(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)))
def test_no_level_is_ever_nan_or_infinite(laeq_dbfs: float | None) -> None:
    (message,) = encoder().encode(reading(laeq_dbfs=laeq_dbfs), stamp())
    found = msgspec.json.decode(message.payload, type=LevelPayload)
    missing = laeq_dbfs is None or not math.isfinite(laeq_dbfs)
    assert (found.laeq_dbfs is None) == missing
    assert found.reasons == ({"LAeq_dbfs": "not_finite"} if missing else msgspec.UNSET)


def test_a_missing_level_says_why() -> None:
    silent = msgspec.structs.replace(reading(laeq_dbfs=None), reasons={"LAeq_dbfs": "silent_input"})
    found = payload([*encoder().encode(silent, stamp())])
    assert (found["LAeq_dbfs"], found["reasons"]) == (None, {"LAeq_dbfs": "silent_input"})


def test_zero_has_no_sign() -> None:
    (message,) = encoder().encode(reading(laeq_dbfs=-0.04), stamp())
    assert b'"LAeq_dbfs":0.0,' in message.payload


@pytest.mark.parametrize(("heard_s", "complete"), [(0.95, True), (0.949, False), (0.0, False)])
def test_a_reading_is_complete_from_95_percent_on(heard_s: float, complete: bool) -> None:
    part = msgspec.structs.replace(reading(), heard_s=heard_s)
    found = payload([*encoder().encode(part, stamp())])
    assert (found["heard_s"], found["complete"]) == (heard_s, complete)


def test_a_narrow_band_is_said() -> None:
    narrow = msgspec.structs.replace(reading(), bandwidth_hz=11_025.0)
    assert payload([*encoder().encode(narrow, stamp())])["bandwidth_hz"] == 11_025.0
    assert "bandwidth_hz" not in payload([*encoder().encode(reading(), stamp())])


def test_a_level_rule_names_its_indicator() -> None:
    loud = msgspec.structs.replace(
        alert(), indicator="LAeq_dbfs", labels=(), value=-21.26, limit=-30.0, events=()
    )
    found = payload([*encoder().encode(loud, stamp())])
    assert (found["kind"], found["value"], found["limit"]) == ("level", -21.3, -30.0)
    assert list(found)[list(found).index("limit") + 1] == "indicator"


def test_only_what_is_queued_takes_a_number() -> None:
    sends = encoder()
    sends.encode(reading(), stamp())
    sends.encode(_HEALTH, stamp())
    sends.states(stamp())
    sends.status(stamp())
    sends.encode(alert(), stamp())
    sends.encode(event(), stamp())
    assert sends.seq == 3


def test_a_rule_is_on_while_any_microphone_hears_it() -> None:
    sends = encoder()
    first = alert()
    second = msgspec.structs.replace(
        alert("00000000-09b0-7fd0-8a33-a538eca7e906"), microphone="yard"
    )
    told = [
        [message.payload for message in sends.encode(record, stamp()) if message.retain]
        for record in (first, second, ended(first), ended(second))
    ]
    states = [[msgspec.json.decode(one, type=StatePayload).state for one in some] for some in told]
    assert states == [["ON"], [], [], ["OFF"]]


def test_before_the_first_alert_a_rule_is_off_without_a_date() -> None:
    (message,) = encoder().states(stamp())
    state = msgspec.json.decode(message.payload, type=StatePayload)
    assert (state.state, state.since, state.id) == ("OFF", None, None)


def test_an_end_after_a_restart_says_off() -> None:
    _, state = encoder().encode(ended(alert()), stamp())
    assert msgspec.json.decode(state.payload, type=StatePayload).state == "OFF"


def test_the_will_has_no_time_and_the_last_word_has() -> None:
    assert encoder().will().payload == (
        b'{"v":1,"site":"default","device":"local","state":"offline","reason":"lost",'
        b'"boot":"dda5906b84a43200"}'
    )
    assert encoder().status(stamp(1, synced=True), "stopped").payload == (
        b'{"v":1,"site":"default","device":"local","state":"offline","reason":"stopped",'
        b'"boot":"dda5906b84a43200","time":"1970-01-01T00:00:01.000Z","time_synced":true}'
    )


def test_an_alert_sheds_its_events_and_then_its_labels_to_fit() -> None:
    many = tuple(f"a_label_with_a_long_name_{number:04d}" for number in range(130))
    crowded = msgspec.structs.replace(alert(), labels=many[:105], events=(alert().id,) * 8)
    shed = msgspec.json.decode(encoder().encode(crowded, stamp())[0].payload, type=AlertPayload)
    assert (len(shed.labels), shed.events) == (105, ())
    hopeless = msgspec.structs.replace(crowded, labels=many)
    first, _ = encoder().encode(hopeless, stamp())
    assert len(first.payload) <= MAX_PAYLOAD_BYTES
    assert msgspec.json.decode(first.payload, type=AlertPayload).labels == ()


def test_at_one_instant_the_topic_table_gives_the_order() -> None:
    at_ns = 3_000_000_000
    records = [
        msgspec.structs.replace(record, made_ns=at_ns)
        for record in (_HEALTH, alert(), event(), reading())
    ]
    early = msgspec.structs.replace(alert(), made_ns=at_ns - 1)
    assert in_order([*records, early]) == [early, *reversed(records)]


def test_every_indicator_can_be_published_in_both_spellings() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(LevelPayload)}
    for indicator in get_args(Indicator):
        assert {indicator, f"{indicator}_dbfs"} <= names


def test_health_is_retained_and_rounded() -> None:
    (message,) = encoder().encode(_HEALTH, stamp())
    found = payload([message])
    assert (message.retain, message.kind) == (True, "health")
    assert (found["last_block_s"], found["last_inference_s"]) == (0.012, None)
    assert found["clock"] == {"steps": 1, "last_step_s": 3600.2, "last_step_age_s": 86100.0}
    assert found["system"] == {
        "cpu_c": 54.2,
        "throttled": False,
        "throttled_since_boot": False,
        "undervoltage": False,
        "undervoltage_since_boot": True,
        "pss_mb": 47.3,
        "capture_pss_mb": 12.7,
        "mem_available_mb": 612.4,
        "disk_free_mb": 20480.0,
        "disk_read_only": None,
    }


def test_info_tells_of_model_rules_and_microphones() -> None:
    about = About(
        config_sha256="a1b2c3d4",
        labels=("siren",),
        microphones=(MicrophoneInfo(name="mic", device="default", rate=48000),),
        indicators=("LAeq",),
        slow_indicators=("LAeq", "L90"),
        periods_s=(1, 60, 900, 3600),
        third_octaves=True,
        calibrations={},
        hardware="board",
        os="Linux",
        python="3.11",
        started_ns=0,
    )
    message = encoder(latitude=43.7).info(stamp(), about)  # type: ignore[arg-type] # converted
    found = payload([message])
    assert found["rules"] == [{"name": "emergency", "kind": "label", "severity": "warning"}]
    assert found["model"] == {"name": "street", "sha256": SHA256, "labels": ["siren"]}
    assert found["indicators"] == ["LAeq"]
    assert found["slow_indicators"] == ["LAeq", "L90"]
    assert found["periods_s"] == [1, 60, 900, 3600]
    assert found["third_octaves"] is True
    assert found["latitude"] == 43.7
    assert "longitude" not in found


@pytest.mark.parametrize("suffix", ["", "_dbfs"])
def test_every_indicator_has_its_field(suffix: str) -> None:
    calibration = (
        None if suffix else Calibration(offset_db=120.0, date="2026-05-02", source="calibrator")
    )
    names = [f"{name}{suffix}" for name in get_args(SlowIndicator)]
    slow = msgspec.structs.replace(
        reading(),
        period_s=900,
        calibration=calibration,
        values={name: float(number) for number, name in enumerate(names)},
        bands=Bands(hz=(20.0, 25.0), levels=(12.34, None)),
    )
    (message,) = encoder().encode(slow, stamp())
    assert message.topic == "earshot/default/local/levels/15m"
    found = payload([message])
    assert {name: found[name] for name in names} == slow.values
    assert found["bands"] == {"hz": [20.0, 25.0], f"LZeq{suffix}": [12.3, None]}
    # The order of the contract: what the reading is, its levels, bands, then `replayed`.
    assert list(found)[-len(names) - 2 :] == [*names, "bands", "replayed"]


def test_levels_expire_and_alarms_do_not() -> None:
    assert expiry_s("earshot/a/b/levels/1s") == 3600
    assert expiry_s("earshot/a/b/alerts/x") is None


def test_a_foreign_topic_has_no_type() -> None:
    with pytest.raises(ValueError, match="no topic of Earshot"):
        payload_type("homeassistant/x")


def test_the_committed_schemas_are_those_of_the_types() -> None:
    for name, kind in PAYLOADS.items():
        (schema,), components = msgspec.json.schema_components(
            [kind], ref_template="#/$defs/{name}"
        )
        committed = json.loads((ROOT / "docs" / "schema" / f"{name}.json").read_text())
        assert committed["$defs"] == components, f"{name}: run scripts/schemas"
        assert committed["$ref"] == schema["$ref"]


def examples() -> list[tuple[str, str]]:
    """Topic and payload of each example in the published contract."""
    text = (ROOT / "docs" / "mqtt.md").read_text()
    return re.findall(r"`([^`\n]+)`:\n\n```json\n(.*?)\n```", text, re.S)


def test_the_contract_has_an_example_of_each_kind() -> None:
    assert {payload_type(topic) for topic, _ in examples()} == set(PAYLOADS.values())


@pytest.mark.parametrize(("topic", "text"), examples())
def test_an_example_of_the_contract_is_what_its_type_would_write(topic: str, text: str) -> None:
    kind = payload_type(topic)
    decoded = msgspec.json.decode(text, type=kind)
    assert msgspec.json.encode(decoded).decode() == json.dumps(
        json.loads(text), separators=(",", ":")
    )
    name = next(name for name, found in PAYLOADS.items() if found is kind)
    schema = json.loads((ROOT / "docs" / "schema" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def test_every_fault_is_explained_and_no_other() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    assert tuple(re.findall(r"^\| `(\w+)`", page, re.M)) == FAULTS
