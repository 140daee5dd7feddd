"""The terminal that `watch` draws on: a real one, a pty."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING

import pytest
from tests.rig import snapshots

from llmcloud.cli.watch_screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

TO_OTHER, BACK = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Pty:
    """Both ends of a terminal."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.stdout = io.TextIOWrapper(os.fdopen(theirs, "wb"), "utf-8")

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, size)

    def read(self) -> str:
        """Return what was shown since the last call."""
        self.stdout.write("\0")  # so that we know when all was read
        self.stdout.flush()
        shown = b""
        while not shown.endswith(b"\0"):
            shown += os.read(self.ours, 1 << 16)
        return shown[:-1].decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pty]:
    """Return a terminal of 80 columns and 24 lines."""
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Pty()
    made.resize(80, 24)
    # Which streams rich asks for their size; it looks when it is imported.
    monkeypatch.setattr("rich.console._STD_STREAMS", (made.stdout.fileno(),))
    yield made
    made.stdout.close()
    os.close(made.ours)


# Writing a picture must not wait for a reader: a pty holds 4 KB, so pictures are small here.
SEEN = snapshots.submitted()


def open_screen(terminal: Pty) -> Screen:
    with contextlib.redirect_stdout(terminal.stdout):
        made = Screen.open()
    assert made
    return made


def test_the_last_picture_stays_when_the_job_is_over(terminal: Pty) -> None:
    """It is drawn on the other screen, and once more on the terminal's own."""
    with open_screen(terminal) as screen:
        screen.show(SEEN, "")
        during = terminal.read()
    after = terminal.read()
    assert during.startswith(TO_OTHER)
    assert HIDE_CURSOR in during
    assert "○ staging" in during
    assert during.count("\n") == 23
    before, _, kept = after.partition(BACK)
    assert SHOW_CURSOR in before + kept
    assert "○ staging" in kept
    assert "\x1b[H" not in kept


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Pty) -> None:
    def interrupted() -> None:
        with open_screen(terminal) as screen:
            screen.show(SEEN, "")
            terminal.read()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert SHOW_CURSOR in terminal.read()


def test_a_terminal_of_another_size_has_a_new_picture_at_once(terminal: Pty) -> None:
    with open_screen(terminal) as screen:
        screen.show(SEEN, "")
        terminal.read()
        screen.wait(0.01)
        assert terminal.read() == ""
        terminal.resize(60, 15)
        screen.wait(0.01)
        assert terminal.read().count("\n") == 14


def test_a_terminal_that_can_only_print_lines_is_none(
    terminal: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with contextlib.redirect_stdout(terminal.stdout):
        assert Screen.open() is None
