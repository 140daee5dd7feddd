"""All sources of a node's metrics as one stream, the trusted ones first."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING

from llmcloud.runtime.metrics.files import Folders
from llmcloud.runtime.metrics.metric import Metric, Reading
from llmcloud.runtime.metrics.stdout import StdoutParser
from llmcloud.runtime.status import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from llmcloud.runtime.task import MetricPattern

STEPS_KEPT = 10_000
NAMES_MAX = 200
NOT_VALUES = ("ts", "step", "total")  # the line has them already


class Trust(IntEnum):
    """Whose word counts where two sources give the same number of the same step."""

    STDOUT = 0
    FILE = 1
    EVENTS = 2


class Collector:
    """What a node's training says of itself: lines are fed in, files in `folders` are found.

    Create it before the training starts: files that are there already speak of an earlier run.
    Not thread-safe. `problems()` tells of patterns that were given up.
    """

    def __init__(
        self,
        patterns: Iterable[MetricPattern] = (),
        folders: Iterable[Path] = (),
        total: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stdout = StdoutParser(patterns)
        self._folders = Folders(folders)
        self._total = total
        self._clock = clock
        self._seen: OrderedDict[int, _Step] = OrderedDict()
        self._new: OrderedDict[int, Metric] = OrderedDict()
        self._stepless: list[Metric] = []

    def feed(self, line: str) -> None:
        """Take a line of the training's output; a fragment that ends in `\\r` will do, too."""
        for reading in self._stdout.feed(line):
            self._take(reading, Trust.STDOUT)

    def poll(self) -> list[Metric]:
        """Return what is new since the last call, in the order of the steps.

        One Metric a step; a step comes again only with what a more trusted source adds to it or
        corrects. Of more than STEPS_KEPT steps between two calls the oldest are dropped.
        """
        for reading in self._stdout.flush():
            self._take(reading, Trust.STDOUT)
        for trust, readings in self._folders.poll():
            for reading in readings:
                self._take(reading, Trust(trust))
        found = [*self._stepless, *(self._new[step] for step in sorted(self._new))]
        self._stepless, self._new = [], OrderedDict()
        return found

    def problems(self) -> list[str]:
        """Return what the user should know, one sentence each."""
        return [
            f"The pattern of the metric {each.name} is too slow and was given up."
            for each in self._stdout.patterns
            if each.gave_up
        ]

    def _take(self, reading: Reading, trust: Trust) -> None:
        if reading.total is not None:
            self._total = reading.total
        ts = rfc3339(self._clock() if reading.at_s is None else reading.at_s)
        if reading.step is None:
            if values := _Step(ts).learn(reading.values, trust):
                self._stepless.append(Metric(ts, None, values, self._total))
                del self._stepless[:-STEPS_KEPT]
            return
        known = self._seen.setdefault(reading.step, _Step(ts))
        if values := known.learn(reading.values, trust):
            before = self._new.get(reading.step)
            values = {**before.values, **values} if before else values
            self._new[reading.step] = Metric(known.ts, reading.step, values, self._total)
        for kept in (self._seen, self._new):
            if len(kept) > STEPS_KEPT:
                kept.popitem(last=False)


@dataclass
class _Step:
    """What is known of a step; `ts` is when it was first heard of, also for what corrects it."""

    ts: str
    _values: dict[str, tuple[Trust, float]] = field(default_factory=dict)

    def learn(self, values: dict[str, float], trust: Trust) -> dict[str, float]:
        """Take what a source says; return what is new in it."""
        news = {}
        for name, value in values.items():
            before = self._values.get(name)
            if name in NOT_VALUES or (before is None and len(self._values) >= NAMES_MAX):
                continue
            if before is not None and trust < before[0]:
                continue
            self._values[name] = trust, value
            if before is None or not _agree(before[1], value, rounded=trust > before[0]):
                news[name] = value
        return news


def _agree(before: float, value: float, *, rounded: bool) -> bool:
    """Tell whether two numbers are the same; `before` may have been printed with fewer digits."""
    if math.isclose(before, value, rel_tol=1e-6) or (math.isnan(before) and math.isnan(value)):
        return True
    exponent = Decimal(repr(before)).as_tuple().exponent
    unit = 10.0**exponent if isinstance(exponent, int) else 0.0
    return rounded and abs(before - value) <= 0.6 * unit
