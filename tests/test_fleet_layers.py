"""Layers: merging and its rules, locks, references, and where each value comes from."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import Config
from edge_agent.configtree import Branch, Leaf, Node, Place, is_null, plain
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.composing import read as as_device
from edge_agent.fleet.merging import leaves, merge
from edge_agent.fleet.provenance import traced
from tests.fleets import found, read, sample, small

NAMES = ("a", "b", "c")


def branch(values: Mapping[str, Node]) -> Branch:
    place = Place("x.yaml", 1, 1)
    return Branch(place=place, entries=dict(values), keys=dict.fromkeys(values, place))


def leaf(value: int | str) -> Leaf:
    return Leaf(place=Place("x.yaml", 1, 1), value=value)


# A layer as the settings have it: groups of values, and a collection of such groups.
RULES = st.dictionaries(
    st.sampled_from(NAMES),
    st.dictionaries(
        st.sampled_from(("for_s", "severity")), st.integers(0, 9).map(leaf), max_size=2
    ).map(branch),
    max_size=3,
).map(branch)
MQTT = st.dictionaries(
    st.sampled_from(("host", "port")), st.integers(0, 9).map(leaf), max_size=2
).map(branch)


@st.composite
def layers(draw: st.DrawFn) -> Branch:
    found: dict[str, Node] = {}
    if draw(st.booleans()):
        found["state_dir"] = draw(st.integers(0, 9).map(leaf))
    if draw(st.booleans()):
        found["mqtt"] = draw(MQTT)
    if draw(st.booleans()):
        found["alerts"] = draw(RULES)
    return branch(found)


LAYERS = layers()
EMPTY = branch({})


def values(*layers: Branch) -> object:
    root = EMPTY
    for layer in layers:
        root = merge(root, layer).root
    return plain(root)


@given(LAYERS, LAYERS, LAYERS)
def test_merging_does_not_depend_on_where_one_begins(a: Branch, b: Branch, c: Branch) -> None:
    assert plain(merge(merge(a, b).root, c).root) == plain(merge(a, merge(b, c).root).root)


@given(LAYERS, LAYERS)
def test_the_upper_layer_wins_and_nothing_of_the_lower_is_lost(a: Branch, b: Branch) -> None:
    merged = dict(leaves(merge(a, b).root))
    upper = {way: plain(one) for way, one in leaves(b) if isinstance(one, Leaf)}
    lower = {way: plain(one) for way, one in leaves(a) if isinstance(one, Leaf)}
    for way, one in merged.items():
        if isinstance(one, Leaf):
            assert plain(one) == upper.get(way, lower.get(way))
    assert upper.keys() | lower.keys() == {w for w, one in merged.items() if isinstance(one, Leaf)}


@given(LAYERS)
def test_an_empty_layer_changes_nothing(a: Branch) -> None:
    assert values(EMPTY, a) == values(a, EMPTY) == plain(a)


@given(LAYERS, LAYERS, st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_nothing(a: Branch, b: Branch, random: object) -> None:
    shuffled = list(b.entries.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis types it as object
    assert values(a, branch(dict(shuffled))) == values(a, b)


def test_lists_are_replaced_and_entries_of_collections_merge(tmp_path: Path) -> None:
    path = small(
        tmp_path,
        {
            "sites/town.yaml": "levels: {indicators: [LAeq]}\n"
            "alerts: {loud: {indicator: LAeq, above_dbfs: -20, for_s: 5}}\n",
            "devices/ear-1.yaml": "alerts: {loud: {for_s: 9}}\n",
        },
    )
    assert found(path) == []
    fleet = read(path)
    config = msgspec.convert(fleet.values(fleet.devices[0])[0], Config)
    assert config.levels.indicators == ("LAeq",)
    assert (config.alerts["loud"].for_s, config.alerts["loud"].above_dbfs) == (9, -20.0)


def test_null_takes_an_entry_away_and_may_come_back(tmp_path: Path) -> None:
    path = small(
        tmp_path,
        {
            "fleet.csv": "device,board,mic,site,groups\near-1,pi,mic-1,town,quiet again\n",
            "sites/town.yaml": "alerts: {loud: {indicator: LAeq, above_dbfs: -20, for_s: 5}}\n",
            "groups/quiet.yaml": "alerts: {loud: null}\n",
            "groups/again.yaml": "alerts: {loud: {indicator: LAFmax, above_dbfs: -3, for_s: 1}}\n",
        },
    )
    fleet = read(path)
    values, _ = fleet.values(fleet.devices[0])
    assert values["alerts"] == {"loud": {"indicator": "LAFmax", "above_dbfs": -3.0, "for_s": 1}}


def test_tls_may_be_switched_on_and_off_by_layers(tmp_path: Path) -> None:
    path = small(
        tmp_path,
        {
            "sites/town.yaml": "mqtt: {tls: {ca: ca.pem}}\n",
            "devices/ear-1.yaml": "mqtt: {tls: null}\n",
        },
    )
    fleet = read(path)
    tree = fleet.tree(fleet.devices[0])
    (one,) = traced(tree, "mqtt.tls")
    assert [(origin.place, origin.value) for origin in one.origins] == [
        ("devices/ear-1.yaml:1:13", None),
        ("sites/town.yaml:1:13", {"ca": "ca.pem"}),
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"sites/town.yaml": "alerts:\n  sirn: null\n"},
            (
                "sites/town.yaml:2:9: error: alerts.sirn: null removes nothing: no lower layer has "
                "it. No lower layer has an entry there. (1 device)"
            ),
        ),
        (
            {
                "fleet.yaml": "locked:\n  mqtt.tls: sites\n",
                "devices/ear-1.yaml": "mqtt:\n  tls:\n    ca: a\n",
            },
            (
                "devices/ear-1.yaml:2:3: error: mqtt.tls: is locked by fleet.yaml:2:3. Only sites "
                "and the layers below may set it; take it away here, or the lock there. (1 device)"
            ),
        ),
        (
            {"fleet.yaml": "locked: {outbox: sites/other}\n", "sites/town.yaml": "outbox: {}\n"},
            (
                "sites/town.yaml:1:1: error: outbox: is locked by fleet.yaml:1:10. Only "
                "sites/other and the layers below may set it; take it away here, or the lock "
                "there. (1 device)"
            ),
        ),
        (
            {
                "fleet.yaml": "locked: {outbox: base}\n",
                "fleet.csv": "device,board,mic,site,outbox.max_mb\near-1,pi,mic-1,town,9\n",
            },
            (
                "fleet.csv:1:23: error: outbox: is locked by fleet.yaml:1:10. Only base and the "
                "layers below may set it; take it away here, or the lock there. (1 device)"
            ),
        ),
        (
            {"sites/town.yaml": 'mqtt: {username: "${devise}"}\n'},
            (
                "sites/town.yaml:1:18: error: mqtt.username: ${devise} is not known. Did you mean "
                "${device}? Known: board, device, groups, height_m, lab_date, lab_offset_db, lat, "
                "lon, mic, note, ring, serial, site, state. (1 device)"
            ),
        ),
        (
            {"sites/town.yaml": "mqtt: {username: a$b}\n"},
            (
                'sites/town.yaml:1:18: error: mqtt.username: found a lone $ in "a$b". Write '
                "${name} for a value, or $$ for a dollar. (1 device)"
            ),
        ),
        (
            {"sites/town.yaml": 'mqtt: {username: "x-${serial}"}\n'},
            (
                "sites/town.yaml:1:18: error: mqtt.username: ${serial} is empty for this device. "
                "Fill the cell, or do not refer to it. (1 device)"
            ),
        ),
        (
            {"sites/town.yaml": 'vars: {p: abc}\nmqtt: {port: "${p}"}\n'},
            (
                'sites/town.yaml:2:14: error: mqtt.port: found the text "abc". Allowed: a whole '
                "number from 1 up to 65535. (1 device)"
            ),
        ),
    ],
)
def test_what_a_layer_may_not_do_is_told_at_its_place(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    assert found(small(tmp_path, files)) == [expected]


def test_references_take_the_type_of_their_value(tmp_path: Path) -> None:
    path = small(
        tmp_path,
        {
            "fleet.yaml": "vars: {port: 1884, wait: 30, name: ear}\n",
            "sites/town.yaml": "vars: {name: here}\n"
            'mqtt: {port: "${port}", ack_timeout_s: "${wait}", username: "$$${name}-${device}"}\n'
            'alerts: {x: {labels: ["${what}"], min_duration_s: "${wait}"}}\n',
            "fleet.csv": "device,board,mic,site,mqtt.client_id\near-1,pi,mic-1,town,c-${board}\n",
        },
    )
    text = (path / "fleet.yaml").read_text().replace("name: ear", "name: ear, what: siren")
    (path / "fleet.yaml").write_text(text)
    assert found(path) == []
    fleet = read(path)
    values, problems = fleet.values(fleet.devices[0])
    assert problems == []
    config = msgspec.convert(values, Config)
    assert (config.mqtt.port, config.mqtt.ack_timeout_s) == (1884, 30.0)
    # The site's own var goes before the fleet's; what is put in is not looked at again.
    assert (config.mqtt.username, config.mqtt.client_id) == ("$here-ear-1", "c-pi")
    assert config.alerts["x"].labels == ("siren",)
    assert json.loads(msgspec.json.encode(values))["mqtt"]["ack_timeout_s"] == 30.0


def every_leaf(fleet: Fleet) -> list[tuple[str, str, object]]:
    """Device, key and rendered value of everything."""
    rows = []
    for device in fleet.devices:
        stack: list[tuple[str, object]] = [("", fleet.values(device)[0])]
        while stack:
            key, value = stack.pop()
            if isinstance(value, dict) and value:
                stack += [(f"{key}.{name}".lstrip("."), inner) for name, inner in value.items()]
            else:
                rows.append((device.name, key, value))
    return rows


def test_every_value_of_every_sample_device_has_file_line_and_column(tmp_path: Path) -> None:
    path = sample(tmp_path / "fleet")
    fleet = read(path)
    trees = {device.name: fleet.tree(device) for device in fleet.devices}
    rows = every_leaf(fleet)
    assert len(rows) > 90
    for device, key, value in rows:
        (one,) = traced(trees[device], key)
        assert json.dumps(one.value) == json.dumps(value), key
        for origin in one.origins:
            file, line, column = origin.place.split(":")
            # What stands there is what the origin says, so far as it is one word.
            rest = (path / file).read_text("utf-8").splitlines()[int(line) - 1][int(column) - 1 :]
            shown = origin.value
            if isinstance(shown, str) and "${" not in rest:
                assert rest.removeprefix('"').startswith(shown), origin
            elif isinstance(shown, int | float) and not isinstance(shown, bool):
                assert float(rest.split("#")[0].split(",")[0].strip(" }")) == shown, origin


def test_a_device_reads_what_was_merged_as_the_office_does(tmp_path: Path) -> None:
    fleet = read(sample(tmp_path / "fleet"))
    for device in fleet.devices:
        values, _ = fleet.values(device)
        config, problems = as_device(fleet.tree(device))
        assert problems == []
        assert config == msgspec.convert(values, Config)


def test_a_layer_keeps_null_where_it_is_a_value(tmp_path: Path) -> None:
    fleet = read(small(tmp_path))
    assert is_null(fleet.combination(fleet.devices[0]).root.entries["mqtt"].entries["tls"])  # type: ignore[union-attr] # a group
