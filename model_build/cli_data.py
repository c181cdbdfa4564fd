"""The commands of `model-build` that get recordings; see `cli` for exit codes."""

import logging
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

from edge_agent.clock import SystemClock
from model_build.extras import require

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from model_build.download import Told

_log = logging.getLogger(__name__)


@click.group()
def data() -> None:
    """Recordings to learn from."""


@data.command()
@click.argument("name", type=click.Choice(["urbansound8k", "esc50"]))
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path),
    envvar="EARSHOT_DATA",
    required=True,
    show_envvar=True,
    help="The folder of recordings that the set goes into, with its manifest.",
)
@click.option(
    "--from",
    "source",
    metavar="URL|FILE",
    help="A mirror's address, or the archive as a file, instead of its makers' address.",
)
@click.option("--keep", is_flag=True, help="Leave the archive there once it is unpacked.")
def fetch(name: str, folder: Path, source: str | None, keep: bool) -> None:
    """Download an official set, verify it, and unpack it with a manifest that all commands read.

    What was cut off goes on where it stopped. The set's licence is told first.

    \b
    model-build data fetch esc50 --data recordings
    """
    require("data fetch", "pooch", "requests")
    from model_build import data as getting
    from model_build.officialsets import SETS

    official = SETS[name]
    with Bars() as bars:
        manifest = getting.fetch(
            name,
            official,
            folder,
            source=source,
            keep=keep,
            told=bars.told,
            clock=SystemClock(),
        )
    print(f"{manifest}: {official.clips} clips in {official.folds} folds")


class Bars:
    """One bar after the other on a terminal; where there is none, a line for each tenth."""

    def __init__(self) -> None:
        self._bar: ProgressBar[int] | None = None
        self._tenth = 0

    def __enter__(self) -> "Bars":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def told(self, what: str) -> "Told":
        """Who is told how far this is."""
        self._end()
        self._tenth = 0

        def tell(done: int, total: int | None) -> None:
            if total is None or not total:
                return
            if sys.stderr.isatty():
                self._draw(what, done, total)
            elif 10 * done // total > self._tenth:
                self._tenth = 10 * done // total
                _log.info("%s: %d %%", what, 10 * self._tenth)

        return tell

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = click.progressbar(length=total, label=what, file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
