"""What the demo prints: lines for a person, or lines for a program."""

import json
import re
from collections.abc import Sequence
from typing import Protocol

import msgspec
from rich.console import Console
from rich.text import Text

from edge_agent.commands.scene import SceneSound
from edge_agent.commands.timeline import timeline_line
from edge_agent.commands.verdict import Heard, Verdict
from edge_agent.payloads import LevelPayload
from edge_agent.records import Message
from edge_agent.written import json_line

_BAR = re.compile("▇+")
_STYLES = {"level": "default", "event": "bold cyan", "alert": "bold red", "state": "default"}


class Show(Protocol):
    """Who tells what arrives, and what came of it."""

    def message(self, message: Message, playing: Sequence[SceneSound]) -> None:
        """A message arrived while these sounds of the scene were played."""
        ...

    def verdict(self, verdict: Verdict) -> None:
        """The scene is over."""
        ...

    def unjudged(self, events: Sequence[Heard]) -> None:
        """The microphone is closed; what really sounded is not known."""
        ...


class JsonShow:
    """Messages as `replay --json` prints them, then one object with the labels of the summary."""

    def message(self, message: Message, playing: Sequence[SceneSound]) -> None:  # noqa: ARG002
        """Print the message's line."""
        print(json_line(message), flush=True)

    def verdict(self, verdict: Verdict) -> None:
        """Print the labels of the sounds heard and missed, and of the false events."""
        self._summary(
            [sound.label for sound, _ in verdict.heard],
            [sound.label for sound in verdict.missed],
            [event.label for event in verdict.false],
        )

    def unjudged(self, events: Sequence[Heard]) -> None:
        """Print the labels of all events as heard; nothing was expected, so nothing was missed."""
        self._summary([event.label for event in events], [], [])

    def _summary(self, heard: list[str], missed: list[str], false: list[str]) -> None:
        summary = {"heard": heard, "missed": missed, "false": false}
        print(json.dumps({"summary": summary}, separators=(",", ":")), flush=True)


class TextShow:
    """A bar a second, events and alerts in colour where stdout is a terminal, then the verdict.

    Args:
        what: What is listened to.
        address: The broker's host and port.
        prefix: The beginning of the device's topics.
    """

    def __init__(self, what: str, address: tuple[str, int], prefix: str) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        host, port = address
        self._print(f"Listening to {what}; what follows came back through the broker.", "bold")
        self._print(f"Listen in: mosquitto_sub -h {host} -p {port} -v -t '{prefix}/#'\n", "dim")

    def message(self, message: Message, playing: Sequence[SceneSound]) -> None:
        """Print the message's line, with what the scene plays beside each level."""
        line = timeline_line(message)
        if line is None:
            return
        text = Text(line, style=_STYLES[message.kind])
        if message.kind == "level":
            _colour_bar(text, message)
            for sound in playing:
                text.append(f"  ♪ {sound.label}", style="magenta")
        self._console.print(text)

    def verdict(self, verdict: Verdict) -> None:
        """Print a line a sound, then the false events, then one sentence."""
        self._print("\nThe scene, sound by sound", "bold")
        for sound, event in verdict.heard:
            late_s = event.start_s - sound.start_s
            found = f"heard as {event.label}, score {event.score:.2f}, onset {late_s:+.1f} s"
            self._print(f"  ✓ {_described(sound)}  {found}", "green")
        for sound in verdict.missed:
            self._print(f"  ✗ {_described(sound)}  missed", "red")
        for event in verdict.false:
            found = f"{event.label} at {event.start_s:.1f} s, score {event.score:.2f}"
            self._print(f"  ! false event: {found}", "yellow")
        total = len(verdict.heard) + len(verdict.missed)
        self._print(
            f"\nHeard {len(verdict.heard)} of {total} sounds, false events: {len(verdict.false)}.",
            "bold",
        )

    def unjudged(self, events: Sequence[Heard]) -> None:
        """Print how many events there were."""
        self._print(
            f"\nEvents: {len(events)}. What really sounded, nobody here knows better.", "bold"
        )

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(line, style=style))


def _described(sound: SceneSound) -> str:
    return f"{sound.label:<11}{sound.start_s:5.1f} to {sound.end_s:4.1f} s"


def _colour_bar(text: Text, message: Message) -> None:
    bar = _BAR.search(text.plain)
    payload = msgspec.json.decode(message.payload, type=LevelPayload)
    if bar is None:
        return
    # Thirds of the bar's 24 cells, as on any level meter.
    cells = bar.end() - bar.start()
    text.stylize("green", bar.start(), bar.start() + min(cells, 12))
    text.stylize("yellow", bar.start() + min(cells, 12), bar.start() + min(cells, 18))
    text.stylize("bold red" if payload.overload else "red", bar.start() + min(cells, 18), bar.end())
