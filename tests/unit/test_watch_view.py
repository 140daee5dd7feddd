"""The picture that `watch` draws."""

from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.rig import snapshots

from llmcloud.cli.watch_view import Picture, draw
from llmcloud.core.watch import LogLine, Snapshot
from llmcloud.runtime.heartbeat import Phase

CODES = re.compile(r"\x1b\[[0-9;]*m")
GOLDEN = Path(__file__).parent / "golden" / "watch"
JOBS = {
    "submitted": snapshots.submitted,
    "setup": lambda: snapshots.starting(Phase.SETUP, Phase.READY),
    "running": snapshots.running,
    "failed": snapshots.failed,
    "many-nodes": lambda: snapshots.running(nodes=256),
}


def text(seen: Snapshot, width: int, height: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(Picture(seen), height=height)
    assert isinstance(console.file, io.StringIO)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        ("running", 80, 24),
        ("running", 120, 40),
        ("running", 60, 15),
        ("submitted", 80, 24),
        ("setup", 80, 24),
        ("failed", 80, 24),
        ("many-nodes", 80, 24),
    ],
)
def test_a_picture_looks_as_it_was_approved(name: str, width: int, height: int) -> None:
    """Look at the files in golden/watch; UPDATE_GOLDEN=1 writes them again."""
    path = GOLDEN / f"{name}-{width}x{height}.txt"
    drawn = text(JOBS[name](), width, height)
    if "UPDATE_GOLDEN" in os.environ:
        path.write_text(drawn)
    assert drawn == path.read_text()


nasty = st.text(st.characters(codec="utf-8"), max_size=300)


@given(st.sampled_from(sorted(JOBS)), st.integers(1, 200), st.integers(1, 70), nasty, nasty)
def test_a_picture_fits_every_terminal(
    name: str, width: int, height: int, line: str, note: str
) -> None:
    """Whatever a job prints, and however small the window is."""
    readable = "".join(each for each in line if each.isprintable())
    seen = replace(JOBS[name](), log=(LogLine(0, readable),) * 90)
    lines = draw(seen, width, height, note)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    assert all("\n" not in line.plain for line in lines)


def test_nodes_in_trouble_are_seen_among_many() -> None:
    """One that is silent for long comes first."""
    seen = snapshots.running(nodes=256)
    beats = dict(seen.view.beats)
    beats[200] = replace(beats[200], at="2026-11-21T10:27:00.000Z")
    rows = text(replace(seen, view=replace(seen.view, beats=beats)), 100, 24).splitlines()
    head = next(number for number, row in enumerate(rows) if row.startswith("NODE"))
    assert rows[head + 1].startswith("200 ")
    assert rows[head + 1].endswith("3m 0s ago")
    assert rows[head + 2].startswith("0 ")


def test_a_node_that_has_ended_is_not_called_silent() -> None:
    seen = snapshots.failed()
    late = replace(seen, at_s=seen.at_s + 86_400)
    assert "ago" not in text(late, 100, 30)


def test_colour_changes_nothing_but_colour() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(Picture(snapshots.running()), height=24)
    assert isinstance(console.file, io.StringIO)
    colored = console.file.getvalue()
    assert "\x1b[1;36m● running" in colored
    lines = [line.rstrip() for line in CODES.sub("", colored).splitlines()]
    assert lines == text(snapshots.running(), 80, 24).splitlines()


def test_without_a_loss_the_log_has_the_room() -> None:
    seen = replace(snapshots.running(), loss=(), eval_loss=())
    drawn = text(seen, 80, 24)
    assert drawn.count("iter ") > 12
    assert "step" not in drawn.splitlines()[4]


def test_what_the_store_says_is_shown_below_the_title() -> None:
    lines = draw(snapshots.running(), 80, 24, "The store does not answer.")
    assert lines[1].plain == "The store does not answer."
