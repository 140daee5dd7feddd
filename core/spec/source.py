"""The bytes of a job file, as text or as an error that says why not."""

from __future__ import annotations

import re
from pathlib import Path

from llmcloud.core.errors import Problem, SpecError

MAX_BYTES = 1_000_000
_LINE_BREAK = re.compile("\r\n?|[\n\x85\u2028\u2029]")
_LIKELY_NAMES = ("job.yaml", "config.yaml", "job.yml", "llmcloud.yaml")


def read(path: str) -> str:
    """Return the text of a file; SpecError when there is none."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _error(
            path, "There is no such file", "Start one from a template: llmcloud init"
        ) from None
    except IsADirectoryError:
        likely = [name for name in _LIKELY_NAMES if (Path(path) / name).is_file()]
        hint = f"Did you mean {Path(path) / likely[0]}?" if likely else "Name the job file in it"
        raise _error(path, "This is a folder", hint) from None
    except OSError as error:
        raise _error(path, f"The file can't be read: {error.strerror}") from error
    except ValueError as error:
        raise _error(path, "No file can have this name") from error
    if len(data) > MAX_BYTES:
        raise _error(path, f"The file is bigger than {MAX_BYTES:,} bytes", "Is it a job file?")
    return _decode(path, data)


def place(text: str, index: int) -> tuple[int, int]:
    """Return the line and column of a character, from 1, as the YAML parser counts them."""
    breaks = [found.end() for found in _LINE_BREAK.finditer(text, 0, index)]
    return len(breaks) + 1, index - (breaks[-1] if breaks else 0) + 1


def _decode(path: str, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _error(path, "The file is UTF-16", "Save it as UTF-8")
    if b"\0" in data:
        raise _error(path, "The file is binary, not text", "Is it a job file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        line, column = place(before, len(before))
        message = f"The byte 0x{data[error.start]:02X} is not UTF-8"
        raise SpecError(path, [Problem("", message, line, column, "Save it as UTF-8")]) from error


def _error(path: str, message: str, hint: str = "") -> SpecError:
    return SpecError(path, [Problem("", message, hint=hint)])
