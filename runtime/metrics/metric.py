"""One step's numbers, as they lie in the store, and the names that the sources agree on."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME_CHARS_MAX = 100
NAMES_CACHED = 1024

SYNONYMS = {
    "learning_rate": "lr",
    "tok/s": "tok_s",
    "tokens/s": "tok_s",
    "tokens/sec": "tok_s",
    "tokens_per_s": "tok_s",
    "tokens_per_sec": "tok_s",
    "tokens_per_second": "tok_s",
    "train_tokens_per_second": "tok_s",
    "acc": "accuracy",
    "eval_acc": "eval_accuracy",
    "gnorm": "grad_norm",
    "evaluation_loss_vs_iterations": "eval_loss",
}
EVALUATION = re.compile(r"^(?:eval|evaluation|val|valid|validation)[ _/](?!.*_vs_)")


@dataclass(frozen=True)
class Reading:
    """What one source says of one step; `at_s` is seconds since the epoch where it tells."""

    step: int | None
    values: dict[str, float] = field(default_factory=dict)
    total: int | None = None
    at_s: float | None = None


@dataclass(frozen=True)
class Metric:
    """One line of a node's metrics; a later line of the same step adds to it and corrects it.

    `total` is how many steps the training will have; `values` holds epoch, loss, lr, tok_s,
    eval_loss and whatever else has a name.
    """

    ts: str
    step: int | None
    values: dict[str, float] = field(default_factory=dict)
    total: int | None = None

    def to_document(self) -> dict[str, str | int | float]:
        """Return the fields that are known.

        JSON has no NaN: it and the infinities are the strings "NaN", "Infinity" and "-Infinity",
        which Python's float() and JavaScript's Number() read.
        """
        known = {"ts": self.ts, "step": self.step, "total": self.total}
        document: dict[str, str | int | float] = {
            key: value for key, value in known.items() if value is not None
        }
        for name, value in self.values.items():
            document.setdefault(name, plain(value))
        return document

    def to_json(self) -> str:
        """Return the line, without its newline."""
        return json.dumps(self.to_document(), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Metric:
        """Read a line; ValueError when it is none."""
        found = json.loads(line)
        if not isinstance(found, dict) or not isinstance(found.get("ts"), str):
            raise ValueError("A metric is a JSON object with the key ts.")  # noqa: TRY004
        counts = {key: _count(found.pop(key, None)) for key in ("step", "total")}
        ts = found.pop("ts")
        values = {name: _value(value) for name, value in found.items() if value is not None}
        return cls(ts, counts["step"], values, counts["total"])


def read_lines(lines: Iterable[bytes]) -> Iterator[Metric]:
    """Yield the metrics of some lines; a line that is none is passed over."""
    for line in lines:
        try:
            metric = Metric.from_json(line)
        except (ValueError, RecursionError):
            continue
        yield metric


def plain(value: float) -> float | str:
    """Return a number as strict JSON can hold it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


@lru_cache(NAMES_CACHED)
def canonical(name: str) -> str:
    """Return the one name for what frameworks call `train/loss`, `val_loss`, `learning_rate`."""
    short = name.strip().lower()[:NAME_CHARS_MAX]
    short = short.removeprefix("train/")
    short = EVALUATION.sub("eval_", short).replace(" ", "_")
    return SYNONYMS.get(short, short)


def _count(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    raise ValueError("A step is a whole number.")


def _value(value: object) -> float:
    if isinstance(value, (int, float, str)):
        return float(value)
    raise ValueError("A metric is a number.")
