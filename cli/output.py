"""What reaches the terminal: data on stdout, all else on stderr, JSON when asked for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
import traceback
from typing import TYPE_CHECKING, Any

from llmcloud.core.errors import SpecError, format_problem, printable

if TYPE_CHECKING:
    from llmcloud.runtime.errors import Failure

RED, BOLD, DIM, RESET = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


class _Mode:
    """Whether this command prints JSON: also its errors must, then."""

    json = False


def json_mode(wanted: bool) -> bool:
    """Remember whether `--json` was given; returns it."""
    _Mode.json = wanted
    return wanted


def emit(document: Any) -> None:
    """Print the one JSON document of this command; what fails afterwards is told on stderr only."""
    print(json.dumps(document, indent=2 if sys.stdout.isatty() else None), flush=True)  # noqa: T201
    _Mode.json = False


def emit_line(document: Any) -> None:
    """Print one object of a JSON stream."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def emit_last(document: Any) -> None:
    """Print the last object of a JSON stream; what fails afterwards is told on stderr only."""
    emit_line(document)
    _Mode.json = False


def say(text: str) -> None:
    """Tell the user something that is no data; that nobody can hear it stops nothing."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def warn(text: object) -> None:
    """Tell the user of something that may matter."""
    mention(f"warning: {text}")


def mention(text: str) -> None:
    """Tell the user something that others' words are in."""
    say(_printable(text))


def is_interactive() -> bool:
    """Tell whether a person can answer a question here."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> bool:
    """Ask the user; UsageError when there is nobody to ask and `--yes` was not given."""
    from llmcloud.core.errors import UsageError

    if yes:
        return True
    if not is_interactive():
        raise UsageError(
            "This asks for a confirmation, and there is no terminal.", fix="Add --yes."
        )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def columns() -> int | None:
    """Return how wide what stdout goes to is; None for what has no width, as pipes and files."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def has_color(stream: Any) -> bool:
    """Tell whether a stream is a terminal whose user wants colour."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return bool(wanted and stream.isatty())


def paint(text: str, style: str, stream: Any = None) -> str:
    """Return text in a style where the stream (stderr by default) shows it."""
    return f"{style}{text}{RESET}" if has_color(stream or sys.stderr) else text


def show_failure(failure: Failure) -> None:
    """Print what happened, where, and how to fix it."""
    emit_failure(failure)
    say(panel(failure))


def emit_failure(failure: Failure) -> None:
    """Print a failure as a document, if documents are what this command prints."""
    if _Mode.json:
        with contextlib.suppress(OSError):  # the exit code says it, too
            emit_line({"error": _document(failure)})


def show_bug() -> None:
    """Print an error of ours, with the traceback that mending it needs."""
    if _Mode.json:
        emit_line({"error": {"what": "a bug in llmcloud", "exit_code": 1}})
    say(traceback.format_exc())
    say(paint("error: ", RED) + "This is a bug in llmcloud. Please report it with the text above.")


def panel(failure: Failure) -> str:
    """Return a failure as people read it."""
    lines = [paint("error: ", RED + BOLD) + _printable(failure.what)]
    if isinstance(failure, SpecError):
        lines += [f"  {format_problem(failure.path, problem)}" for problem in failure.problems]
    elif failure.where:
        lines.append(paint("where: ", BOLD) + _printable(failure.where))
    if failure.fix:
        fix = textwrap.indent(_printable(failure.fix), "       ").lstrip()
        lines.append(paint("fix:   ", BOLD) + fix)
    return "\n".join(lines)


def _printable(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _document(failure: Failure) -> dict[str, Any]:
    document: dict[str, Any] = {
        "what": failure.what,
        "where": failure.where,
        "fix": failure.fix,
        "exit_code": failure.exit_code,
    }
    if isinstance(failure, SpecError):
        document["problems"] = [vars(problem) for problem in failure.problems]
    return document
