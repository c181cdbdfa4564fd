"""How far a long run is: a bar on a terminal, where there is none the log's lines alone."""

import logging
import sys
from types import TracebackType

import click

_CHATTY = ("model_build.train", "model_build.comparing")


class Progress:
    """A bar on stderr, with the time that is left.

    Args:
        steps: How many there are in all.
    """

    def __init__(self, steps: int) -> None:
        self._shown = sys.stderr.isatty()
        self._bar = click.progressbar(
            length=steps, file=sys.stderr, show_pos=True, hidden=not self._shown
        )
        self._done = 0

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        if self._shown:
            # Their lines would break the bar, which says the same.
            for name in _CHATTY:
                logging.getLogger(name).setLevel(logging.WARNING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.NOTSET)
        self._bar.__exit__(kind, error, trace)

    def step(self) -> None:
        """One more is done."""
        self.reach(self._done + 1)

    def reach(self, done: int) -> None:
        """So many are done, for some may have been done before."""
        self._bar.update(done - self._done)
        self._done = done
