"""Readings as NoiseLevelObserved of the smart data models, in NGSI-LD.

Schema 0.2.1 of dataModel.Environment. Only what was calibrated is given, for the model has no place
for dBFS, and only what has a time that was known. `LAS` is left out, which is a momentary level
there, and `sonometerClass`, which no software can claim. `LAFmax` stands beside their `LAmax`, to
keep the time weighting; it and the others that the model does not name are additional properties,
which it allows.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from edge_agent.config import SiteConfig
from edge_agent.errors import ConfigError
from edge_agent.records import Calibration, LevelReading
from edge_agent.written import rfc3339

CONTEXT = "https://raw.githubusercontent.com/smart-data-models/dataModel.Environment/master/context.jsonld"
# The decibel and the second, in the codes of UN/CEFACT.
_DECIBEL, _SECOND = "2N", "SEC"


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A property with a number."""

    kind: Literal["Property"] = msgspec.field(name="type", default="Property")
    value: float
    unit_code: str = msgspec.field(name="unitCode")
    observed_at: str = msgspec.field(name="observedAt")


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A property with a text."""

    kind: Literal["Property"] = msgspec.field(name="type", default="Property")
    value: str


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A property that holds or does not."""

    kind: Literal["Property"] = msgspec.field(name="type", default="Property")
    value: bool


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A place in GeoJSON, longitude first."""

    kind: Literal["Point"] = msgspec.field(name="type", default="Point")
    coordinates: tuple[float, float]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A property with a place."""

    kind: Literal["GeoProperty"] = msgspec.field(name="type", default="GeoProperty")
    value: Point


def entities(readings: Iterable[LevelReading], site: SiteConfig) -> Iterator[bytes]:
    """An entity for each calibrated reading that has an LAeq and a known time, as JSON.

    Args:
        readings: Of one microphone.
        site: Where the device stands.

    Raises:
        ConfigError: The site has no coordinates.
    """
    if site.latitude is None or site.longitude is None:
        raise ConfigError(
            "site.latitude and site.longitude are not set, and NoiseLevelObserved needs a place",
            hint="Add both to `site:` of the device's configuration, in degrees.",
        )
    where = Place(value=Point(coordinates=(site.longitude, site.latitude)))
    for reading in readings:
        if not reading.synced or reading.values.get("LAeq") is None:
            continue
        if reading.calibration is not None:
            yield msgspec.json.encode(_entity(reading, reading.calibration, site, where))


def _entity(
    reading: LevelReading, calibration: Calibration, site: SiteConfig, where: Place
) -> dict[str, object]:
    start = rfc3339(reading.start_ns)
    end = rfc3339(reading.start_ns + reading.period_s * 1_000_000_000)
    levels = {name: level for name, level in reading.values.items() if level is not None}
    if "LAFmax" in levels:
        levels["LAmax"] = levels["LAFmax"]
    place = f"{site.site}:{site.device}:{reading.microphone}"
    return {
        "id": f"urn:ngsi-ld:NoiseLevelObserved:{place}:{start}",
        "type": "NoiseLevelObserved",
        "dateObservedFrom": Text(value=start),
        "dateObservedTo": Text(value=end),
        "location": where,
        "refDevice": Text(value=f"urn:ngsi-ld:Device:{site.site}:{site.device}"),
        **{name: _number(round(level, 1), _DECIBEL, end) for name, level in levels.items()},
        "heardSeconds": _number(round(reading.heard_s, 3), _SECOND, end),
        "overload": Flag(value=reading.overload),
        "underRange": Flag(value=reading.under_range),
        "calibrationOffset": _number(calibration.offset_db, _DECIBEL, end),
        "calibrationDate": Text(value=calibration.date),
        "calibrationSource": Text(value=calibration.source),
        "@context": [CONTEXT],
    }


def _number(value: float, unit: str, at: str) -> Number:
    return Number(value=value, unit_code=unit, observed_at=at)
