"""Durations, sizes, minimums and accelerators as people write them; `str` writes them back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _SECONDS))
_BYTES = {
    "PiB": 2**50, "PB": 10**15, "TiB": 2**40, "TB": 10**12, "GiB": 2**30, "GB": 10**9,
    "MiB": 2**20, "MB": 10**6, "KiB": 2**10, "KB": 10**3, "B": 1,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_ACCELERATOR = re.compile(r"([A-Za-z][A-Za-z0-9.-]{0,39}):([1-9][0-9]{0,4})")
_MOST_SECONDS = 10**9
_MOST_BYTES = 10**18
_ECHO = 40


class UnitError(ValueError):
    """A text that is no such quantity; `hint` says how to write one."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True, order=True)
class Duration:
    """A span of time in whole seconds, longer than none."""

    seconds: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `90s`, `4h`, `1h30m`, `2d`; a number without a unit is refused."""
        found = _DURATION.fullmatch(text)
        if not text or not found:
            raise UnitError(f"{_short(text)} is no duration", "Write it like 90s, 30m, 4h or 1h30m")
        parts = zip(found.groups(), _SECONDS.values(), strict=True)
        seconds = sum(int(number) * unit for number, unit in parts if number)
        if not seconds:
            raise UnitError("A duration must be longer than nothing", "Write it like 90s or 4h")
        if seconds > _MOST_SECONDS:
            raise UnitError("A duration of more than 30 years is none", "Write it like 90s or 4h")
        return cls(seconds)

    def __str__(self) -> str:
        left, text = self.seconds, ""
        for unit, seconds in _SECONDS.items():
            number, left = divmod(left, seconds)
            text += f"{number}{unit}" if number else ""
        return text


@dataclass(frozen=True, order=True)
class Size:
    """A number of bytes, at least one."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `32GB` (10^9 bytes each), `32GiB` (2^30), `1.5TB`; a bare number is refused."""
        found = _SIZE.fullmatch(text)
        if not found:
            raise UnitError(f"{_short(text)} is no size", "Write it like 500MB, 32GB or 32GiB")
        number, unit = found.groups()
        if unit not in _BYTES:
            raise UnitError(f"{_short(text)} is no size", _size_hint(number, unit))
        size = Fraction(number) * _BYTES[unit]
        if size.denominator != 1 or not size:
            raise UnitError("A size must be a whole number of bytes", "Write it like 500MB or 32GB")
        if size > _MOST_BYTES:
            raise UnitError("The size is more than 1000PB", "Write it like 500MB or 32GB")
        return cls(int(size))

    def __str__(self) -> str:
        return next(
            f"{self.bytes // size}{unit}" for unit, size in _BYTES.items() if self.bytes % size == 0
        )


@dataclass(frozen=True)
class Cpus:
    """A number of virtual CPUs, or at least that many."""

    count: int
    or_more: bool = False

    @classmethod
    def parse(cls, text: str) -> Cpus:
        """Read `8` (so many) or `8+` (that many or more)."""
        number = text.removesuffix("+")
        if not _COUNT.fullmatch(number):
            raise UnitError(f"{_short(text)} is no number of CPUs", "Write 8, or 8+ for a minimum")
        return cls(int(number), or_more=text.endswith("+"))

    def __str__(self) -> str:
        return f"{self.count}{'+' * self.or_more}"


@dataclass(frozen=True)
class Memory:
    """An amount of memory, or at least that much."""

    size: Size
    or_more: bool = False

    @classmethod
    def parse(cls, text: str) -> Memory:
        """Read `32GB` (so much) or `32GB+` (that much or more)."""
        return cls(Size.parse(text.removesuffix("+")), or_more=text.endswith("+"))

    def __str__(self) -> str:
        return f"{self.size}{'+' * self.or_more}"


@dataclass(frozen=True)
class Accelerator:
    """So many GPUs or TPU chips of a kind on each node; a count of 0 is no accelerator."""

    name: str
    count: int

    @classmethod
    def parse(cls, text: str) -> Accelerator:
        """Read `A100:8`, `tpu-v5e:16` or `none`."""
        if text == "none":
            return cls("none", 0)
        found = _ACCELERATOR.fullmatch(text)
        if not found:
            raise UnitError(
                f"{_short(text)} is no accelerator", "Write NAME:COUNT like A100:8, or none"
            )
        return cls(found[1], int(found[2]))

    @property
    def is_tpu(self) -> bool:
        """Tell whether one process drives all chips of a node."""
        return self.name.startswith("tpu-")

    def __str__(self) -> str:
        return f"{self.name}:{self.count}" if self.count else self.name


def _size_hint(number: str, unit: str) -> str:
    if not unit:
        return f"Add a unit: {number}GB or {number}GiB"
    meant = [known for known in _BYTES if known[0] == unit[0].upper()]
    if unit.upper().startswith("I", 1):
        meant.reverse()
    return f"Write {number}{meant[-1]}" if meant else "The units are B, KB, MB, GB, TB and KiB, …"


def _short(text: str) -> str:
    return repr(text if len(text) <= _ECHO else text[: _ECHO - 1] + "…")
