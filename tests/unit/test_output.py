"""What reaches a terminal or a program, also where there is no room or nobody to read it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmcloud.cli import app, output, stay
from llmcloud.core.errors import UsageError

COMMAND = [sys.executable, "-c", "from llmcloud.cli.app import main; main()"]
FULL = Path("/dev/full")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "LLMCLOUD_HOME": str(tmp_path / "home")}


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("command", [["schema"], ["list", "--json"], ["init"]])
def test_an_output_without_room_is_a_failure_and_no_bug(
    command: list[str], environ: dict[str, str]
) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [*COMMAND, *command], stdout=full, stderr=subprocess.PIPE, env=environ, text=True
        )
    assert (done.returncode, "Traceback" in done.stderr) == (6, False)
    assert "No space left" in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
def test_a_failure_keeps_its_exit_code_where_it_cannot_be_told(environ: dict[str, str]) -> None:
    command = [*COMMAND, "status", "nope", "--json"]
    with FULL.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=full, env=environ)
    assert done.returncode == 9


def test_a_home_of_bytes_that_are_no_text_is_a_home(tmp_path: Path) -> None:
    named = os.fsencode(tmp_path) + b"/\xff\xfe"
    environ = {**os.environb, b"LLMCLOUD_HOME": named}
    done = subprocess.run([*COMMAND, "list", "--json"], capture_output=True, env=environ)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_a_home_of_nobody_is_a_mistake_of_the_call(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "list"],
        capture_output=True,
        env={**environ, "LLMCLOUD_HOME": "~nobody-of-this-name/x"},
        text=True,
    )
    assert done.returncode == 2
    assert "LLMCLOUD_HOME" in done.stderr


def test_the_words_of_others_do_not_move_the_cursor() -> None:
    text = output.panel(UsageError("a\x1b[2Jb\nc", where="\x1b]0;title\x07", fix="d\re"))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "a\\x1b[2Jb\nc" in text


def test_a_bug_of_ours_says_so_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Only here may a traceback be seen: it is what mending the bug takes."""

    def command() -> None:
        raise ZeroDivisionError

    assert app.guarded(command) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "bug in llmcloud" in shown.err
    assert "ZeroDivisionError" in shown.err


def test_a_question_is_answered_on_its_own_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "is_interactive", lambda: True)
    for answer, agreed in (("y\n", True), ("Yes\n", True), ("\n", False), ("", False)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert output.confirm("Delete it?", yes=False) is agreed
        assert capsys.readouterr().err == "Delete it? [y/N] "


def test_what_to_type_to_come_back_fits_a_terminal() -> None:
    """With the longest name that a job may have."""
    said = stay.how_to_come_back("x" * 40 + "-abcdef")
    assert max(map(len, said.splitlines())) <= 80
