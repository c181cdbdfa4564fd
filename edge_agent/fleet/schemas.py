"""JSON Schemas for editors, from the structs themselves; `firmware_configs/schema/` has them.

A layer's differs from a configuration's: nothing in it is required, an entry of a collection may be
null, any value may be a reference, and what a layer says beside its settings is known.
"""

import json
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from edge_agent.config import Config
from edge_agent.fleet.folder import FleetFile, Notes
from edge_agent.fleet.rolloutplan import Plan

Schema: TypeAlias = dict[str, object]
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final[Schema] = {
    "description": "Replaced when a device is rendered: ${device}, ${site}, a column, a var.",
    "type": "string",
    "pattern": "\\$",
}


def config_schema() -> Schema:
    """Of a whole configuration."""
    return _whole(Config)


def fleet_schema() -> Schema:
    """Of `fleet.yaml`."""
    return _whole(FleetFile)


def plan_schema() -> Schema:
    """Of `rollouts/plan.yaml`."""
    return _whole(Plan)


def layer_schema() -> Schema:
    """Of a layer."""
    config = _components(Config)
    notes = _components(Notes)
    parts = {name: _loose(part) for name, part in config.items()}
    root = parts["Config"]
    properties = root["properties"]
    beside = notes["Notes"]["properties"]
    assert isinstance(properties, dict), "a struct has properties"
    assert isinstance(beside, dict), "a struct has properties"
    root["properties"] = {**beside, **properties}
    root["description"] = "A layer of a fleet's configuration."
    others = {name: part for name, part in notes.items() if name != "Notes"}
    return {
        "$schema": _DIALECT,
        "$ref": "#/$defs/Config",
        "$defs": {**parts, **others, "Reference": _REFERENCE},
    }


SCHEMAS: Final[dict[str, Callable[[], Schema]]] = {
    "config": config_schema,
    "layer": layer_schema,
    "fleet": fleet_schema,
    "plan": plan_schema,
}


def text(name: str) -> str:
    """A schema as its file holds it."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def _whole(kind: type[msgspec.Struct]) -> Schema:
    return {"$schema": _DIALECT, "$ref": f"#/$defs/{kind.__name__}", "$defs": _components(kind)}


def _components(kind: type[msgspec.Struct]) -> dict[str, Schema]:
    _, components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return dict(components)


def _loose(part: Schema) -> Schema:
    """A group of settings as a layer may have it."""
    loose = {key: value for key, value in part.items() if key != "required"}
    properties = part.get("properties")
    if isinstance(properties, dict):
        loose["properties"] = {name: _loose_value(value) for name, value in properties.items()}
    return loose


def _loose_value(value: Schema) -> Schema:
    """A setting as a layer may have it; a default belongs to the whole, not to a layer."""
    value = {key: inner for key, inner in value.items() if key != "default"}
    if "$ref" in value:
        return value
    entries = value.get("additionalProperties")
    if isinstance(entries, dict):
        return {**value, "additionalProperties": {"anyOf": [entries, {"type": "null"}]}}
    arms = value.get("anyOf")
    if isinstance(arms, list) and any("$ref" in arm for arm in arms):
        return value
    if value.get("type") == "array" and isinstance(value.get("items"), dict):
        value["items"] = {"anyOf": [value["items"], {"$ref": "#/$defs/Reference"}]}
    described = {key: value.pop(key) for key in ("description",) if key in value}
    return {**described, "anyOf": [value, {"$ref": "#/$defs/Reference"}]}
