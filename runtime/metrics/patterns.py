"""The user's own patterns, and the promise that none of them can hold up the node."""

from __future__ import annotations

import importlib
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.errors import InvalidRequest
from llmcloud.runtime.metrics.words import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.task import MetricPattern

REPEATS_FEW = 4
SLOW_TOTAL_S = 2.0
SLOW_MEAN_S = 0.002


class OwnPattern:
    """A compiled pattern that gives up when it proves slow on this job's lines."""

    def __init__(self, pattern: MetricPattern, clock: Callable[[], float] = time.perf_counter):
        self.name = pattern.name
        self.gave_up = False
        self._search = compile_pattern(pattern).search
        self._clock = clock
        self._spent_s, self._lines = 0.0, 0

    def read(self, line: str) -> float | None:
        """Return the number that the pattern finds on a line."""
        if self.gave_up:
            return None
        start = self._clock()
        found = self._search(line)
        self._spent_s += self._clock() - start
        self._lines += 1
        self.gave_up = self._spent_s > max(SLOW_TOTAL_S, SLOW_MEAN_S * self._lines)
        return number(found.group(1) or "") if found else None


def compile_pattern(pattern: MetricPattern) -> re.Pattern[str]:
    """Compile a user's pattern; InvalidRequest when it is wrong or could run away.

    Python's engine takes exponential time for a repeat inside a repeat (`(a+)+`), and nothing can
    stop it, so such a pattern is refused.
    """
    where = f"metrics: {pattern.name}"
    try:
        compiled = re.compile(pattern.regex)
        parsed = _parser().parse(pattern.regex)
    except (re.error, RecursionError, OverflowError) as e:
        raise InvalidRequest(
            f"The pattern {pattern.regex!r} is no regular expression: {e}.",
            where=where,
            fix="Correct it; Python's re module documents the syntax.",
        ) from e
    if compiled.groups < 1:
        raise InvalidRequest(
            f"The pattern {pattern.regex!r} has no group, so it captures no number.",
            where=where,
            fix="Put the number in parentheses, as in loss=([0-9.]+).",
        )
    if _may_run_away(parsed):
        raise InvalidRequest(
            f"The pattern {pattern.regex!r} repeats what itself repeats or branches, "
            "which can take exponential time.",
            where=where,
            fix="Write it without a repeat around a repeat, as in loss=([0-9.]+).",
        )
    return compiled


def _parser() -> Any:
    return importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")


def _may_run_away(parsed: Any, *, repeated: bool = False) -> bool:
    for operator, argument in parsed:
        kind = str(operator)
        if repeated and kind in ("BRANCH", "GROUPREF"):
            return True
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            if repeated and low != high:
                return True
            if _may_run_away(body, repeated=repeated or high > REPEATS_FEW):
                return True
        elif any(_may_run_away(body, repeated=repeated) for body in _bodies(kind, argument)):
            return True
    return False


def _bodies(kind: str, argument: Any) -> list[Any]:
    if kind == "BRANCH":
        return list(argument[1])
    if kind in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
        return [argument[-1]]
    if kind == "GROUPREF_EXISTS":
        return [body for body in argument[1:] if body is not None]
    return []  # atomic groups and possessive repeats never backtrack
