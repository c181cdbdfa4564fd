"""What the demo says about itself: which sounds of the scene were heard, missed, or made up."""

from collections.abc import Sequence

import msgspec

from edge_agent.commands.scene import REQUIRED, SceneSound

EARLY_S = 0.5
LATE_S = 1.0
"""An event belongs to a sound if it starts at most this long before it, or after its end: a patch
is a second long, and the street echoes."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the subscriber saw it begin; `start_s` counts from the scene's first sample."""

    label: str
    start_s: float
    score: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the sounds of a scene."""

    heard: tuple[tuple[SceneSound, Heard], ...]
    """Each with the first event that names it."""
    missed: tuple[SceneSound, ...]
    false: tuple[Heard, ...]
    """Events that fit no sound."""

    @property
    def passed(self) -> bool:
        """Whether a sound of each required group was heard."""
        labels = {sound.label for sound, _ in self.heard}
        return all(labels.intersection(group) for group in REQUIRED)


def judge(sounds: Sequence[SceneSound], events: Sequence[Heard]) -> Verdict:
    """Hold what was heard against what was played."""
    heard, missed = [], []
    for sound in sounds:
        first = next((event for event in events if _fits(event, sound)), None)
        if first is None:
            missed.append(sound)
        else:
            heard.append((sound, first))
    false = [event for event in events if not any(_fits(event, sound) for sound in sounds)]
    return Verdict(heard=tuple(heard), missed=tuple(missed), false=tuple(false))


def _fits(event: Heard, sound: SceneSound) -> bool:
    in_time = sound.start_s - EARLY_S <= event.start_s <= sound.end_s + LATE_S
    return in_time and event.label in sound.accepts
