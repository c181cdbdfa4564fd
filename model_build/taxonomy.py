"""What the street model listens for, and what each data set's labels mean to it.

A data set's label is one of three things: a street label, background that must score nothing, or
unsuitable for either (it holds street sounds that nobody marked). `meaning` says which.
"""

from typing import Literal, TypeAlias

import msgspec

Set: TypeAlias = Literal[
    "urbansound8k", "esc50", "esc50_clean", "ambient", "speech", "music", "sesa", "babycry"
]


class Sound(msgspec.Struct, frozen=True, kw_only=True):
    """A label of the street model.

    `sources` holds `(data set, its label)`; `impulsive` sounds are over within a patch and fire on
    a single strong one; `stationary` ones go on for minutes and become the background themselves.
    Somebody is called out for `urgent` ones, so false alarms that a budget allows are spent on them
    first.
    """

    id: str
    title: str
    sources: tuple[tuple[Set, str], ...]
    impulsive: bool = False
    stationary: bool = False
    urgent: bool = False


def _esc(label: str) -> tuple[tuple[Set, str], ...]:
    return ("esc50", label), ("esc50_clean", label)


STREET: tuple[Sound, ...] = (
    Sound(
        id="air_conditioner",
        title="Air conditioner",
        sources=(("urbansound8k", "air_conditioner"),),
        stationary=True,
    ),
    Sound(
        id="car_horn",
        title="Car horn",
        sources=(("urbansound8k", "car_horn"), *_esc("car_horn")),
    ),
    Sound(
        id="children_playing",
        title="Children playing",
        sources=(("urbansound8k", "children_playing"),),
    ),
    Sound(id="dog_bark", title="Dog bark", sources=(("urbansound8k", "dog_bark"), *_esc("dog"))),
    Sound(id="drilling", title="Drilling", sources=(("urbansound8k", "drilling"),)),
    Sound(
        id="engine_idling",
        title="Engine idling",
        sources=(("urbansound8k", "engine_idling"), *_esc("engine")),
        stationary=True,
    ),
    Sound(
        id="gun_shot",
        title="Gunshot",
        sources=(("urbansound8k", "gun_shot"), ("sesa", "gunshot")),
        impulsive=True,
        urgent=True,
    ),
    Sound(id="jackhammer", title="Jackhammer", sources=(("urbansound8k", "jackhammer"),)),
    Sound(
        id="siren",
        title="Siren",
        sources=(("urbansound8k", "siren"), *_esc("siren"), ("sesa", "siren")),
        urgent=True,
    ),
    Sound(
        id="street_music",
        title="Street music",
        sources=(("urbansound8k", "street_music"), ("music", "music")),
    ),
    Sound(
        id="glass_breaking",
        title="Glass breaking",
        sources=_esc("glass_breaking"),
        impulsive=True,
        urgent=True,
    ),
    Sound(id="alarm", title="Alarm", sources=_esc("clock_alarm")),
    Sound(
        id="crying_baby",
        title="Crying baby",
        sources=(*_esc("crying_baby"), ("babycry", "crying_baby")),
    ),
    Sound(id="speech", title="Speech", sources=(("speech", "speech"),)),
)

URBANSOUND8K: tuple[str, ...] = tuple(
    sorted(label for sound in STREET for origin, label in sound.sources if origin == "urbansound8k")
)
"""The ten classes of the set itself, in its own (alphabetical) order."""

# Long, even sounds over which events are laid. The rest of ESC-50 is background too, but made of
# single sounds, so it enters mixtures as a foreground that scores nothing.
BEDS: tuple[str, ...] = (
    "airplane",
    "chirping_birds",
    "crackling_fire",
    "crickets",
    "helicopter",
    "insects",
    "pouring_water",
    "rain",
    "sea_waves",
    "thunderstorm",
    "train",
    "vacuum_cleaner",
    "washing_machine",
    "water_drops",
    "wind",
)

# By the data's own description these ambiences hold speech, horns and children.
_HOLDS_EVENTS = ("street", "speech_babble", "children_playing")

_SYNTHETIC = "synthetic or musical, by the data's own description"
UNFIT_TO_COUNT: dict[str, str] = {
    "bigben": _SYNTHETIC,
    "hellind": _SYNTHETIC,
    "hellout": _SYNTHETIC,
    "pipeline": _SYNTHETIC,
    "skllchnt": _SYNTHETIC,
    "streetam": "a street: it holds street sounds that nobody marked",
}
"""Labels of `ambient_eval` on which no false alarm can be counted, and why."""

LIKE_AN_EVENT: tuple[str, ...] = ("fireworks",)
"""Background that a street label cannot be told from by its sound: alarms in it are counted apart,
for how often it comes is a matter of the calendar, not of the network."""

Meaning: TypeAlias = Literal["event", "bed", "distractor", "unsuitable"]


def meaning(origin: str, label: str) -> tuple[Meaning, str | None]:
    """What `label` of data set `origin` is to the street model, and which label, if an event."""
    for sound in STREET:
        if (origin, label) in sound.sources:
            return "event", sound.id
    if origin == "ambient":
        return ("unsuitable" if label in _HOLDS_EVENTS else "bed"), None
    if origin in ("esc50", "esc50_clean"):
        return ("bed" if label in BEDS else "distractor"), None
    return "unsuitable", None
