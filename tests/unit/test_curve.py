"""The loss curve."""

import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.cli.curve import loss_curve

CODES = re.compile(r"\x1b\[[0-9;]*m")
FALLING = [(step, 2 + 4 * math.exp(-step / 200)) for step in range(0, 1000, 10)]


def dots(line: str) -> int:
    return sum((ord(character) - 0x2800).bit_count() for character in line if character > "\u2800")


def first_dotted(lines: list[str], column: int) -> int:
    return next(row for row, line in enumerate(lines) if dots(line[column : column + 1]))


def test_a_falling_loss_falls() -> None:
    lines = loss_curve(FALLING, 80, 20).splitlines()
    heights = [first_dotted(lines, column) for column in (4, 10, 20, 40, 78)]
    assert heights == sorted(set(heights))


def test_the_axes_tell_round_numbers_and_the_title_the_latest() -> None:
    lines = loss_curve(FALLING, 80, 20).splitlines()
    assert lines[0] == "loss 2.028 at step 990"
    assert [line.split()[0] for line in lines[1:-2] if "┤" in line] == ["6", "5", "4", "3"]
    assert lines[-1].split() == ["0", "200", "400", "600", "800"]


def test_the_tick_stands_where_its_value_is_drawn() -> None:
    """A loss that jumps from 2 to 4 has its two levels on those ticks' lines."""
    lines = loss_curve([(0, 2.0), (50, 2.0), (51, 4.0), (100, 4.0)], 60, 18).splitlines()
    (low,) = [line for line in lines if line.startswith("2.0 ┤")]
    (high,) = [line for line in lines if line.startswith("4.0 ┤")]
    assert dots(low[5:25]) >= 40
    assert dots(high[-20:]) >= 38


def test_steps_in_thousands_are_short() -> None:
    points = [(step * 10_000, 1 / (step + 1)) for step in range(200)]
    assert loss_curve(points, 80, 12).splitlines()[-1].split() == ["0", "500k", "1M", "1.5M"]


@pytest.mark.parametrize(
    ("points", "title"),
    [
        ([], "loss: nothing yet"),
        ([(0, math.nan)], "loss: nothing yet · 1 not finite"),
        ([(7, 2.5)], "loss 2.5 at step 7"),
        ([(0, 1.0), (5, math.inf), (9, 0.5)], "loss 0.5 at step 9 · 1 not finite"),
    ],
)
def test_few_points_and_bad_ones_are_told_in_the_title(
    points: list[tuple[float, float]], title: str
) -> None:
    assert loss_curve(points, 80, 12).splitlines()[0] == title


def test_a_single_spike_among_a_million_points_is_seen() -> None:
    """Each column keeps its least and its greatest value."""
    points = [(float(step), 1.0) for step in range(1_000_000)]
    points[500_123] = (500_123.0, 9.0)
    lines = loss_curve(points, 80, 20).splitlines()
    assert dots(lines[1]) >= 1 or dots(lines[2]) >= 1


def test_dense_points_have_their_mean_as_a_line() -> None:
    """The band around it is paler."""
    points = [(float(step), float(step % 4 == 0)) for step in range(10_000)]
    lines = loss_curve(points, 60, 19, color=True).splitlines()
    bright = {row for row, line in enumerate(lines) if "\x1b[1;36m" in line}
    assert bright
    assert bright <= {12, 13}
    assert "\x1b[2;36m" in lines[2]


def test_colour_changes_nothing_but_colour() -> None:
    colored = loss_curve(FALLING, 70, 15, color=True)
    assert "\x1b[" in colored
    stripped = [line.rstrip() for line in CODES.sub("", colored).splitlines()]
    assert stripped == [line.rstrip() for line in loss_curve(FALLING, 70, 15).splitlines()]


numbers = st.floats(allow_nan=True, allow_infinity=True)
points = st.lists(st.tuples(st.integers(0, 10**12) | numbers, numbers), max_size=40)


@given(points, st.integers(1, 200), st.integers(1, 60), st.booleans())
def test_no_points_and_no_size_break_the_picture(
    points: list[tuple[float, float]], width: int, height: int, color: bool
) -> None:
    """It always fits, whatever the numbers."""
    lines = CODES.sub("", loss_curve(points, width, height, color=color)).splitlines()
    assert 1 <= len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_drawing_needs_no_library() -> None:
    """watch starts no slower for it."""
    code = "import sys, llmcloud.cli.curve; sys.exit('plotext' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
