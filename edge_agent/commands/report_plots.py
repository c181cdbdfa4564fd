"""The report's pictures, drawn as SVG: a device has no plotting library, and needs none.

Colours are told apart by those who do not see all of them, and every cell of the heat map carries
its number.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from html import escape
from typing import TypeAlias

import msgspec

Scale: TypeAlias = Callable[[float], float]
"""A value's place on the picture."""

WIDTH = 920
_LEFT, _RIGHT, _TOP = 118, 24, 12
_PLOT_WIDTH = WIDTH - _LEFT - _RIGHT
_LINE_HEIGHT = 200
_LANE_HEIGHT = 16
_LANES_BELOW = 10
_CELL_HEIGHT = 26
_BAR_HEIGHT = 22
_INK, _GRID, _LINE = "#222", "#ddd", "#0b5394"
# By Okabe and Ito, without yellow, which is lost on white.
_LABEL_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f4f24")
_COLD, _HOT = (237, 243, 249), (165, 15, 21)
_TICK_EVERY_S = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400)
_MOST_TICKS = 12
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Point(msgspec.Struct, frozen=True):
    """A level at a time; None where nothing was heard."""

    at_s: float
    level: float | None


class Span(msgspec.Struct, frozen=True):
    """An event on the timeline."""

    start_s: float
    end_s: float
    label: str


class Bar(msgspec.Struct, frozen=True):
    """A share of the whole, 0 to 1, and what is written beside it."""

    name: str
    share: float
    text: str


def timeline(
    points: Sequence[Point], spans: Sequence[Span], from_s: float, to_s: float, zone: tzinfo
) -> str:
    """Levels over time as a line that breaks where nothing was heard; events below, by label.

    Args:
        points: By time, one for each interval of equal length.
        spans: Events.
        from_s: Left end, seconds UTC.
        to_s: Right end.
        zone: Of the ticks.
    """
    labels = sorted({span.label for span in spans})
    height = _TOP + _LINE_HEIGHT + _LANES_BELOW + _LANE_HEIGHT * len(labels) + 22
    low, high = _range([point.level for point in points if point.level is not None])
    bottom = _TOP + _LINE_HEIGHT

    def x(at_s: float) -> float:
        return _LEFT + _PLOT_WIDTH * (at_s - from_s) / max(to_s - from_s, 1e-9)

    def y(level: float) -> float:
        return bottom - _LINE_HEIGHT * (level - low) / (high - low)

    parts = [_level_grid(low, high, y), _time_grid(from_s, to_s, zone, x, height - 26)]
    parts += [
        _path([(x(p.at_s), y(p.level)) for p in run if p.level is not None])
        for run in _runs(points)
    ]
    for lane, label in enumerate(labels):
        top = bottom + _LANES_BELOW + _LANE_HEIGHT * lane
        colour = _LABEL_COLOURS[lane % len(_LABEL_COLOURS)]
        parts.append(_text(_LEFT - 4, top + 10, label, anchor="end", size=10))
        for span in spans:
            if span.label == label:
                # A shot in a week still is a visible mark.
                width = max(1.5, x(span.end_s) - x(span.start_s))
                parts.append(
                    f'<rect x="{x(span.start_s):.1f}" y="{top}" width="{width:.1f}" '
                    f'height="{_LANE_HEIGHT - 4}" fill="{colour}"/>'
                )
    return _svg(height, "Level over time, with events", parts)


def heat_map(levels: Sequence[Sequence[float | None]]) -> str:
    """Levels by weekday (seven rows, Monday first) and hour (24 columns); None is left white."""
    known = [level for row in levels for level in row if level is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    width = _PLOT_WIDTH / 24
    parts = []
    for day, row in enumerate(levels):
        top = _TOP + 14 + day * _CELL_HEIGHT
        parts.append(_text(_LEFT - 6, top + 17, WEEKDAYS[day], anchor="end"))
        for hour, level in enumerate(row):
            left = _LEFT + hour * width
            part = 0.0 if level is None or high == low else (level - low) / (high - low)
            colour = "#fff" if level is None else _between(part)
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width - 1:.1f}" '
                f'height="{_CELL_HEIGHT - 1}" fill="{colour}" stroke="{_GRID}"/>'
            )
            if level is not None:
                ink = "#fff" if part > 0.55 else _INK
                middle = left + width / 2
                parts.append(_text(middle, top + 17, f"{level:.0f}", anchor="middle", ink=ink))
    parts += [
        _text(_LEFT + hour * width, _TOP + 8, f"{hour:02d}", size=10) for hour in range(0, 24, 3)
    ]
    return _svg(_TOP + 20 + 7 * _CELL_HEIGHT, "Mean level by weekday and hour", parts)


def bars(rows: Sequence[Bar]) -> str:
    """Shares of a whole, each as a bar with its number."""
    left, parts = 150, []
    room = WIDTH - left - 250
    for number, row in enumerate(rows):
        top = _TOP + number * _BAR_HEIGHT
        width = max(0.0, min(1.0, row.share)) * room
        parts.append(_text(left - 6, top + 14, row.name, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{_BAR_HEIGHT - 5}" '
            f'fill="{_LINE}"/>'
        )
        parts.append(_text(left + width + 6, top + 14, row.text))
    return _svg(_TOP + _BAR_HEIGHT * len(rows) + 4, "Shares", parts)


def _level_grid(low: float, high: float, y: Scale) -> str:
    parts = []
    level = low
    while level <= high:
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}" '
            f'stroke="{_GRID}"/>'
        )
        parts.append(_text(_LEFT - 6, y(level) + 4, f"{level:g}", anchor="end"))
        level += 10
    return "".join(parts)


def _time_grid(from_s: float, to_s: float, zone: tzinfo, x: Scale, bottom: float) -> str:
    span_s = to_s - from_s
    every_s = next((one for one in _TICK_EVERY_S if span_s / one <= _MOST_TICKS), 28 * 86_400)
    parts = []
    for at_s in _ticks(from_s, to_s, every_s, zone):
        local = _local(at_s, zone)
        text = f"{local:%d %b}" if every_s >= 86_400 else f"{local:%H:%M}"
        if every_s < 86_400 and local.hour == local.minute == 0:
            text = f"{local:%d %b}"
        parts.append(
            f'<line x1="{x(at_s):.1f}" x2="{x(at_s):.1f}" y1="{_TOP}" y2="{bottom}" '
            f'stroke="{_GRID}"/>'
        )
        parts.append(_text(x(at_s), bottom + 16, text, anchor="middle", size=10))
    return "".join(parts)


def _ticks(from_s: float, to_s: float, every_s: int, zone: tzinfo) -> list[float]:
    """Round times of the local wall clock; the hour that it repeats is passed over once."""
    first, last = (
        math.floor(_local(at_s, zone).replace(tzinfo=UTC).timestamp() / every_s)
        for at_s in (from_s, to_s)
    )
    walls = (datetime.fromtimestamp(number * every_s, UTC) for number in range(first, last + 1))
    # The hour that it leaves out is the one after it: a second mark at the same time.
    found = {wall.replace(tzinfo=zone).timestamp() for wall in walls}
    return sorted(at_s for at_s in found if from_s <= at_s <= to_s)


def _local(at_s: float, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_s, tz=zone)


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Points without a hole between them."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point.level is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _path(points: Sequence[tuple[float, float]]) -> str:
    if len(points) == 1:
        ((x, y),) = points
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="{_LINE}"/>'
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{line}" fill="none" stroke="{_LINE}" stroke-width="1.2"/>'


def _range(levels: Sequence[float]) -> tuple[float, float]:
    """Tens around all levels."""
    if not levels:
        return 0.0, 10.0
    low = 10 * math.floor(min(levels) / 10)
    high = 10 * math.ceil(max(levels) / 10)
    return low, high if high > low else low + 10


def _between(part: float) -> str:
    red, green, blue = (
        round(cold + part * (hot - cold)) for cold, hot in zip(_COLD, _HOT, strict=True)
    )
    return f"rgb({red},{green},{blue})"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, ink: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{ink}">{escape(text)}</text>'
    )


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="100%" role="img" '
        f'font-family="sans-serif" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
