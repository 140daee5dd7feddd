"""How a training goes, as a reader sees it: the latest values, the speed, the time left."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from llmcloud.runtime.status import epoch_s

if TYPE_CHECKING:
    from llmcloud.runtime.metrics.metric import Metric

MARKS = 30
# Lines that come closer together came in a burst, and tell nothing of the speed.
MARK_INTERVAL_S = 1.0
POINTS_MAX = 20_000
CURVES = ("loss", "eval_loss", "train_loss")


@dataclass(frozen=True)
class Progress:
    """Where a training is; what can't be told is None."""

    step: int | None = None
    total: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    steps_per_s: float | None = None
    tokens_per_s: float | None = None
    remaining_s: float | None = None


class History:
    """A node's metrics in the order of their lines, one attempt after the other.

    A line that is older than the latest corrects an earlier step; a newer one of an earlier step
    is of a training that was resumed. Memory is bounded.
    """

    def __init__(self) -> None:
        self._at_s = 0.0
        self._step: int | None = None
        self._total: int | None = None
        self._values: dict[str, float] = {}
        self._value_at_s: dict[str, float] = {}
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS)
        self._curves = {name: _Curve() for name in CURVES}

    def add(self, metric: Metric) -> None:
        """Take the next line."""
        at_s = _epoch_s(metric.ts)
        for name, value in metric.values.items():
            if at_s >= self._value_at_s.get(name, 0.0):
                self._values[name], self._value_at_s[name] = value, at_s
            if name in self._curves:
                self._curves[name].add(metric.step, value)
        if at_s < self._at_s:
            return
        self._at_s = at_s
        self._total = self._total if metric.total is None else metric.total
        if metric.step is not None:
            self._mark(at_s, metric.step)
            self._step = metric.step

    def curve(self, name: str = "loss") -> list[tuple[float, float]]:
        """Return (step, value) in the order of the steps; of CURVES only.

        Where nothing is called loss, it is train_loss, as Lightning's users have it.
        """
        points = self._curves[name].points()
        return self._curves["train_loss"].points() if name == "loss" and not points else points

    def progress(self) -> Progress:
        """Return where the training is."""
        rate = self._steps_per_s()
        remaining_s = None
        if rate and self._total is not None and self._step is not None:
            remaining_s = max(0, self._total - self._step) / rate
        return Progress(
            self._step,
            self._total,
            dict(self._values),
            rate,
            self._values.get("tok_s"),
            remaining_s,
        )

    def _mark(self, at_s: float, step: int) -> None:
        if self._step is not None and step < self._step:
            self._marks.clear()
        if not self._marks or at_s - self._marks[-1][0] >= MARK_INTERVAL_S:
            self._marks.append((at_s, step))

    def _steps_per_s(self) -> float | None:
        """Return the median speed between the marks: a pause to evaluate or save is no slowness."""
        if self._step is None or not self._marks:
            return None
        marks = [*self._marks]
        if len(marks) == 1:
            marks.append((self._at_s, self._step))
        speeds = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(marks) if b[0] > a[0]]
        return statistics.median(speeds) if speeds else None


class _Curve:
    """Values by step; when there are too many, every second one goes."""

    def __init__(self) -> None:
        self._values: dict[float, float] = {}
        self._last: tuple[float, float] | None = None
        self._stride = 1
        self._count = 0

    def add(self, step: int | None, value: float) -> None:
        self._count += 1
        x = self._count if step is None else step
        self._last = x, value
        if x not in self._values and self._count % self._stride:
            return
        self._values[x] = value
        if len(self._values) > POINTS_MAX:
            kept = sorted(self._values)[::2]
            self._values = {each: self._values[each] for each in kept}
            self._stride *= 2

    def points(self) -> list[tuple[float, float]]:
        last = [self._last] if self._last else []
        return sorted({**self._values, **dict(last)}.items())


def _epoch_s(ts: str) -> float:
    """Return seconds since the epoch; 0 for a time that is none."""
    try:
        return epoch_s(ts)
    except (ValueError, OverflowError):
        return 0.0
