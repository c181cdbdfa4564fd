"""A bar on a terminal; without one, the log's lines and nothing else."""

import io
import logging

import pytest

from model_build.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is_and_no_lines_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress(8) as told:
        assert not logging.getLogger("model_build.train").isEnabledFor(logging.INFO)
        told.step()
        told.reach(6)
        told.step()
    assert "7/8" in terminal.getvalue()
    assert logging.getLogger("model_build.train").level == logging.NOTSET


def test_a_file_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2) as told:
        told.step()
        assert logging.getLogger("model_build.train").level == logging.NOTSET
    assert capsys.readouterr() == ("", "")
