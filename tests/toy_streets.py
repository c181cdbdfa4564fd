"""A folder of recordings small enough to make anew: every label on every side, a tone each."""

import csv
import wave
from itertools import count
from pathlib import Path

import numpy as np

from edge_agent.records import Samples
from model_build.datasets import held_out_group
from model_build.taxonomy import URBANSOUND8K

RATE = 16000
SILENCE_S, TONE_S = 0.2, 0.5


def write(path: Path, samples: Samples, rate: int = RATE) -> None:
    """A 16-bit WAV."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def tone(hz: float) -> Samples:
    """Silence, then a tone: the onset is at `SILENCE_S`."""
    t = np.arange(round((SILENCE_S + TONE_S) * RATE)) / RATE
    sound: Samples = (0.3 * np.sin(2 * np.pi * hz * t) * (t >= SILENCE_S)).astype(np.float32)
    return sound


def noise(seconds: float, seed: int) -> Samples:
    """White noise at -26 dBFS."""
    sound: Samples = 0.05 * np.random.default_rng(seed).standard_normal(
        round(seconds * RATE)
    ).astype(np.float32)
    return sound


def made(folder: Path) -> Path:
    """The folder, with the manifests of the street's sets and their recordings."""
    ids = count(1000)
    rows: dict[str, list[tuple[str, str, str]]] = {"urbansound8k": [], "esc50": []}
    for fold in (1, 1, 2, 2, 3, 3):
        rows["urbansound8k"] += [(label, str(fold), str(next(ids))) for label in URBANSOUND8K]
    for fold in (1, 1, 2, 3, 5, 5):
        labels = ("glass_breaking", "clock_alarm", "crying_baby", "rain", "clapping")
        rows["esc50"] += [(label, str(fold), str(next(ids))) for label in labels]
    rows["esc50_clean"] = [("siren", "1", "7"), ("siren", "5", "8")]
    rows["speech"] = [("speech", "", group) for group in _groups("speaker")]
    rows["ambient"] = [("wind", "", group) for group in _groups("place")]
    for name, of_set in rows.items():
        _set(folder, name, of_set)
    return folder


def _groups(stem: str) -> list[str]:
    """Two recordings that the test takes, and four that it leaves."""
    names = [f"{stem}{number}" for number in range(40)]
    test = [name for name in names if held_out_group(name, 4)]
    rest = [name for name in names if not held_out_group(name, 4)]
    return [*test[:2], *rest[:4]]


def _set(folder: Path, name: str, rows: list[tuple[str, str, str]]) -> None:
    key = "group" if name in ("speech", "ambient") else "freesound_id"
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "fold", key))
        for number, (label, fold, group) in enumerate(rows):
            path = f"{name}/{number}-{label}.wav"
            background = label in ("rain", "clapping", "wind")
            sound = noise(3.0, number) if background else tone(300.0 + 20 * number)
            write(folder / path, sound)
            writer.writerow((path, label, fold, group))
