"""Log lines on a terminal: whose they are is seen, and no piece of a line is torn from it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmcloud.cli.lines import TextPrinter
from llmcloud.core.logs import Line, Stream
from llmcloud.runtime.records import Record
from llmcloud.runtime.segments import Position

if TYPE_CHECKING:
    import pytest


def line(text: str, node: int = 0, *, stream: str = "stdout", ends_line: bool = True) -> Line:
    return Line(Stream(1, node), Record(0, stream, text.encode(), ends_line), Position())


def printed(lines: list[Line], nodes: int, capsys: pytest.CaptureFixture[str]) -> str:
    show = TextPrinter(nodes)
    for each in lines:
        show(each)
    show.finish()
    return capsys.readouterr().out


def test_lines_of_several_nodes_begin_with_their_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed([line("a"), line("b", 1)], 2, capsys) == "[0] a\n[1] b\n"


def test_one_node_needs_no_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed([line("a"), line("b")], 1, capsys) == "a\nb\n"


def test_pieces_of_a_line_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = [line("10%\r", ends_line=False), line("20%\r", ends_line=False), line("done")]
    assert printed(pieces, 2, capsys) == "[0] 10%\r20%\rdone\n"


def test_a_piece_that_another_node_cuts_off_ends_there(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line("half", ends_line=False), line("b", 1), line(" and half")]
    assert printed(lines, 2, capsys) == "[0] half\n[1] b\n[0]  and half\n"


def test_a_line_that_stays_open_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed([line("prompt> ", ends_line=False)], 1, capsys) == "prompt> \n"


def shown(lines: list[Line], monkeypatch: pytest.MonkeyPatch, **environ: str) -> str:
    """Return what a terminal is sent for lines of two nodes."""
    reader, writer = os.openpty()
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **environ}.items():
        monkeypatch.setenv(name, value)
    with os.fdopen(writer, "w") as out, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", out)
        show = TextPrinter(2)
        for each in lines:
            show(each)
        show.finish()
        found = os.read(reader, 1000)
    os.close(reader)
    return found.decode()


def test_nodes_have_colours_of_their_own_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line("a"), line("b", 1), line("c", stream="system")]
    first, second, third = shown(lines, monkeypatch).splitlines()
    assert first == "\x1b[36m[0] \x1b[0ma"
    assert second == "\x1b[33m[1] \x1b[0mb"
    assert third == "\x1b[36m[0] \x1b[0m\x1b[2mc\x1b[0m"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown([line("a")], monkeypatch, NO_COLOR="1") == "[0] a\r\n"
