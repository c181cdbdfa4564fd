"""Street scenes: events of every label over a background, at known onsets and SNRs."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.errors import BuildError
from edge_agent.records import Samples
from model_build import audible, features
from model_build.audible import RATE, Sound
from model_build.datasets import Clip, Skip
from model_build.streams import CROSSFADE, Stream, TrueEvent, identity, joined, with_noise
from model_build.street import LABELS, TEST_SNRS_DB, Sounds

# Leaves 40 dB for an event of 20 dB SNR and its peaks.
_BED_DBFS = -40.0
_LEAD_S, _TAIL_S = 3.0, 5.0
_PEAK = 0.99
# An event of a label comes at least so many places after the last one of it: cooldowns are over.
_APART = 4
_LEAST_CLIPS = 2


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the street scenes are made of."""

    scenes: int = 8
    rounds: int = 2
    """In a scene each label comes once a round."""
    gap_s: tuple[float, float] = (2.0, 5.0)
    """Between the last offset and the next onset."""
    overlapping: float = 0.2
    """Share of events that begin while the one before is still heard."""


class Streets:
    """Street scenes of one side.

    Args:
        side: Its name, for streams and errors.
        sounds: Its clips.
        data: The folder of recordings.
        seed: Of all draws.
        plan: How many scenes, and of what.

    Raises:
        BuildError: A label has fewer than two clips, or there is no background.
    """

    def __init__(
        self, side: str, sounds: Sounds, data: Path, seed: int, plan: Plan | None = None
    ) -> None:
        self.skipped: list[Skip] = []
        self._side = side
        self._data = data
        self._seed = seed
        self._plan = plan or Plan()
        rng = np.random.default_rng([seed, 0])
        self._events = [
            _Pool(label, of, rng) for label, of in zip(LABELS, sounds.events, strict=True)
        ]
        self._beds = _Pool("background", sounds.beds, rng)
        for pool in (*self._events, self._beds):
            pool.require(side)

    def scenes(self) -> Iterator[Stream]:
        """The scenes, one at a time: only one is in memory."""
        for number in range(self._plan.scenes):
            yield self._scene(number, np.random.default_rng([self._seed, 1, number]))

    def _scene(self, number: int, rng: np.random.Generator) -> Stream:
        order = _order(self._plan.rounds, rng)
        placed: list[tuple[TrueEvent, Sound]] = []
        digest = hashlib.sha256()
        end_s = before_s = 0.0
        for place, label in enumerate(order):
            turn = number * self._plan.rounds + place // len(LABELS)
            snr_db = TEST_SNRS_DB[(turn + label) % len(TEST_SNRS_DB)]
            clip, sound = self._sound(self._events[label])
            onset_s = _LEAD_S if not placed else end_s + rng.uniform(*self._plan.gap_s)
            if placed and rng.random() < self._plan.overlapping:
                onset_s = before_s + rng.uniform(0.3, 0.7) * (placed[-1][0].offset_s - before_s)
            onset = round(onset_s * RATE)
            event = TrueEvent(
                label=LABELS[label],
                onset_s=onset / RATE,
                offset_s=(onset + sound.offset - sound.onset) / RATE,
                snr_db=snr_db,
                path=clip.path,
            )
            placed.append((event, sound))
            before_s, end_s = event.onset_s, max(end_s, event.offset_s)
            digest.update(f"{onset} {snr_db} {self._identity(clip)}\n".encode())
        samples = self._background(round((end_s + _TAIL_S) * RATE), digest)
        samples = mixed(with_noise(samples, rng), placed)
        return Stream(
            name=f"{self._side} scene {number}",
            samples=samples,
            events=tuple(event for event, _ in placed),
            sha256=digest.hexdigest(),
        )

    def _sound(self, pool: "_Pool") -> tuple[Clip, Sound]:
        while True:
            clip = pool.next()
            sound = audible.cut(clip, self._data)
            if isinstance(sound, Sound):
                return clip, sound
            self._drop(pool, clip, sound)

    def _background(self, length: int, digest: "hashlib._Hash") -> Samples:
        parts: list[Samples] = []
        have = 0
        while have < length:
            clip = self._beds.next()
            samples = audible.whole(clip, self._data)
            if isinstance(samples, Skip):
                self._drop(self._beds, clip, samples)
                continue
            level_dbfs = features.level_dbfs(samples)
            if level_dbfs < features.SILENT_DBFS or samples.size <= 2 * CROSSFADE:
                reason = f"is no background: {level_dbfs:.0f} dBFS, {samples.size / RATE:.2f} s"
                self._drop(self._beds, clip, Skip(path=clip.path, reason=reason))
                continue
            parts.append(samples * np.float32(10 ** ((_BED_DBFS - level_dbfs) / 20)))
            have += samples.size - CROSSFADE
            digest.update(f"bed {self._identity(clip)}\n".encode())
        return joined(parts)[:length]

    def _drop(self, pool: "_Pool", clip: Clip, skip: Skip) -> None:
        self.skipped.append(skip)
        pool.drop(clip)
        pool.require(self._side, skip)

    def _identity(self, clip: Clip) -> str:
        return identity(clip, self._data)


class _Pool:
    """Clips in a drawn order, over and over: none comes twice before all came once."""

    def __init__(self, name: str, clips: Sequence[Clip], rng: np.random.Generator) -> None:
        self._name = name
        self._clips: list[Clip] = [clips[index] for index in rng.permutation(len(clips))]
        self._at = 0

    def next(self) -> Clip:
        self._at %= len(self._clips)
        self._at += 1
        return self._clips[self._at - 1]

    def drop(self, clip: Clip) -> None:
        at = self._clips.index(clip)
        del self._clips[at]
        self._at -= at < self._at

    def require(self, side: str, last: Skip | None = None) -> None:
        if len(self._clips) >= _LEAST_CLIPS:
            return
        why = f" (last skipped: {last.path}: {last.reason})" if last else ""
        raise BuildError(
            f"the {side} side has {len(self._clips)} clip(s) of {self._name} that can be used, "
            f"{_LEAST_CLIPS} are needed{why}",
            hint="Add recordings of it, or mend those that were skipped; a figure of one clip "
            "says nothing of the next.",
        )


def _order(rounds: int, rng: np.random.Generator) -> list[int]:
    """Labels by index, each once a round, and never twice within `_APART` places."""
    order: list[int] = []
    while len(order) < rounds * len(LABELS):
        following = rng.permutation(len(LABELS)).tolist()
        recent = order[-_APART:]
        near = (label in recent[place:] for place, label in enumerate(following[: len(recent)]))
        if not any(near):
            order += following
    return order


def mixed(background: Samples, placed: Sequence[tuple[TrueEvent, Sound]]) -> Samples:
    """The background with the events over it, each at its SNR; turned down if it would clip."""
    mixture = background.copy()
    for event, sound in placed:
        onset, offset = round(event.onset_s * RATE), round(event.offset_s * RATE)
        under_dbfs = features.level_dbfs(background[onset:offset])
        gain = 10 ** ((event.snr_db + under_dbfs - sound.level_dbfs) / 20)
        first = onset - sound.onset
        mixture[first : first + sound.samples.size] += sound.samples * np.float32(gain)
    peak = float(np.abs(mixture).max())
    return mixture * np.float32(_PEAK / peak) if peak > _PEAK else mixture
