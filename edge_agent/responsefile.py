"""A microphone's response from a file: lines of a frequency in Hz and a deviation in dB."""

import hashlib
import math
import re
from itertools import pairwise
from pathlib import Path

from edge_agent.acoustics.response import ANCHOR_HZ, Response
from edge_agent.errors import ConfigError

MOST_DB = 30.0
"""A microphone that is off by more is no microphone there."""
_MOST_HZ = 200_000.0
_MOST_BYTES = 1_000_000
_LEAST_POINTS = 3
_COMMENTS = ("#", "*", '"')
"""How the files of makers and measuring programs begin what is no figure."""
_SEPARATOR = re.compile(r"\s*[,;\t]\s*|\s+")
_LINE = "Write two numbers a line, Hz and dB, with decimal points: 1000 0.0"


def load(path: Path) -> Response:
    """The response that a file gives.

    Raises:
        ConfigError: It cannot be read, or a line of it is no response.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}",
            hint="Let `response` name a file that can be read, or leave it out.",
        ) from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path}: has {len(data)} bytes", hint=f"At most {_MOST_BYTES}. {_LINE}")
    points = _points(path, data)
    rising = all(left[1] < right[1] for left, right in pairwise(points))
    if not rising:
        number, hz, _ = next(right for left, right in pairwise(points) if left[1] >= right[1])
        raise ConfigError(
            f"{path}:{number}: {hz:g} Hz is not above the frequency before it",
            hint="Sort the lines by frequency, each once.",
        )
    if len(points) < _LEAST_POINTS or not points[0][1] <= ANCHOR_HZ <= points[-1][1]:
        raise ConfigError(
            f"{path}: holds {len(points)} frequencies"
            + (f" from {points[0][1]:g} to {points[-1][1]:g} Hz" if points else ""),
            hint=f"It takes {_LEAST_POINTS} or more, from below to above {ANCHOR_HZ:g} Hz.",
        )
    return Response(
        hz=tuple(hz for _, hz, _ in points),
        deviation_db=tuple(deviation_db for _, _, deviation_db in points),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _points(path: Path, data: bytes) -> list[tuple[int, float, float]]:
    """Line, frequency and deviation of each line that is no comment."""
    points = []
    text = data.decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if words and not words.startswith(_COMMENTS):
            points.append((number, *_point(f"{path}:{number}", words)))
    return points


def _point(place: str, words: str) -> tuple[float, float]:
    parts = _SEPARATOR.split(words)
    numbers = [_number(part) for part in parts]
    if len(parts) != 2 or any(math.isnan(number) for number in numbers):
        raise ConfigError(f"{place}: found {words[:60]!r}", hint=_LINE)
    hz, deviation_db = numbers
    if not 0 < hz <= _MOST_HZ:
        raise ConfigError(f"{place}: found {hz:g} Hz", hint=f"Allowed: above 0 to {_MOST_HZ:g}.")
    if abs(deviation_db) > MOST_DB:
        raise ConfigError(
            f"{place}: found {deviation_db:g} dB",
            hint=f"Allowed: -{MOST_DB:g} to {MOST_DB:g}, positive where it reads too high.",
        )
    return hz, deviation_db


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan
