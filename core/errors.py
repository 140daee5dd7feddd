"""The failures that only the command line meets, beside those shared with the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime.errors import Failure, NoCapacity

if TYPE_CHECKING:
    from collections.abc import Sequence


class UsageError(Failure):
    """The command was called in a way that can't be carried out."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a job file; `line` and `column` count from 1, 0 is unknown.

    `source` names where the value came from when that is not the file, like `--set nodes=0`.
    """

    key: str
    message: str
    line: int = 0
    column: int = 0
    hint: str = ""
    source: str = ""


class SpecError(Failure):
    """The job file is invalid; `problems` holds every finding, in the order of the file."""

    exit_code = 3

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path, self.problems = path, problems
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{path} has {len(problems)} {noun}.", where=path)


class NotOffered(NoCapacity):
    """A provider has nothing like what was asked for: neither now nor later."""

    exit_code = 3


def format_problem(path: str, problem: Problem) -> str:
    """Return `file:line:column: key: message. hint`, without the parts that there are not."""
    place = problem.source or path
    if problem.line and not problem.source:
        place += f":{problem.line}:{problem.column}"
    said = ". ".join(part for part in (problem.message, problem.hint) if part)
    text = ": ".join(part for part in (place, problem.key, said) if part)
    return printable(text)


def listed(names: Sequence[str], most: int) -> str:
    """Return the first names in a line, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def printable(text: str) -> str:
    """Return one line of text that can't move a terminal's cursor: others' words may be in it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class JobFailed(Failure):
    """The job ended in failure (or was lost)."""

    exit_code = 7


class JobCancelled(Failure):
    """The job was cancelled."""

    exit_code = 8
