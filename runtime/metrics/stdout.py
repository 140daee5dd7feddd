"""Metrics out of what a training prints: dicts, progress bars, `name value` lines, own patterns."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llmcloud.runtime.metrics.bars import Bar, read_bar
from llmcloud.runtime.metrics.metric import Reading, canonical
from llmcloud.runtime.metrics.patterns import OwnPattern
from llmcloud.runtime.metrics.words import NUMBER, SAYS_ENOUGH, STEP_NAMES, number, read_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmcloud.runtime.task import MetricPattern

LINE_CHARS_MAX = 2048
# A bar drawn right after a dict tells its step; one drawn later is of a later step.
BAR_FOLLOWS_S = 0.05

# What every line that we can read holds; looked for before anything dearer.
HINTS = ("loss", "step", "iter", "%|", "epoch", "accuracy", "perplexity", "ppl")
BREAKS = re.compile(r"[\r\n\b]+")
ANSI = re.compile(r"\x1b(?:\[[0-?]{0,20}[ -/]{0,5}[@-~]|[@-Z\\-_])")
# tqdm draws an inner bar a line lower, and moves back up.
NESTED = re.compile(r"\x1b\[\d{0,3}A\s{0,5}$")
KERAS_EPOCH = re.compile(r"^epoch (\d{1,6})/(\d{1,6})$")
DICT_ITEM = re.compile(
    rf"['\"]([A-Za-z_][\w./ -]{{0,80}})['\"]:\s?['\"]?({NUMBER})['\"]?(?=[,}}])", re.IGNORECASE
)
TOTAL_NAMES = ("total", "total_steps", "max_steps")
EPOCHS_MAX = 1_000_000


class StdoutParser:
    """Text in, readings out; remembers only where the training is: its step, epoch and total."""

    def __init__(
        self, patterns: Iterable[MetricPattern] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.patterns = [OwnPattern(each) for each in patterns]
        self._clock = clock
        self._bar: Bar | None = None
        self._epoch: tuple[int, int] | None = None
        self._epoch_steps: int | None = None
        self._last_in_epoch: tuple[int, float] = (-1, 0.0)
        self._restarts = False
        self._waiting: tuple[float, Reading] | None = None

    def feed(self, text: str) -> list[Reading]:
        """Read a line, or a fragment of one that ended in a carriage return."""
        if not self.patterns:
            lowered = text.lower()
            if not any(hint in lowered for hint in HINTS):
                return []
        found: list[Reading] = []
        for raw in BREAKS.split(text):
            piece = raw[:LINE_CHARS_MAX]
            if line := (ANSI.sub("", piece) if "\x1b" in piece else piece).strip():
                found += self._read(line, nested=NESTED.search(piece) is not None)
        return found

    def flush(self) -> list[Reading]:
        """Return what still waits for a bar."""
        return self._settle(None)

    def _read(self, line: str, *, nested: bool) -> list[Reading]:
        known = self._read_known(line, nested=nested)
        own = {p.name: value for p in self.patterns if (value := p.read(line)) is not None}
        if not own:
            return known
        step, total = own.pop("step", None), own.pop("total", None)
        reading = known.pop() if known else Reading(self._bar.done if self._bar else None)
        if step is not None and abs(step) < 2**63:
            reading = replace(reading, step=int(step))
        if total is not None and abs(total) < 2**63:
            reading = replace(reading, total=int(total))
        return [*known, replace(reading, values={**reading.values, **own})]

    def _read_known(self, line: str, *, nested: bool) -> list[Reading]:
        lowered = line.lower()
        if not any(hint in lowered for hint in HINTS):
            return []
        if (bar := read_bar(line)) is not None:
            return [] if nested else self._read_bar(bar)
        if (epoch := KERAS_EPOCH.match(lowered)) is not None:
            self._epoch = int(epoch[1]), int(epoch[2])
            return []
        if (start := max(line.find("{'"), line.find('{"'))) >= 0:
            return self._read_dict(line[start:])
        return self._read_words(lowered)

    def _read_bar(self, bar: Bar) -> list[Reading]:
        if bar.is_keras:
            return self._read_keras(bar)
        if bar.epoch is not None:
            step = bar.epoch * bar.total + bar.done
            return [Reading(step, {"epoch": float(bar.epoch), **bar.values})] if bar.values else []
        if bar.title and not bar.values:
            return []  # a download, a data set being mapped
        settled = self._settle(bar)
        self._bar = bar
        return [*settled, Reading(bar.done, bar.values, bar.total)] if bar.values else settled

    def _read_keras(self, bar: Bar) -> list[Reading]:
        epoch, epochs = self._epoch or (1, 1)
        self._epoch_steps = self._epoch_steps or bar.total
        if bar.total != self._epoch_steps:
            return []  # model.evaluate() draws one, too
        step = (epoch - 1) * bar.total + bar.done
        return [Reading(step, {"epoch": float(epoch), **bar.values}, epochs * bar.total)]

    def _read_dict(self, text: str) -> list[Reading]:
        items = {canonical(name): number(value) for name, value in _items(text)}
        values = {name: value for name, value in items.items() if value is not None}
        steps = [values.pop(name) for name in STEP_NAMES & values.keys()]
        totals = [values.pop(name) for name in TOTAL_NAMES if name in values]
        total = int(totals[0]) if totals and abs(totals[0]) < 2**63 else None
        if values and steps and abs(steps[0]) < 2**63:
            return [Reading(int(steps[0]), values, total)]
        if not any(SAYS_ENOUGH.fullmatch(name) for name in values):
            return []
        settled = self._settle(None)
        self._waiting = self._clock(), Reading(None, values, total)
        return settled

    def _settle(self, next_bar: Bar | None) -> list[Reading]:
        """Give the dict that waits its step: the bar's that followed it, or the one before."""
        if self._waiting is None:
            return []
        since, reading = self._waiting
        self._waiting = None
        follows = next_bar is not None and self._clock() - since < BAR_FOLLOWS_S
        bar = next_bar if follows else self._bar
        if bar is None:
            return [reading]
        return [replace(reading, step=bar.done, total=reading.total or bar.total)]

    def _read_words(self, lowered: str) -> list[Reading]:
        words = read_words(lowered)
        if words is None:
            return []
        step, total = words.step, words.total
        if step is None and words.values and self._bar is not None:
            step = self._bar.done
        elif step is not None and total is not None and "epoch" in words.values:
            return [self._place(step, total, words.values)]
        return [Reading(step, words.values, total)]

    def _place(self, step: int, total: int, values: dict[str, float]) -> Reading:
        """Count `Epoch [2/3], Step [10/200]` from the start of the training.

        Whether a step starts anew in each epoch shows when it first goes down as the epoch goes up.
        """
        epoch = values["epoch"]
        last_step, last_epoch = self._last_in_epoch
        self._restarts |= epoch > last_epoch and step < last_step
        self._last_in_epoch = step, epoch
        if not self._restarts or not 1 <= epoch < EPOCHS_MAX:
            return Reading(step, values, total)
        return Reading((int(epoch) - 1) * total + step, values)


def _items(text: str) -> Iterable[tuple[str, str]]:
    """Return the names and numbers of a dict as Python or JSON prints it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return DICT_ITEM.findall(text)
    if not isinstance(found, dict):
        return []
    kinds = (int, float, str)
    return [
        (name, str(value)[:LINE_CHARS_MAX])
        for name, value in found.items()
        if isinstance(value, kinds) and not isinstance(value, bool)
    ]
