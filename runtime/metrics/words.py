"""`iter 10: loss 3.1, lr 3e-4`, `step=10 loss=2.5` and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from llmcloud.runtime.metrics.metric import NAMES_CACHED, canonical

DIGITS = r"\d{1,3}(?:,\d{3}){1,6}|\d{1,19}"
WHOLE = r"\d{1,3}(?:,\d{3}){1,6}|\d{1,40}"  # a loss that diverged, written out
FINITE = rf"[-+]?(?:(?:{WHOLE})(?:\.\d{{0,40}})?|\.\d{{1,40}})(?:e[-+]?\d{{1,4}})?"
NUMBER = rf"{FINITE}|nan|[-+]?inf(?:inity)?"

STEP = re.compile(
    r"(?<![\w./-])(?:global[ _]?step|train(?:ing)?[ _]step|step|iter|iteration|update)"
    rf"(?P<sign>\s{{0,3}}[=:]\s{{0,3}}|\s{{0,3}})\[?\s{{0,6}}(?P<step>{DIGITS})(?![\w.])"
    rf"(?:\s?/\s?(?P<total>{DIGITS}))?"
)
EPOCH = re.compile(
    rf"(?<![\w./-])epoch(?:\s{{0,3}}[=:]\s{{0,3}}|\s{{0,3}})\[?\s{{0,3}}(?P<epoch>{NUMBER})"
)
TOTAL = re.compile(
    r"\b(?:total|max)[ _](?:\w{1,20} )?(?:steps|iters|iterations)\s{0,3}[:=]\s{0,3}"
    rf"({DIGITS})\b"
)
PAIR = re.compile(
    r"(?<![\w./-])(?P<name>(?:(?:train(?:ing)?|val(?:id(?:ation)?)?|eval|test) )?"
    r"[a-z_][\w./-]{0,80})"
    rf"(?P<sign>\s{{0,3}}[=:]\s{{0,3}}|\s{{1,8}})(?P<value>{NUMBER})(?P<unit>%?)(?!\.?[\w%/])"
)
STEP_NAMES = {"step", "iter", "iteration", "update", "global_step", "train_step", "training_step"}
# A line with one of these is about the training, even when it names no step.
SAYS_ENOUGH = re.compile(r"(?:.*[_/ .])?loss|(?:eval_)?(?:accuracy|perplexity|ppl)")
# These may stand before their number without a sign, where the line names a step.
USUAL = re.compile(rf"{SAYS_ENOUGH.pattern}|lr|tok_s|grad_norm|epoch|mfu|bpc|bits_per_byte")
# `packet loss: 3` is not about the training.
NOT_OURS = ("packet loss", "data loss", "frame loss", "signal loss", "connection loss")


@dataclass(frozen=True)
class Words:
    """A line's numbers; `step` counts from the start of the training, or of `epoch`."""

    step: int | None
    total: int | None
    values: dict[str, float]


def read_words(line: str) -> Words | None:
    """Read a lower-case line; None when it is no metric line."""
    if ("total" in line or "max" in line) and (total := TOTAL.search(line)) is not None:
        return Words(None, count(total.group(1)), {})
    step = STEP.search(line)
    values: dict[str, float] = {}
    explicit = enough = usual = False
    for found in PAIR.finditer(line):
        raw_name, sign, text, unit = found.groups()
        name, signed = canonical(raw_name), not sign.isspace()
        if name in STEP_NAMES or (unit and name.endswith("loss")):
            continue
        is_usual, is_enough = _tells(name)
        if (signed or is_usual) and (value := number(text)) is not None:
            values[name] = value
            explicit |= signed
            usual |= is_usual
            enough |= signed and is_enough
    if step is None:
        accepted = enough and not any(phrase in line for phrase in NOT_OURS)
    else:
        accepted = usual or (explicit and "=" in step["sign"])
    if not accepted:
        return None
    if "epoch" not in values and (epoch := EPOCH.search(line)) is not None:
        values["epoch"] = number(epoch["epoch"]) or 0.0
    return Words(
        count(step["step"]) if step else None,
        count(step["total"]) if step and step["total"] else None,
        values,
    )


@lru_cache(NAMES_CACHED)
def _tells(name: str) -> tuple[bool, bool]:
    """Return whether a name is usual, and whether it says enough."""
    return USUAL.fullmatch(name) is not None, SAYS_ENOUGH.fullmatch(name) is not None


def number(text: str) -> float | None:
    """Return the number that a text is, thousands separated or not."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def count(text: str) -> int:
    """Return the whole number that a run of digits is."""
    return int(text.replace(",", ""))
