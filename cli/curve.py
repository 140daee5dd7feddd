"""The loss curve, drawn in braille dots.

Not with plotext: 6 loads a native library (0.13 s a start), shares no call with 5, and its
quarter blocks hold half the dots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH_MIN, HEIGHT_MIN = 24, 6
BLANK = 0x2800
# Bits of a braille character: DOTS[row][column].
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
ROWS_A_Y_TICK, Y_TICKS_MAX, COLUMNS_AN_X_TICK = 2, 6, 12
DENSE = 3  # points a column of dots, from where on they are a band around their mean
DIM, BAND, LINE, RESET = "\x1b[2m", "\x1b[2;36m", "\x1b[1;36m", "\x1b[0m"
HUGE = 1e100  # not even a diverging loss; NaN is never below it
TINY = 1e-30
THOUSANDS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def loss_curve(
    points: Sequence[tuple[float, float]],
    width: int,
    height: int,
    *,
    title: str = "loss",
    color: bool = False,
) -> str:
    """Draw (step, value) points, at most `width` columns by `height` lines, as text.

    Many points become a dotted band, from the least to the greatest of each column, around a solid
    line, their mean. What is not finite is left out and counted in the title.
    """
    finite = [(x, y) for x, y in points if -HUGE < y < HUGE and -HUGE < x < HUGE]
    head = _head(title, finite, len(points) - len(finite))[:width]
    if not finite or width < WIDTH_MIN or height < HEIGHT_MIN:
        return head
    rows = height - 3  # the title, the axis and its labels
    ys = _Scale.over([y for _, y in finite], max(2, min(rows // ROWS_A_Y_TICK, Y_TICKS_MAX)))
    margin = max([0, *(len(label) for _, label in ys.ticks)])
    columns = width - margin - 2
    xs = _Scale.over([x for x, _ in finite], max(2, columns // COLUMNS_AN_X_TICK), whole=True)
    canvas = _Canvas(columns, rows)
    canvas.draw(finite, xs, ys)
    labels = {rows - 1 - round(ys.place(value) * (rows - 1)): text for value, text in ys.ticks}
    lines = [head]
    for row, cells in enumerate(canvas.lines(color=color)):
        label = labels.get(row, "")
        edge = f"{label:>{margin}} {'┤' if label else '│'}"
        lines.append(_paint(edge, DIM, color) + cells)
    lines += [_paint(line, DIM, color) for line in _x_axis(xs, columns, margin)]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Scale:
    """A range of numbers with round ticks inside it."""

    low: float
    high: float
    ticks: list[tuple[float, str]]

    @classmethod
    def over(cls, values: list[float], ticks: int, *, whole: bool = False) -> _Scale:
        low, high = min(values), max(values)
        size = max(abs(low), abs(high))
        if high - low <= max(1e-9 * size, TINY):
            pad = max(1.0, 1e-6 * size) if whole else size / 10 if size > TINY else 0.5
            low, high = low - (0 if whole else pad), high + pad
        rough = (high - low) / ticks
        power = 10.0 ** math.floor(math.log10(rough))
        steps = [power * m for m in (1, 2, 5, 10)]
        best = next(i for i, step in enumerate(steps) if step >= rough * 0.999)
        least = 1.0 if whole else 0.0
        found = (_marks(low, high, max(step, least)) for step in reversed(steps[: best + 1]))
        return cls(low, high, next((marks for marks in found if len(marks) > 1), []))

    def place(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def _marks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    """Return the multiples of a step between two numbers, with their labels."""
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [((first + i) * step, _label((first + i) * step, step)) for i in range(count)]


@dataclass
class _Canvas:
    columns: int
    rows: int
    _cells: dict[tuple[int, int], int] = field(default_factory=dict)
    _on_line: set[tuple[int, int]] = field(default_factory=set)

    def draw(self, points: list[tuple[float, float]], xs: _Scale, ys: _Scale) -> None:
        """Draw a line through the points, from column of dots to column of dots."""
        x_factor = (self.columns * 2 - 1) / (xs.high - xs.low)
        y_factor = (self.rows * 4 - 1) / (ys.high - ys.low)
        dense = len(points) > DENSE * self.columns * 2
        before: tuple[int, int] | None = None
        for column, span in sorted(_spans(points, xs.low, x_factor).items()):
            values = (span.first, span.last, span.mean, span.least, span.greatest)
            first, last, mean, least, greatest = (
                int((value - ys.low) * y_factor + 0.5) for value in values
            )
            if dense:
                first = last = mean
            self._line(before or (column, first), (column, first))
            for y in range(least, greatest + 1):
                if not dense or y % 4 == column % 2 * 2:
                    self._dot(column, y)
            before = column, last

    def lines(self, *, color: bool) -> Iterator[str]:
        """Yield the rows from the top down, the band paler than the line."""
        for row in reversed(range(self.rows)):
            cells = [(column, row) for column in range(self.columns)]
            runs = groupby(cells, lambda cell: LINE if cell in self._on_line else BAND)
            painted = (
                _paint("".join(self._character(cell) for cell in run), code, color)
                for code, run in runs
            )
            yield "".join(painted).rstrip()

    def _character(self, cell: tuple[int, int]) -> str:
        bits = self._cells.get(cell, 0)
        return chr(BLANK + bits) if bits else " "

    def _line(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(steps + 1):
            x, y = x0 + round((x1 - x0) * i / steps), y0 + round((y1 - y0) * i / steps)
            self._dot(x, y)
            self._on_line.add((x // 2, y // 4))

    def _dot(self, x: int, y: int) -> None:
        cell = x // 2, y // 4
        self._cells[cell] = self._cells.get(cell, 0) | DOTS[3 - y % 4][x % 2]


@dataclass
class _Span:
    """The points of one column of dots."""

    first: float
    last: float
    least: float
    greatest: float
    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float:
        return min(max(self.total / self.count, self.least), self.greatest)


def _spans(points: list[tuple[float, float]], low: float, factor: float) -> dict[int, _Span]:
    spans: dict[int, _Span] = {}
    for x, y in points:
        column = int((x - low) * factor + 0.5)
        span = spans.get(column)
        if span is None:
            span = spans[column] = _Span(y, y, y, y)
        span.last = y
        span.total += y
        span.count += 1
        if y < span.least:
            span.least = y
        elif y > span.greatest:
            span.greatest = y
    return spans


def _head(title: str, finite: list[tuple[float, float]], left_out: int) -> str:
    parts = [f"{title} {finite[-1][1]:.4g} at step {_label(finite[-1][0], 1)}"] if finite else []
    parts += [] if finite else [f"{title}: nothing yet"]
    return " · ".join([*parts, *([f"{left_out} not finite"] if left_out else [])])


def _x_axis(xs: _Scale, columns: int, margin: int) -> tuple[str, str]:
    axis, labels = ["─"] * columns, " " * (columns + margin + 2)
    free = 0
    for value, text in xs.ticks:
        column = round(xs.place(value) * (columns - 1))
        start = min(max(margin + 2 + column - len(text) // 2, 0), len(labels) - len(text))
        if start >= free:
            axis[column] = "┬"
            labels = labels[:start] + text + labels[start + len(text) :]
            free = start + len(text) + 1
    return " " * margin + " └" + "".join(axis), labels.rstrip()


def _label(value: float, step: float) -> str:
    for size, letter in THOUSANDS:
        if step >= size / 2 and abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    if abs(value) >= 1e9 or 0 < step < 1e-6:
        return f"{value:.3g}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _paint(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{RESET}" if color and text.strip() else text
